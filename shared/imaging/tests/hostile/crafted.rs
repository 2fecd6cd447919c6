//! Files put together by hand: kinds no encoder of ours makes, and files that lie about their size.

use super::seeds;

/// A PNG chunk with its checksum.
pub(crate) fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as u32).to_be_bytes().to_vec();
    bytes.extend(name);
    bytes.extend(data);
    bytes.extend(crc32(&bytes[4..]).to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let fold = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, fold)
}

/// A JPEG of flat middle grey: `components` of one block each, every coefficient zero.
fn flat_jpeg(components: u8, frame_marker: u8, scan_end: u8, adobe: bool) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8];
    if adobe {
        bytes.extend([0xFF, 0xEE, 0, 14]);
        bytes.extend(b"Adobe\0\x64\0\0\0\0\0");
    }
    bytes.extend([0xFF, 0xDB, 0, 67, 0]);
    bytes.extend([1; 64]);
    bytes.extend([0xFF, frame_marker, 0, 8 + 3 * components, 8, 0, 8, 0, 8, components]);
    (1..=components).for_each(|id| bytes.extend([id, 0x11, 0]));
    // Both Huffman tables have one code, "0": no difference for DC, end of block for AC.
    for class in [0x00, 0x10] {
        bytes.extend([0xFF, 0xC4, 0, 20, class, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes.extend([0xFF, 0xDA, 0, 6 + 2 * components, components]);
    (1..=components).for_each(|id| bytes.extend([id, 0x00]));
    bytes.extend([0, scan_end, 0]);
    bytes.extend([0x00, 0x00, 0xFF, 0xD9]);
    bytes
}

/// Four inks at half strength, with or without Adobe's marker.
pub(crate) fn cmyk_jpeg(adobe: bool) -> Vec<u8> {
    flat_jpeg(4, 0xC0, 63, adobe)
}

/// One scan of the DC coefficients.
pub(crate) fn progressive_jpeg() -> Vec<u8> {
    flat_jpeg(3, 0xC2, 0, false)
}

/// A PNG whose header claims another size, checksum included.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut header = width.to_be_bytes().to_vec();
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut file = seeds::png_rgb();
    file.splice(8..33, png_chunk(b"IHDR", &header));
    file
}

/// Overwrites bytes of a file.
fn patched(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn named(name: &str) -> Vec<u8> {
    let found = seeds::valid().into_iter().find(|(kind, _)| *kind == name);
    found.expect("a seed of that name").1
}

/// The place of a JPEG's frame header.
fn frame_header(jpeg: &[u8]) -> usize {
    jpeg.windows(2).position(|pair| pair[0] == 0xFF && matches!(pair[1], 0xC0 | 0xC2)).expect("a frame header")
}

/// A TIFF with a tag's value replaced by a 32-bit one (width 256, height 257).
fn tiff_with(tag: u16, value: u32) -> Vec<u8> {
    let mut file = named("TIFF");
    let mut wanted = tag.to_le_bytes().to_vec();
    wanted.extend(4_u16.to_le_bytes());
    let at = file.windows(4).position(|four| four == wanted);
    let at = at.expect("the tag is stored as a LONG");
    file.splice(at + 8..at + 12, value.to_le_bytes());
    file
}

/// Files that claim what they do not hold, or are no images.
pub(crate) fn liars() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let huge = [65_535, 30_000, 1_000_000, i32::MAX as u32, u32::MAX, 0];
    for side in huge {
        files.push((format!("PNG of {side}²"), png_claiming(side, side)));
        files.push((format!("PNG of 1×{side}"), png_claiming(1, side.max(40_000))));
    }
    for side in [0_u16, 20_000, u16::MAX] {
        let both = [side.to_be_bytes(), side.to_be_bytes()].concat();
        for (kind, jpeg) in [("JPEG", seeds::jpeg()), ("progressive JPEG", progressive_jpeg())] {
            let at = frame_header(&jpeg) + 5;
            files.push((format!("{kind} of {side}²"), patched(jpeg, at, &both)));
        }
        let both = [side.to_le_bytes(), side.to_le_bytes()].concat();
        files.push((format!("GIF of {side}²"), patched(seeds::gif_animated(), 6, &both)));
    }
    for (width, height) in [(i32::MAX, i32::MAX), (60_000, -60_000), (0, 8), (-5, 8), (i32::MIN, i32::MIN)] {
        let both = [width.to_le_bytes(), height.to_le_bytes()].concat();
        files.push((format!("BMP of {width}×{height}"), patched(named("BMP"), 18, &both)));
    }
    for value in [0, 100_000, u32::MAX] {
        files.push((format!("TIFF {value} wide"), tiff_with(256, value)));
        files.push((format!("TIFF {value} high"), tiff_with(257, value)));
    }
    files.push(("WebP of 2^24²".to_owned(), patched(seeds::webp_animated(), 24, &[0xFF; 6])));
    files.extend(not_images());
    files
}

/// Small files that are what they claim: pictures of one colour, as many pixels and as long a side as anybody takes.
pub(crate) fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    use png::{BitDepth, ColorType};
    let flat = |width: u32, height: u32, colour: ColorType, depth: BitDepth| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        let mut writer = encoder.write_header().expect("header");
        let row = colour.samples() * width as usize * depth as usize / 8;
        writer.write_image_data(&vec![0; row * height as usize]).expect("data");
        writer.finish().expect("end");
        file
    };
    vec![
        ("bomb of RGB", flat(4000, 4000, ColorType::Rgb, BitDepth::Eight)),
        ("bomb of RGB with alpha", flat(4000, 4000, ColorType::Rgba, BitDepth::Eight)),
        ("bomb of grey", flat(4000, 4000, ColorType::Grayscale, BitDepth::Eight)),
        ("bomb of 16 bits", flat(4000, 4000, ColorType::Grayscale, BitDepth::Sixteen)),
        ("bomb of 16-bit RGB with alpha", flat(2000, 4000, ColorType::Rgba, BitDepth::Sixteen)),
        ("giant side", flat(32_768, 400, ColorType::Rgb, BitDepth::Eight)),
        ("other giant side", flat(400, 32_768, ColorType::Rgb, BitDepth::Eight)),
        ("longer side than any", flat(32_769, 1, ColorType::Rgb, BitDepth::Eight)),
    ]
}

/// Beginnings of images, and other files.
fn not_images() -> Vec<(String, Vec<u8>)> {
    let heads: [&[u8]; 8] =
        [b"\x89PNG\r\n\x1a\n", b"\xFF\xD8\xFF", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBP", b"\0"];
    let mut files: Vec<_> = heads.iter().map(|head| (format!("only {head:?}"), head.to_vec())).collect();
    for head in heads {
        files.push((format!("{head:?} and zeros"), [head, &[0; 4096]].concat()));
        files.push((format!("{head:?} and ones"), [head, &[0xFF; 4096]].concat()));
    }
    files.push(("SVG".to_owned(), b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec()));
    files.push(("PDF".to_owned(), b"%PDF-1.7\n".to_vec()));
    files.push(("megabytes of zeros".to_owned(), vec![0; 3 << 20]));
    files
}
