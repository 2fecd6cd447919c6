//! Sixels: bands of six rows, in each band one pass for every colour in it.
//!
//! Colours are those of a cube of 6 × 6 × 6, so that no palette is computed and every terminal's 256 registers are enough.

use std::collections::BTreeMap;
use std::fmt::Write;

use unipic_imaging::Rgb8;

/// Steps of each primary.
const STEPS: usize = 6;
/// Rows of a band.
const BAND: usize = 6;

/// The escape sequence that shows an image, and a line break.
pub(super) fn text(image: &Rgb8) -> String {
    let (width, height) = (image.width as usize, image.height as usize);
    let mut text = format!("\x1bP0;1q\"1;1;{width};{height}");
    for colour in 0..STEPS.pow(3) {
        let percent = |step: usize| step * 100 / (STEPS - 1);
        let (red, green, blue) = (colour / (STEPS * STEPS), colour / STEPS % STEPS, colour % STEPS);
        // Writing to a string does not fail, here and below.
        let _ = write!(text, "#{colour};2;{};{};{}", percent(red), percent(green), percent(blue));
    }
    for band in image.data.chunks(width * 3 * BAND) {
        let passes = passes(band, width);
        for (at, (colour, columns)) in passes.iter().enumerate() {
            let _ = write!(text, "{}#{colour}", if at == 0 { "" } else { "$" });
            runs(&mut text, columns);
        }
        text.push('-');
    }
    text + "\x1b\\\n"
}

/// For every colour of a band, the six bits of each column.
fn passes(band: &[u8], width: usize) -> BTreeMap<usize, Vec<u8>> {
    let mut passes = BTreeMap::new();
    for (row, line) in band.chunks_exact(width * 3).enumerate() {
        for (x, pixel) in line.chunks_exact(3).enumerate() {
            let step = |value: u8| (usize::from(value) * (STEPS - 1) + 127) / 255;
            let colour = (step(pixel[0]) * STEPS + step(pixel[1])) * STEPS + step(pixel[2]);
            passes.entry(colour).or_insert_with(|| vec![0; width])[x] |= 1 << row;
        }
    }
    passes
}

/// Columns as characters, repeated ones as a count.
fn runs(text: &mut String, columns: &[u8]) {
    for run in columns.chunk_by(|a, b| a == b) {
        let character = char::from(b'?' + run[0]);
        match run.len() {
            n @ 0..4 => text.extend(std::iter::repeat_n(character, n)),
            n => {
                let _ = write!(text, "!{n}{character}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal makes of the sequence: the colour register of every pixel.
    fn painted(text: &str, width: usize, height: usize) -> Vec<Option<usize>> {
        let mut pixels = vec![None; width * height];
        let begin = text.rfind(";100;100;100").unwrap() + ";100;100;100".len();
        let mut rest = &text[begin..text.len() - "\x1b\\\n".len()];
        let (mut x, mut band, mut colour) = (0, 0, 0);
        let number = |rest: &mut &str| {
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            *rest = after;
            number.parse::<usize>().unwrap()
        };
        while let Some(first) = rest.chars().next() {
            rest = &rest[1..];
            let (n, character) = match first {
                '#' => {
                    colour = number(&mut rest);
                    continue;
                }
                '$' => {
                    x = 0;
                    continue;
                }
                '-' => {
                    (x, band) = (0, band + 1);
                    continue;
                }
                '!' => {
                    let n = number(&mut rest);
                    let character = rest.chars().next().unwrap();
                    rest = &rest[1..];
                    (n, character)
                }
                other => (1, other),
            };
            for _ in 0..n {
                for row in (0..BAND).filter(|row| (character as u8 - b'?') >> row & 1 == 1) {
                    pixels[(band * BAND + row) * width + x] = Some(colour);
                }
                x += 1;
            }
        }
        pixels
    }

    #[test]
    fn every_pixel_is_painted_in_its_colour() {
        let (width, height) = (13, 8);
        let data: Vec<u8> =
            (0..width * height).flat_map(|at| [(at % 3 * 127) as u8, 255, (at / 50 * 51) as u8]).collect();
        let image = Rgb8::new(width as u32, height as u32, data.clone()).unwrap();
        let text = text(&image);
        assert!(text.starts_with("\x1bP0;1q\"1;1;13;8#0;2;0;0;0#1;2;0;0;20"), "{text:?}");
        let near = |value: u8| (f64::from(value) / 51.0).round() as usize;
        let expected: Vec<_> = data.chunks(3).map(|p| Some((near(p[0]) * 6 + near(p[1])) * 6 + near(p[2]))).collect();
        assert_eq!(painted(&text, width, height), expected);
    }

    #[test]
    fn long_runs_are_counted() {
        let text = text(&Rgb8::filled(300, 6, [0; 3]));
        assert!(text.ends_with("#0!300~-\x1b\\\n"), "{text:?}");
    }
}
