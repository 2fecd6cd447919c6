//! What a sheet is laid out with: lines of words, rectangles and pictures.

use unipic_imaging::{LETTER, Rgb8, dot};

/// Height of a line in pixels: a letter and two pixels of space.
pub(crate) const LINE: usize = LETTER + 2;

/// Colours a rectangle; what does not fit is cut off.
pub(crate) fn fill(image: &mut Rgb8, x: usize, y: usize, width: usize, height: usize, colour: [u8; 3]) {
    for row in y..y + height {
        for column in x..x + width {
            dot(image, (column, row), colour);
        }
    }
}

/// Lays a picture on another; what does not fit is cut off.
pub(crate) fn lay(image: &mut Rgb8, x: usize, y: usize, picture: &Rgb8) {
    for (at, pixel) in picture.data.as_chunks::<3>().0.iter().enumerate() {
        let (column, row) = (at % picture.width as usize, at / picture.width as usize);
        dot(image, (x + column, y + row), *pixel);
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
}
