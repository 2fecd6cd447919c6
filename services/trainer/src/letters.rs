//! Words on a picture, in letters of eight by eight pixels.

use font8x8::legacy::BASIC_LEGACY;
use unipic_imaging::Rgb8;

/// Width and height of a letter in pixels.
pub(crate) const LETTER: usize = 8;

/// Writes a line of text with its top left corner at (x, y). What does not fit is cut off; letters that the font does not
/// have are question marks.
pub(crate) fn write(picture: &mut Rgb8, (x, y): (usize, usize), text: &str, colour: [u8; 3]) {
    for (at, letter) in text.chars().enumerate() {
        let glyph = BASIC_LEGACY.get(letter as usize).unwrap_or(&BASIC_LEGACY['?' as usize]);
        for (row, bits) in glyph.iter().enumerate() {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                dot(picture, (x + at * LETTER + column, y + row), colour);
            }
        }
    }
}

/// Colours a pixel, if it is within the picture.
pub(crate) fn dot(picture: &mut Rgb8, (x, y): (usize, usize), colour: [u8; 3]) {
    let width = picture.width as usize;
    let at = (y * width + x) * 3;
    if x < width
        && let Some(pixel) = picture.data.get_mut(at..at + 3)
    {
        pixel.copy_from_slice(&colour);
    }
}
