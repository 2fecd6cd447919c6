//! Valid files of every kind, small, made by the encoders or put together by hand.

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, RgbImage, RgbaImage};

/// 16×8: red on the left, blue on the right, with some texture so that files have a body.
fn picture() -> DynamicImage {
    let image = RgbImage::from_fn(16, 8, |x, y| {
        let texture = (x * 5 + y * 3) as u8 % 16;
        image::Rgb(if x < 8 { [255 - texture, 0, 0] } else { [0, texture, 255] })
    });
    DynamicImage::ImageRgb8(image)
}

fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

pub(crate) fn png_rgb() -> Vec<u8> {
    file(&picture(), ImageFormat::Png)
}

pub(crate) fn jpeg() -> Vec<u8> {
    file(&picture(), ImageFormat::Jpeg)
}

/// A 4×4 image of one RGBA colour.
pub(crate) fn png_rgba(colour: &[u8; 4]) -> Vec<u8> {
    file(&DynamicImage::ImageRgba8(RgbaImage::from_pixel(4, 4, image::Rgba(*colour))), ImageFormat::Png)
}

/// A 4×4 grey image of one 16-bit level.
pub(crate) fn png_16(level: u16) -> Vec<u8> {
    let image = image::ImageBuffer::from_pixel(4, 4, image::Luma([level]));
    file(&DynamicImage::ImageLuma16(image), ImageFormat::Png)
}

/// 4×1, two bits a pixel, colours red and blue in turn.
pub(crate) fn png_palette() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 4, 1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Two);
    encoder.set_palette(vec![255, 0, 0, 0, 0, 255]);
    let mut writer = encoder.write_header().expect("header");
    writer.write_image_data(&[0b0001_0001]).expect("data");
    writer.finish().expect("end");
    bytes
}

pub(crate) fn png_animated() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).expect("animated");
    let mut writer = encoder.write_header().expect("header");
    writer.write_image_data(&[255, 0, 0].repeat(4)).expect("first");
    writer.write_image_data(&[0, 0, 255].repeat(4)).expect("second");
    writer.finish().expect("end");
    bytes
}

pub(crate) fn gif_animated() -> Vec<u8> {
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new(&mut bytes);
        for colour in [[255, 0, 0, 255], [0, 0, 255, 255]] {
            encoder.encode_frame(Frame::new(RgbaImage::from_pixel(6, 5, image::Rgba(colour)))).expect("frame");
        }
    }
    bytes
}

/// A RIFF container with two lossless frames.
pub(crate) fn webp_animated() -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    // Flags: animation; canvas 4×4 (stored minus one, 24 bits each).
    body.extend(chunk(b"VP8X", &[0x02, 0, 0, 0, 3, 0, 0, 3, 0, 0]));
    body.extend(chunk(b"ANIM", &[0, 0, 0, 0, 0, 0]));
    for colour in [[255, 0, 0], [0, 0, 255]] {
        let frame = DynamicImage::ImageRgb8(RgbImage::from_pixel(4, 4, image::Rgb(colour)));
        let whole = file(&frame, ImageFormat::WebP);
        // Offset, size minus one, 100 ms, no blending; then the still file's own VP8L chunk.
        let mut anmf = vec![0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 100, 0, 0, 0x02];
        anmf.extend(&whole[12..]);
        body.extend(chunk(b"ANMF", &anmf));
    }
    chunk(b"RIFF", &body)
}

/// A RIFF chunk: name, little-endian length, data padded to even.
pub(crate) fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn tiff_cmyk() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).expect("encoder");
    let data: Vec<u8> = (0..16 * 8 * 4).map(|i| i as u8).collect();
    encoder.write_image::<tiff::encoder::colortype::CMYK8>(16, 8, &data).expect("image");
    bytes.into_inner()
}

/// EXIF with the one tag Orientation = 6: the camera lay on its left side.
fn exif() -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08\0\x01".to_vec();
    bytes.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// The picture turned by EXIF, in every format that can say so.
pub(crate) fn rotated() -> Vec<(&'static str, Vec<u8>)> {
    let mut app1 = vec![0xFF, 0xE1];
    app1.extend((exif().len() as u16 + 8).to_be_bytes());
    app1.extend(b"Exif\0\0");
    app1.extend(exif());
    let mut jpeg = jpeg();
    jpeg.splice(2..2, app1);
    let still = file(&picture(), ImageFormat::WebP);
    let mut body = b"WEBP".to_vec();
    body.extend(chunk(b"VP8X", &[0x08, 0, 0, 0, 15, 0, 0, 7, 0, 0]));
    body.extend(&still[12..]);
    body.extend(chunk(b"EXIF", &exif()));
    let mut png = png_rgb();
    png.splice(33..33, super::crafted::png_chunk(b"eXIf", &exif()));
    vec![("rotated JPEG", jpeg), ("rotated WebP", chunk(b"RIFF", &body)), ("rotated PNG", png)]
}

/// One file of every kind we read.
pub(crate) fn valid() -> Vec<(&'static str, Vec<u8>)> {
    let colour = picture();
    let grey = DynamicImage::ImageLuma8(colour.to_luma8());
    let clear = DynamicImage::ImageRgba8(colour.to_rgba8());
    let deep = DynamicImage::ImageRgb16(colour.to_rgb16());
    let mut files = vec![
        ("PNG", png_rgb()),
        ("grey PNG", file(&grey, ImageFormat::Png)),
        ("PNG with alpha", file(&clear, ImageFormat::Png)),
        ("grey PNG with alpha", file(&DynamicImage::ImageLumaA8(colour.to_luma_alpha8()), ImageFormat::Png)),
        ("16-bit PNG", file(&deep, ImageFormat::Png)),
        ("16-bit PNG with alpha", file(&DynamicImage::ImageRgba16(colour.to_rgba16()), ImageFormat::Png)),
        ("palette PNG", png_palette()),
        ("animated PNG", png_animated()),
        ("JPEG", jpeg()),
        ("grey JPEG", file(&grey, ImageFormat::Jpeg)),
        ("CMYK JPEG", super::crafted::cmyk_jpeg(true)),
        ("progressive JPEG", super::crafted::progressive_jpeg()),
        ("WebP", file(&colour, ImageFormat::WebP)),
        ("WebP with alpha", file(&clear, ImageFormat::WebP)),
        ("animated WebP", webp_animated()),
        ("animated GIF", gif_animated()),
        ("BMP", file(&colour, ImageFormat::Bmp)),
        ("BMP with alpha", file(&clear, ImageFormat::Bmp)),
        ("TIFF", file(&colour, ImageFormat::Tiff)),
        ("16-bit TIFF", file(&deep, ImageFormat::Tiff)),
        ("float TIFF", file(&DynamicImage::ImageRgb32F(colour.to_rgb32f()), ImageFormat::Tiff)),
        ("CMYK TIFF", tiff_cmyk()),
    ];
    files.extend(rotated());
    files
}
