//! Centre crop, square padding, and the two preparations of model.md section 7 made of them.

use rayon::prelude::*;

use crate::Rgb8;
use crate::resize::{Filter, across_rows, down_columns, resize_bicubic};

/// A part of an image, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// The largest centred part with the aspect `width : height`, and where it was. An odd margin leaves its extra pixel on
/// the right or the bottom. Either side is at least one pixel.
#[must_use]
pub fn centre_crop_to_aspect(image: &Rgb8, width: u32, height: u32) -> (Rgb8, CropBox) {
    let (w, h) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (full_w, full_h) = (u64::from(image.width), u64::from(image.height));
    // Cross-multiplied, so that equal aspects keep every pixel.
    let (crop_w, crop_h) =
        if full_w * h > full_h * w { ((full_h * w / h).max(1), full_h) } else { (full_w, (full_w * h / w).max(1)) };
    let area = CropBox {
        x: ((full_w - crop_w) / 2) as u32,
        y: ((full_h - crop_h) / 2) as u32,
        width: crop_w as u32,
        height: crop_h as u32,
    };
    (cut(image, area), area)
}

/// Copies a part out. `area` lies within the image: it comes from the function above.
fn cut(image: &Rgb8, area: CropBox) -> Rgb8 {
    let row_bytes = area.width as usize * 3;
    let first = area.x as usize * 3;
    let rows = image.data.chunks_exact(image.stride()).skip(area.y as usize).take(area.height as usize);
    let mut data = Vec::with_capacity(row_bytes * area.height as usize);
    rows.for_each(|row| data.extend_from_slice(&row[first..first + row_bytes]));
    Rgb8 { width: area.width, height: area.height, data }
}

/// The image on a larger canvas with its corner at `(left, top)`; the canvas around it repeats its edge. Where the canvas
/// ends within the image, the rest is cut off. A side of zero counts as 1.
#[must_use]
pub fn on_canvas(image: &Rgb8, (left, top): (u32, u32), width: u32, height: u32) -> Rgb8 {
    let (width, height) = (width.max(1), height.max(1));
    let nearest = |at: u32, first: u32, side: u32| at.saturating_sub(first).min(side - 1) as usize;
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        let row = &image.data[nearest(y, top, image.height) * image.stride()..][..image.stride()];
        for x in 0..width {
            let first = nearest(x, left, image.width) * 3;
            data.extend_from_slice(&row[first..first + 3]);
        }
    }
    Rgb8 { width, height, data }
}

/// The image in the middle of a square of `fill`, as long as its longer side. An odd margin leaves its extra pixel on the
/// right or the bottom.
///
/// The square of a long thin image is large: [`square_pad`] makes the resized square without ever holding this one.
#[must_use]
pub fn pad_to_square(image: &Rgb8, fill: [u8; 3]) -> Rgb8 {
    let side = image.width.max(image.height);
    let mut square = Rgb8::filled(side, side, fill);
    let x = (side - image.width) as usize / 2 * 3;
    let y = (side - image.height) as usize / 2;
    let (row_bytes, stride) = (image.stride(), square.stride());
    let rows = square.data.chunks_exact_mut(stride).skip(y);
    for (to, from) in rows.zip(image.data.chunks_exact(row_bytes)) {
        to[x..x + row_bytes].copy_from_slice(from);
    }
    square
}

/// Centre-cropped to a square and resized: what the VAE sees of a source image (model.md section 7).
#[must_use]
pub fn square_crop(image: &Rgb8, size: u32) -> Rgb8 {
    let (square, _) = centre_crop_to_aspect(image, 1, 1);
    resize_bicubic(&square, size, size)
}

/// Padded to a square with `fill` and resized: what the understanding encoders see (model.md section 7, fill 127).
///
/// Bit-equal to `resize_bicubic(&pad_to_square(image, fill), size, size)` in memory proportional to the image and the
/// output, not to the square of the longer side.
#[must_use]
pub fn square_pad(image: &Rgb8, size: u32, fill: [u8; 3]) -> Rgb8 {
    let side = image.width.max(image.height);
    let size = size.max(1);
    if image.width == image.height || side == size {
        return resize_bicubic(&pad_to_square(image, fill), size, size);
    }
    let filter = Filter::bicubic(side, size);
    let margin = (side - image.width) as usize / 2 * 3;
    let mut rows = vec![0_u8; image.height as usize * size as usize * 3];
    let row_bytes = image.stride();
    let padded_row = || fill.repeat(side as usize);
    rows.par_chunks_exact_mut(size as usize * 3).zip(image.data.par_chunks_exact(row_bytes)).for_each_init(
        padded_row,
        |row, (out, pixels)| {
            row[margin..margin + row_bytes].copy_from_slice(pixels);
            across_rows(row, out, &filter);
        },
    );
    let mut border = vec![0_u8; size as usize * 3];
    across_rows(&padded_row(), &mut border, &filter);
    let top = (side - image.height) as usize / 2;
    let out_row = size as usize * 3;
    let data = down_columns(&filter, size, size, |y| {
        let inside = y.checked_sub(top).and_then(|y| rows.get(y * out_row..(y + 1) * out_row));
        inside.unwrap_or(&border)
    });
    Rgb8 { width: size, height: size, data }
}
