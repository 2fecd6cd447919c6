//! Half blocks: a character is two pixels, the upper in the colour of the text, the lower in that of its background.

use std::fmt::Write;

use unipic_imaging::Rgb8;

use super::terminal::Colours;

/// The steps of the 6 × 6 × 6 cube of the usual 256 colours.
const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The lines that show an image, one for two rows of pixels.
pub(super) fn text(image: &Rgb8, colours: Colours) -> String {
    let stride = image.width as usize * 3;
    let rows: Vec<&[u8]> = image.data.chunks_exact(stride).collect();
    let mut text = String::new();
    for pair in rows.chunks(2) {
        let mut last = None;
        for x in (0..stride).step_by(3) {
            let pixel = |row: &[u8]| [row[x], row[x + 1], row[x + 2]];
            let now = (pixel(pair[0]), pair.get(1).map(|row| pixel(row)));
            if last != Some(now) {
                colour(&mut text, "38", now.0, colours);
                match now.1 {
                    Some(lower) => colour(&mut text, "48", lower, colours),
                    None => text.push_str("\x1b[49m"),
                }
                last = Some(now);
            }
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

fn colour(text: &mut String, which: &str, [red, green, blue]: [u8; 3], colours: Colours) {
    // Writing to a string does not fail.
    let _ = match colours {
        Colours::All => write!(text, "\x1b[{which};2;{red};{green};{blue}m"),
        Colours::Table => write!(text, "\x1b[{which};5;{}m", in_table([red, green, blue])),
    };
}

/// The nearest colour of the cube in the usual table of 256.
fn in_table(colour: [u8; 3]) -> u8 {
    let nearest = |value: u8| {
        let distance = |at: &usize| STEPS[*at].abs_diff(value);
        (0..STEPS.len()).min_by_key(distance).unwrap_or(0) as u8
    };
    let [red, green, blue] = colour.map(nearest);
    16 + 36 * red + 6 * green + blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rows_are_one_line_and_colours_are_told_when_they_change() {
        let rows = [[1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2], [3, 3, 3, 4, 4, 4]];
        let image = Rgb8::new(2, 3, rows.concat()).unwrap();
        let expected = "\x1b[38;2;1;1;1m\x1b[48;2;2;2;2m▀▀\x1b[0m\n\
                        \x1b[38;2;3;3;3m\x1b[49m▀\x1b[38;2;4;4;4m\x1b[49m▀\x1b[0m\n";
        assert_eq!(text(&image, Colours::All), expected);
    }

    #[test]
    fn the_table_has_its_usual_numbers() {
        for (colour, number) in [([0, 0, 0], 16), ([255, 0, 0], 196), ([255, 255, 255], 231), ([100, 130, 180], 67)] {
            assert_eq!(in_table(colour), number, "{colour:?}");
        }
        assert!(text(&Rgb8::filled(1, 2, [255, 0, 0]), Colours::Table).contains("\x1b[38;5;196m\x1b[48;5;196m"));
    }
}
