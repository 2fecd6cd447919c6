//! Images in the terminal: by the protocol that it knows, in half blocks where it knows none.
//!
//! Each protocol is a function from pixels to the text that shows them. They are small enough to be ours: the crates for it
//! bring a terminal library of their own and write to standard output, which belongs to results here.

mod blocks;
mod graphics;
mod sixel;
mod terminal;

use unipic_imaging::{DecodeLimits, Rgb8, decode, resize_bicubic};

use crate::args::Preview;
use crate::progress::Progress;
use crate::sheet;
use terminal::{Colours, Terminal};

/// Most columns and rows of text that a preview takes.
const MOST_CELLS: (u32, u32) = (48, 24);
/// Pixels of a sixel image for each column and row: what most fonts have.
const CELL_PIXELS: (u32, u32) = (8, 16);

/// Shows images, where that was chosen.
#[derive(Debug)]
pub(crate) struct Previewer {
    protocol: Option<Protocol>,
    /// Columns and rows that an image may take.
    cells: (u32, u32),
}

/// How images are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Kitty,
    ITerm2,
    Sixel,
    Blocks(Colours),
}

impl Previewer {
    /// What a person asked for, on the terminal that standard error is.
    pub(crate) fn new(wanted: Preview) -> Self {
        let terminal = Terminal::of_standard_error();
        Self { protocol: choose(wanted, &terminal), cells: room(terminal.columns, terminal.rows) }
    }

    /// Shows image files: one as it is, several as a sheet. What cannot be shown is let be: the files are what counts.
    pub(crate) fn files<F: AsRef<[u8]>>(&self, files: &[F], progress: &Progress) {
        if self.protocol.is_none() {
            return;
        }
        let image = match files {
            [file] => decode(file.as_ref(), &DecodeLimits::default()).ok(),
            files => sheet::of_files(files).ok(),
        };
        if let Some(text) = image.and_then(|image| self.text(&image)) {
            progress.show(&text);
        }
    }

    /// The text that shows an image, with a line break at its end.
    fn text(&self, image: &Rgb8) -> Option<String> {
        let (columns, rows) = self.cells;
        match self.protocol? {
            Protocol::Kitty => graphics::kitty(image, fit(image, (columns, rows * 2)).0),
            Protocol::ITerm2 => graphics::iterm2(image, fit(image, (columns, rows * 2)).0),
            Protocol::Sixel => Some(sixel::text(&scaled(image, (columns * CELL_PIXELS.0, rows * CELL_PIXELS.1)))),
            // A half block is about a square.
            Protocol::Blocks(colours) => Some(blocks::text(&scaled(image, (columns, rows * 2)), colours)),
        }
    }
}

/// The protocol that is meant.
fn choose(wanted: Preview, terminal: &Terminal) -> Option<Protocol> {
    match wanted {
        Preview::Never => None,
        Preview::Auto => terminal.protocol(),
        Preview::Kitty => Some(Protocol::Kitty),
        Preview::ITerm2 => Some(Protocol::ITerm2),
        Preview::Sixel => Some(Protocol::Sixel),
        Preview::Blocks => Some(Protocol::Blocks(terminal.colours())),
    }
}

/// The cells that an image may take in a terminal of that size; a line is left for the prompt.
fn room(columns: u16, rows: u16) -> (u32, u32) {
    let rows = u32::from(rows).saturating_sub(1);
    (u32::from(columns).clamp(1, MOST_CELLS.0), rows.clamp(1, MOST_CELLS.1))
}

/// The largest size within `most` of an image's aspect; at least one unit each way.
fn fit(image: &Rgb8, most: (u32, u32)) -> (u32, u32) {
    let factor = (f64::from(most.0) / f64::from(image.width)).min(f64::from(most.1) / f64::from(image.height));
    let side = |pixels: u32| ((f64::from(pixels) * factor).round() as u32).max(1);
    (side(image.width).min(most.0), side(image.height).min(most.1))
}

fn scaled(image: &Rgb8, most: (u32, u32)) -> Rgb8 {
    let (width, height) = fit(image, most);
    resize_bicubic(image, width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_its_aspect_and_its_room() {
        for (image, most, expected) in [
            ((128, 128), (48, 46), (46, 46)),
            ((128, 64), (48, 46), (48, 24)),
            ((1, 1000), (48, 46), (1, 46)),
            ((4096, 1), (48, 46), (48, 1)),
            ((2, 2), (48, 46), (46, 46)),
        ] {
            assert_eq!(fit(&Rgb8::filled(image.0, image.1, [0; 3]), most), expected, "{image:?}");
        }
        assert_eq!((room(200, 60), room(0, 0), room(40, 10)), ((48, 24), (1, 1), (40, 9)));
    }

    #[test]
    fn what_is_asked_for_is_shown_and_never_is_never() {
        let nowhere = Terminal::default();
        assert_eq!(choose(Preview::Never, &nowhere), None);
        assert_eq!(choose(Preview::Auto, &nowhere), None);
        assert_eq!(choose(Preview::Kitty, &nowhere), Some(Protocol::Kitty));
        for protocol in [Protocol::Kitty, Protocol::ITerm2, Protocol::Sixel, Protocol::Blocks(Colours::All)] {
            let text =
                Previewer { protocol: Some(protocol), cells: (4, 4) }.text(&Rgb8::filled(9, 5, [1, 2, 3])).unwrap();
            assert!(text.ends_with('\n') && text.starts_with('\x1b'), "{protocol:?}: {text:?}");
        }
    }
}
