//! A contact sheet: several images as one, in the order of reading.

use anyhow::Context;
use unipic_imaging::{DecodeLimits, Rgb8, decode};

use crate::failure::wrong;

/// Space between images, in pixels.
const GAP: u32 = 4;
/// What is between them.
const PAPER: [u8; 3] = [255; 3];
/// Most pixels of a sheet: what 64 images of 1024 × 1024 need, with room.
const MAX_PIXELS: u64 = 1 << 27;

/// Image files on one sheet.
///
/// # Errors
/// When a file is no image, or they would make too large a sheet.
pub(crate) fn of_files<F: AsRef<[u8]>>(files: &[F]) -> anyhow::Result<Rgb8> {
    let decoded = files.iter().map(|file| decode(file.as_ref(), &DecodeLimits::default()));
    lay_out(&decoded.collect::<Result<Vec<_>, _>>().context("read an image for the sheet")?)
}

/// Images on one sheet, as near to a square as their number allows. Every cell is as large as the largest image.
///
/// Shapes: n × [h, w, 3] → [rows · (max h + gap) − gap, columns · (max w + gap) − gap, 3]
///
/// # Errors
/// When there is no image, or too many pixels.
fn lay_out(images: &[Rgb8]) -> anyhow::Result<Rgb8> {
    let largest = |side: fn(&Rgb8) -> u32| images.iter().map(side).max().context("a sheet of no images");
    let (width, height) = (largest(|i| i.width)?, largest(|i| i.height)?);
    let columns = (images.len() as f64).sqrt().ceil() as u32;
    let rows = (images.len() as u32).div_ceil(columns);
    let side = |n: u32, cell: u32| u64::from(n) * (u64::from(cell) + u64::from(GAP)) - u64::from(GAP);
    let (all_width, all_height) = (side(columns, width), side(rows, height));
    if all_width.saturating_mul(all_height) > MAX_PIXELS {
        let n = images.len();
        return Err(wrong(format!(
            "a sheet of {n} images would have {all_width}×{all_height} pixels; leave out --grid"
        )));
    }
    let mut sheet = Rgb8::filled(all_width as u32, all_height as u32, PAPER);
    for (at, image) in images.iter().enumerate() {
        let (column, row) = (at % columns as usize, at / columns as usize);
        paste(&mut sheet, column * (width + GAP) as usize, row * (height + GAP) as usize, image);
    }
    Ok(sheet)
}

/// Copies an image to a place where it fits.
fn paste(sheet: &mut Rgb8, left: usize, top: usize, image: &Rgb8) {
    let (stride, line) = (sheet.width as usize * 3, image.width as usize * 3);
    let rows = sheet.data.chunks_exact_mut(stride).skip(top);
    for (to, from) in rows.zip(image.data.chunks_exact(line)) {
        to[left * 3..left * 3 + line].copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use unipic_imaging::{Format, encode};

    use super::*;

    #[test]
    fn images_are_laid_in_reading_order_with_paper_between() {
        let images: Vec<_> = (1..=3).map(|red| Rgb8::filled(2, 1, [red, 0, 0])).collect();
        let sheet = lay_out(&images).unwrap();
        assert_eq!((sheet.width, sheet.height), (2 + 4 + 2, 1 + 4 + 1));
        let red = |x: usize, y: usize| sheet.data[(y * 8 + x) * 3];
        assert_eq!((red(0, 0), red(1, 0), red(6, 0), red(0, 5)), (1, 1, 2, 3));
        assert!([red(2, 0), red(5, 0), red(0, 1), red(6, 5)].iter().all(|paper| *paper == 255));
    }

    #[test]
    fn files_of_any_size_fit_and_nonsense_does_not() {
        let file = |side| encode(&Rgb8::filled(side, side, [9; 3]), Format::Jpeg, &[]).unwrap();
        let sheet = of_files(&[file(4), file(8)]).unwrap();
        assert_eq!((sheet.width, sheet.height), (8 + 4 + 8, 8));
        assert!(of_files(&[b"nonsense"]).is_err() && of_files::<Vec<u8>>(&[]).is_err());
        let huge = [Rgb8::filled(8192, 8192, [0; 3]), Rgb8::filled(8192, 1, [0; 3]), Rgb8::filled(1, 8192, [0; 3])];
        let said = lay_out(&huge).unwrap_err().to_string();
        assert!(said.contains("--grid") && said.contains("16388"), "{said}");
    }
}
