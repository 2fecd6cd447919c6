//! The protocols that take a file: kitty's and iTerm2's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use unipic_imaging::{Format, Rgb8, encode};

/// Most bytes of base64 in one escape sequence of kitty's.
const CHUNK: usize = 4096;

/// Kitty's graphics: a PNG in pieces, shown over so many columns, answers to it switched off.
pub(super) fn kitty(image: &Rgb8, columns: u32) -> Option<String> {
    let file = STANDARD.encode(encode(image, Format::Png, &[]).ok()?);
    let last = file.len().div_ceil(CHUNK) - 1;
    let mut text = String::new();
    for (at, chunk) in file.as_bytes().chunks(CHUNK).enumerate() {
        let first = if at == 0 { format!("a=T,f=100,q=2,c={columns},") } else { String::new() };
        let more = u8::from(at < last);
        text += &format!("\x1b_G{first}m={more};{}\x1b\\", std::str::from_utf8(chunk).ok()?);
    }
    Some(text + "\n")
}

/// iTerm2's inline images: a file, shown over so many columns.
pub(super) fn iterm2(image: &Rgb8, columns: u32) -> Option<String> {
    let file = encode(image, Format::Png, &[]).ok()?;
    let (size, data) = (file.len(), STANDARD.encode(&file));
    let about = format!("inline=1;size={size};width={columns};preserveAspectRatio=1");
    Some(format!("\x1b]1337;File={about}:{data}\x07\n"))
}

#[cfg(test)]
mod tests {
    use unipic_imaging::{DecodeLimits, decode};

    use super::*;

    /// An image whose PNG needs several pieces.
    fn noisy() -> Rgb8 {
        let mut state = 1_u32;
        let data = (0..64 * 64 * 3).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        Rgb8::new(64, 64, data.collect()).unwrap()
    }

    fn pixels(base64: &str) -> Rgb8 {
        decode(&STANDARD.decode(base64).unwrap(), &DecodeLimits::default()).unwrap()
    }

    #[test]
    fn kitty_gets_the_file_in_pieces_and_is_told_which_is_the_last() {
        let text = kitty(&noisy(), 20).unwrap();
        let pieces: Vec<&str> = text.trim_end().split("\x1b\\").filter(|piece| !piece.is_empty()).collect();
        assert!(pieces.len() > 2, "{}", pieces.len());
        let mut file = String::new();
        for (at, piece) in pieces.iter().enumerate() {
            let (keys, data) = piece.strip_prefix("\x1b_G").unwrap().split_once(';').unwrap();
            assert_eq!(keys.contains("a=T,f=100,q=2,c=20"), at == 0);
            assert!(keys.ends_with(if at + 1 == pieces.len() { "m=0" } else { "m=1" }), "{keys}");
            assert!(data.len() <= CHUNK);
            file += data;
        }
        assert_eq!(pixels(&file), noisy());
    }

    #[test]
    fn iterm2_gets_the_file_and_its_size() {
        let text = iterm2(&noisy(), 20).unwrap();
        let inner = text.strip_prefix("\x1b]1337;File=").unwrap().strip_suffix("\x07\n").unwrap();
        let (about, data) = inner.split_once(':').unwrap();
        let size = STANDARD.decode(data).unwrap().len();
        assert!(about.contains(&format!("size={size};")) && about.contains("inline=1"), "{about}");
        assert_eq!(pixels(data), noisy());
    }
}
