//! Our preprocessing against PIL's, on the parity fixture's images.

#![allow(clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use safetensors::SafeTensors;
use unipic_imaging::{DecodeLimits, Rgb8, decode, pad_to_square, resize_bicubic, square_crop, square_pad};

fn fixture(path: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/fixtures/tiny-a");
    std::fs::read(root.join(path)).expect("the fixture is in the repository")
}

/// Every value must be equal: the arithmetic is PIL's, so "within one level" would hide a difference.
fn check(case: &SafeTensors<'_>, tensor: &str, ours: &Rgb8) {
    let expected = case.tensor(tensor).expect("tensor");
    assert_eq!(expected.shape(), [ours.height as usize, ours.width as usize, 3]);
    let worst = expected.data().iter().zip(&ours.data).map(|(a, b)| a.abs_diff(*b)).max();
    assert_eq!(worst, Some(0), "{tensor}");
}

#[test]
fn crops_and_pads_are_bit_equal_to_pil() {
    for index in 0..4 {
        let image = decode(&fixture(&format!("images/{index}.png")), &DecodeLimits::default()).expect("decodes");
        let file = fixture(&format!("cases/preprocess_{index}.safetensors"));
        let case = SafeTensors::deserialize(&file).expect("a safetensors file");
        let side = case.tensor("crop_u8").expect("crop").shape()[0] as u32;
        check(&case, "crop_u8", &square_crop(&image, side));
        check(&case, "pad_u8", &square_pad(&image, side, [127; 3]));
    }
}

#[test]
fn the_short_way_to_a_padded_square_equals_the_long_one() {
    let fill = [127, 3, 250];
    for (width, height) in [(1, 1), (1, 97), (97, 1), (40, 33), (33, 40), (64, 10), (10, 64), (200, 199)] {
        let data = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
        let image = Rgb8::new(width, height, data).expect("fits");
        for size in [1, 16, 64, 150] {
            let long = resize_bicubic(&pad_to_square(&image, fill), size, size);
            assert!(square_pad(&image, size, fill) == long, "{width}x{height} to {size}");
        }
    }
}

#[test]
fn a_thin_image_is_padded_without_its_square() {
    // The square would take 3 GiB.
    let image = Rgb8::filled(32_768, 1, [9; 3]);
    let square = square_pad(&image, 16, [127; 3]);
    assert_eq!((square.width, square.height), (16, 16));
    assert_eq!(&square.data[..3], [127; 3]);
}
