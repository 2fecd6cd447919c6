//! The contact sheet: pictures with their prompts and verdicts, a row a group, framed green or red.

use unipic_imaging::{DecodeLimits, Format, LETTER, Rgb8, decode, encode, resize_bicubic, write};

use super::font::{LINE, fill, lay, wrap};
use super::{Item, Section};
use crate::EvalError;
use crate::files::{self, Folder};

/// Side of a picture on the sheet, in pixels.
const SIDE: usize = 160;

/// Width of a frame, in pixels.
const FRAME: usize = 4;

/// Space between cells, in pixels.
const GAP: usize = 8;

/// Lines for a prompt.
const PROMPT_LINES: usize = 4;

/// Lines for what is wrong.
const REASON_LINES: usize = 4;

const RIGHT: [u8; 3] = [30, 150, 60];
const WRONG: [u8; 3] = [200, 40, 40];
const INK: [u8; 3] = [20, 20, 20];
const PAPER: [u8; 3] = [250, 250, 250];

/// The PNG file of the sheet; `None` when there is no picture.
///
/// # Errors
/// When a picture cannot be read or the sheet cannot be written.
pub(crate) fn draw(folder: &Folder, items: &[Item], per_group: usize) -> Result<Option<Vec<u8>>, EvalError> {
    let rows = rows(items, per_group);
    let widest = rows.iter().map(|(_, row)| row.iter().map(|item| cell_width(item) + GAP).sum::<usize>()).max();
    let Some(widest) = widest else { return Ok(None) };
    let height = LINE + GAP + SIDE + 2 * FRAME + (PROMPT_LINES + REASON_LINES) * LINE + GAP;
    let mut sheet = Rgb8::filled((widest + GAP) as u32, (rows.len() * height + GAP) as u32, PAPER);
    for (at, (title, row)) in rows.iter().enumerate() {
        let top = GAP + at * height;
        write(&mut sheet, (GAP, top), title, INK);
        let mut left = GAP;
        for item in row {
            cell(&mut sheet, left, top + LINE + GAP / 2, folder, item)?;
            left += cell_width(item) + GAP;
        }
    }
    Ok(Some(encode(&sheet, Format::Png, &[])?))
}

/// The first so many pictures of each group, with the group's title. An edit is two pictures and counts as two.
fn rows(items: &[Item], per_group: usize) -> Vec<(String, Vec<&Item>)> {
    let mut rows: Vec<(String, Vec<&Item>)> = Vec::new();
    for item in items.iter().filter(|item| !item.images.is_empty()) {
        let kind = if item.section == Section::Edit { "edit: " } else { "" };
        let title = format!("{kind}{}", item.group.replace('_', " "));
        match rows.iter_mut().find(|(known, _)| *known == title) {
            Some((_, row)) => row.push(item),
            None => rows.push((title, vec![item])),
        }
    }
    for (title, row) in &mut rows {
        let (n, right) = (row.len(), row.iter().filter(|item| item.right).count());
        *title += &format!(", {right} of {n} right");
        let pictures = row.first().map_or(1, |item| item.images.len());
        row.truncate((per_group / pictures).max(1));
    }
    rows
}

fn cell_width(item: &Item) -> usize {
    item.images.len() * (SIDE + FRAME) + FRAME
}

fn cell(sheet: &mut Rgb8, x: usize, y: usize, folder: &Folder, item: &Item) -> Result<(), EvalError> {
    let (width, colour) = (cell_width(item), if item.right { RIGHT } else { WRONG });
    fill(sheet, x, y, width, SIDE + 2 * FRAME, colour);
    for (at, path) in item.images.iter().enumerate() {
        let picture = decode(&files::read(&folder.path(path))?, &DecodeLimits::default())?;
        let picture = resize_bicubic(&picture, SIDE as u32, SIDE as u32);
        lay(sheet, x + FRAME + at * (SIDE + FRAME), y + FRAME, &picture);
    }
    let mut top = y + SIDE + 2 * FRAME + 2;
    let letters = width / LETTER;
    let prompt = wrap(&item.prompt, letters, PROMPT_LINES).into_iter().map(|line| (line, INK));
    let reason = wrap(&item.said, letters, REASON_LINES).into_iter().map(|line| (line, WRONG));
    for (line, colour) in prompt.chain(reason) {
        write(sheet, (x, top), &line, colour);
        top += LINE;
    }
    Ok(())
}
