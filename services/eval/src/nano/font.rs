//! Words on a picture, in letters of eight by eight pixels.

use font8x8::legacy::BASIC_LEGACY;
use unipic_imaging::Rgb8;

/// Width of a letter in pixels.
pub(crate) const LETTER: usize = 8;

/// Height of a line in pixels: a letter and two pixels of space.
pub(crate) const LINE: usize = 10;

/// Writes a line of text with its top left corner at (x, y). What does not fit is cut off; letters that the font does not
/// have are question marks.
pub(crate) fn write(image: &mut Rgb8, x: usize, y: usize, text: &str, colour: [u8; 3]) {
    for (at, letter) in text.chars().enumerate() {
        let glyph = BASIC_LEGACY.get(letter as usize).unwrap_or(&BASIC_LEGACY['?' as usize]);
        for (row, bits) in glyph.iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                put(image, x + at * LETTER + column, y + row, colour);
            }
        }
    }
}

/// Colours a rectangle; what does not fit is cut off.
pub(crate) fn fill(image: &mut Rgb8, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
    for row in y..y + height {
        for column in x..x + width {
            put(image, column, row, colour);
        }
    }
}

/// Lays a picture on another; what does not fit is cut off.
pub(crate) fn lay(image: &mut Rgb8, x: usize, y: usize, picture: &Rgb8) {
    for (at, pixel) in picture.data.as_chunks::<3>().0.iter().enumerate() {
        let (column, row) = (at % picture.width as usize, at / picture.width as usize);
        put(image, x + column, y + row, *pixel);
    }
}

fn put(image: &mut Rgb8, x: usize, y: usize, colour: [u8; 3]) {
    let width = image.width as usize;
    let at = (y * width + x) * 3;
    if x < width
        && let Some(pixel) = image.data.get_mut(at..at + 3)
    {
        pixel.copy_from_slice(&colour);
    }
}

/// Breaks a text into lines of so many letters, between words where that is possible, at most so many lines; the last one
/// ends in dots when there is more.
pub(crate) fn wrap(text: &str, letters: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last_mut().map_or(0, |line| line.chars().count());
            let room = letters.saturating_sub(line + usize::from(line > 0));
            // A word that is longer than a line is broken wherever a line ends.
            if rest.len() > room && line > 0 {
                lines.push(String::new());
                continue;
            }
            let part: String = rest.drain(..rest.len().min(room.max(1))).collect();
            if let Some(last) = lines.last_mut() {
                if line > 0 {
                    last.push(' ');
                }
                last.push_str(&part);
            }
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = last.chars().take(letters.saturating_sub(2)).chain("..".chars()).collect();
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_and_cut_with_dots() {
        assert_eq!(wrap("a red circle", 6, 9), ["a red", "circle"]);
        assert_eq!(wrap("abcdefghij k", 4, 9), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("one two three four", 5, 2), ["one", "two.."]);
        assert_eq!(wrap("", 5, 2), [""]);
        assert_eq!(wrap("ab", 0, 9), ["a", "b"]);
    }

    #[test]
    fn letters_are_drawn_where_they_belong_and_nowhere_else() {
        let mut image = Rgb8::filled(20, 10, [255; 3]);
        write(&mut image, 1, 1, "I\u{1F600}", [0; 3]);
        let ink = |from: usize, to: usize| {
            let dark = image.data.iter().step_by(3).enumerate().filter(|(_, value)| **value == 0);
            dark.filter(|(at, _)| (from..to).contains(&(at % 20))).count()
        };
        assert!(ink(1, 9) > 10 && ink(9, 17) > 10);
        assert_eq!(ink(0, 1) + ink(17, 20), 0);
        write(&mut image, 18, 8, "cut off", [0; 3]);
    }
}
