//! Words on a picture, in letters of eight by eight pixels.

use font8x8::legacy::BASIC_LEGACY;

use crate::Rgb8;

/// Width and height of a letter in pixels.
pub const LETTER: usize = 8;

/// Writes a line of text with its top left corner at (x, y), in pixels. What does not fit is cut off; letters that the font
/// does not have are question marks.
pub fn write(picture: &mut Rgb8, (x, y): (usize, usize), text: &str, colour: [u8; 3]) {
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
pub fn dot(picture: &mut Rgb8, (x, y): (usize, usize), colour: [u8; 3]) {
    let width = picture.width as usize;
    let at = (y * width + x) * 3;
    if x < width
        && let Some(pixel) = picture.data.get_mut(at..at + 3)
    {
        pixel.copy_from_slice(&colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_drawn_where_they_belong_and_nowhere_else() {
        let mut image = Rgb8::filled(20, 10, [255; 3]);
        write(&mut image, (1, 1), "I\u{1F600}", [0; 3]);
        let ink = |from: usize, to: usize| {
            let dark = image.data.iter().step_by(3).enumerate().filter(|(_, value)| **value == 0);
            dark.filter(|(at, _)| (from..to).contains(&(at % 20))).count()
        };
        assert!(ink(1, 9) > 10 && ink(9, 17) > 10);
        assert_eq!(ink(0, 1) + ink(17, 20), 0);
        write(&mut image, (18, 8), "cut off", [0; 3]);
    }
}
