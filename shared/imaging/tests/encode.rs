//! What we write can be read again, with its text.

#![allow(clippy::expect_used, clippy::panic)]

use unipic_imaging::{DecodeLimits, Format, ImageError, Rgb8, centre_crop_to_aspect, decode, encode, read_png_text};

fn picture() -> Rgb8 {
    let data = (0..40 * 24 * 3).map(|i| (i * 31 % 256) as u8).collect();
    Rgb8::new(40, 24, data).expect("fits")
}

#[test]
fn lossless_formats_return_every_sample() {
    for format in [Format::Png, Format::WebP] {
        let file = encode(&picture(), format, &[("unipic", "{}")]).expect("encodes");
        assert!(decode(&file, &DecodeLimits::default()).expect("decodes") == picture(), "{format:?}");
    }
}

#[test]
fn jpeg_returns_the_size() {
    let file = encode(&picture(), Format::Jpeg, &[]).expect("encodes");
    let image = decode(&file, &DecodeLimits::default()).expect("decodes");
    assert_eq!((image.width, image.height), (40, 24));
}

#[test]
fn png_text_survives_in_any_script() {
    let text = [("unipic", r#"{"seed":7,"prompt":"Ein Hühnerhof, 夜"}"#), ("plain", "ä")];
    let file = encode(&picture(), Format::Png, &text).expect("encodes");
    let mut read = read_png_text(&file).expect("reads");
    read.sort();
    let mut wanted = text.map(|(key, value)| (key.to_owned(), value.to_owned()));
    wanted.sort();
    assert_eq!(read, wanted);
}

#[test]
fn what_a_format_cannot_hold_is_an_error() {
    let wide = Rgb8::filled(70_000, 1, [0; 3]);
    for format in [Format::Jpeg, Format::WebP] {
        assert!(matches!(encode(&wide, format, &[]), Err(ImageError::Encode { .. })), "{format:?}");
    }
    let wrong = Rgb8 { width: 9, height: 9, data: vec![0; 5] };
    assert!(matches!(encode(&wrong, Format::Png, &[]), Err(ImageError::WrongLength { .. })));
    assert!(encode(&picture(), Format::Png, &[("", "x")]).is_err());
}

#[test]
fn crops_are_centred_and_as_large_as_can_be() {
    let check = |from: (u32, u32), aspect: (u32, u32), expected: (u32, u32, u32, u32)| {
        let (image, area) = centre_crop_to_aspect(&Rgb8::filled(from.0, from.1, [5; 3]), aspect.0, aspect.1);
        assert_eq!((area.x, area.y, area.width, area.height), expected, "{from:?} to {aspect:?}");
        assert_eq!((image.width, image.height), (expected.2, expected.3));
        assert_eq!(image.data.len(), expected.2 as usize * expected.3 as usize * 3);
    };
    check((100, 61), (1, 1), (19, 0, 61, 61));
    check((37, 90), (1, 1), (0, 26, 37, 37));
    check((1920, 1080), (16, 9), (0, 0, 1920, 1080));
    check((1000, 1000), (2, 1), (0, 250, 1000, 500));
    check((1, 500), (1000, 1), (0, 249, 1, 1));
}

#[test]
fn a_text_that_is_too_large_once_unpacked_is_left_out_and_hides_no_other() {
    use png::text_metadata::ITXtChunk;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("a header");
    let mut bomb = ITXtChunk::new("bomb", "a".repeat(8 << 20));
    bomb.compressed = true;
    writer.write_text_chunk(&bomb).expect("a chunk");
    writer.write_text_chunk(&ITXtChunk::new("mine", "text")).expect("a chunk");
    writer.write_image_data(&[1, 2, 3]).expect("pixels");
    writer.finish().expect("an end");
    assert!(file.len() < 64 << 10, "{} bytes", file.len());
    assert_eq!(read_png_text(&file).expect("a PNG"), [("mine".to_owned(), "text".to_owned())]);
}
