//! Mask files: what each convention marks, in whatever layout the file has, and files that are no masks.

#![allow(clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use unipic_imaging::{CropBox, DecodeLimits, ImageError, Mask, MaskConvention, decode, decode_mask};

fn file(pixels: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    pixels.write_to(&mut file, format).expect("encodes");
    file.into_inner()
}

fn read(file: &[u8], convention: MaskConvention) -> Vec<bool> {
    decode_mask(file, &DecodeLimits::default(), convention).expect("a mask").pixels().to_vec()
}

/// A row of black, dark, bright and white pixels, the last two also once transparent.
fn row() -> image::RgbaImage {
    let greys = [(0, 255), (127, 255), (129, 255), (255, 255), (255, 0), (0, 0), (255, 127), (255, 128)];
    image::RgbaImage::from_fn(8, 1, |x, _| {
        let (grey, alpha) = greys[x as usize];
        image::Rgba([grey, grey, grey, alpha])
    })
}

#[test]
fn each_convention_marks_what_it_says() {
    let png = file(row().into(), ImageFormat::Png);
    assert_eq!(read(&png, MaskConvention::White), [false, false, true, true, false, false, false, true]);
    assert_eq!(read(&png, MaskConvention::Transparent), [false, false, false, false, true, true, true, false]);
}

#[test]
fn the_layout_of_the_file_does_not_matter() {
    let rgba = DynamicImage::from(row());
    let expected = read(&file(rgba.clone(), ImageFormat::Png), MaskConvention::White);
    let deep = DynamicImage::from(rgba.to_rgba16());
    let grey = DynamicImage::from(rgba.to_luma_alpha8());
    for (pixels, format) in [(deep, ImageFormat::Png), (grey, ImageFormat::Png), (rgba.clone(), ImageFormat::WebP)] {
        assert_eq!(read(&file(pixels, format), MaskConvention::White), expected, "{format:?}");
    }
    let opaque = DynamicImage::from(rgba.to_rgb8());
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff] {
        let marked = read(&file(opaque.clone(), format), MaskConvention::White);
        assert_eq!(marked, [false, false, true, true, true, false, true, true], "{format:?}");
    }
    // Noise beside an edge, which JPEG leaves, marks nothing.
    let edge = image::RgbImage::from_fn(32, 32, |x, _| image::Rgb([if x < 20 { 0 } else { 255 }; 3]));
    let marked = read(&file(edge.into(), ImageFormat::Jpeg), MaskConvention::White);
    assert!(marked.iter().enumerate().all(|(i, is)| *is == (i % 32 >= 20)));
}

#[test]
fn a_file_without_transparency_has_none_to_mark_by() {
    let opaque = file(DynamicImage::from(row()).to_rgb8().into(), ImageFormat::Png);
    let refused = decode_mask(&opaque, &DecodeLimits::default(), MaskConvention::Transparent);
    assert_eq!(refused, Err(ImageError::NoAlpha { format: "PNG" }));
}

#[test]
fn a_mask_is_turned_as_its_image_is() {
    let pixels = image::RgbImage::from_fn(3, 2, |x, y| image::Rgb([if (x, y) == (2, 0) { 255 } else { 0 }; 3]));
    let mut jpeg = file(DynamicImage::from(pixels).resize_exact(48, 32, image::imageops::Nearest), ImageFormat::Jpeg);
    // An EXIF segment that says: turn by 90 degrees clockwise.
    let tiff = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (tiff.len() as u16 + 2).to_be_bytes();
    jpeg.splice(2..2, [&[0xff, 0xe1][..], &length, tiff].concat());
    let image = decode(&jpeg, &DecodeLimits::default()).expect("decodes");
    let mask = decode_mask(&jpeg, &DecodeLimits::default(), MaskConvention::White).expect("a mask");
    assert_eq!((mask.width(), mask.height()), (32, 48));
    let bright: Vec<bool> = image.data.chunks(3).map(|pixel| pixel[0] > 127).collect();
    assert_eq!(mask.pixels(), bright);
    assert!(mask.pixels()[47 * 32 + 31], "the corner is at the bottom right");
}

#[test]
fn limits_and_broken_files_are_as_for_images() {
    let png = file(
        DynamicImage::from(image::GrayImage::from_fn(64, 64, |x, _| image::Luma([x as u8 * 4]))),
        ImageFormat::Png,
    );
    let limits = DecodeLimits::default();
    let few = [
        DecodeLimits { max_bytes: 20, ..limits },
        DecodeLimits { max_pixels: 64 * 63, ..limits },
        DecodeLimits { max_alloc_bytes: 64 * 64, ..limits },
    ];
    for limits in few {
        assert!(decode_mask(&png, &limits, MaskConvention::White).is_err(), "{limits:?}");
    }
    for cut in 0..png.len() {
        let read = decode_mask(&png[..cut], &limits, MaskConvention::White);
        assert!(read.is_err() || cut > png.len() - 16, "cut at {cut}");
    }
}

#[test]
fn masks_of_large_images_are_fitted_whole() {
    let mask = Mask::new(1000, 700, |x, y| (x, y) == (999, 699) || (x, y) == (150, 0));
    let area = CropBox { x: 150, y: 0, width: 700, height: 700 };
    assert_eq!(mask.fit(area, 64, 64).squares(16), [0]);
    let whole = CropBox { x: 0, y: 0, width: 1000, height: 700 };
    assert_eq!(mask.fit(whole, 64, 64).squares(16), [0, 15]);
}
