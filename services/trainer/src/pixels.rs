//! Pictures as tensors and back, and several on one sheet.

use candle_core::{Device, Tensor};
use unipic_imaging::Rgb8;

use crate::TrainError;

/// Shapes: square pictures of one size → RGB `[B, 3, height, width]` in [-1, 1].
///
/// # Errors
/// When the sizes differ.
pub(crate) fn pixels(pictures: &[Rgb8], device: &Device) -> Result<Tensor, TrainError> {
    let (width, height) = pictures.first().map_or((1, 1), |p| (p.width as usize, p.height as usize));
    let n = width * height;
    let mut values = vec![0.0; pictures.len() * 3 * n];
    for (picture, values) in pictures.iter().zip(values.chunks_exact_mut(3 * n)) {
        if picture.data.len() != 3 * n {
            return Err(TrainError::Data("pictures of one batch differ in size".into()));
        }
        for (i, pixel) in picture.data.chunks_exact(3).enumerate() {
            for (channel, value) in pixel.iter().enumerate() {
                values[channel * n + i] = f32::from(*value) / 127.5 - 1.0;
            }
        }
    }
    Ok(Tensor::from_vec(values, (pictures.len(), 3, height, width), &Device::Cpu)?.to_device(device)?)
}

/// Shapes: `[3, height, width]` in about [-1, 1] → a picture, by the model's own rounding.
///
/// # Errors
/// When the tensor has another shape.
pub(crate) fn picture(pixels: &Tensor) -> Result<Rgb8, TrainError> {
    let (_, height, width) = pixels.dims3()?;
    let values: Vec<f32> = pixels.detach().permute((1, 2, 0))?.flatten_all()?.to_vec1()?;
    let data = values.iter().map(|x| (127.5 * x + 128.0).clamp(0.0, 255.0) as u8).collect();
    Ok(Rgb8 { width: width as u32, height: height as u32, data })
}

/// Pictures of one size in rows, two pixels apart.
pub(crate) fn grid(pictures: &[Rgb8], columns: usize) -> Rgb8 {
    const GAP: usize = 2;
    let Some(first) = pictures.first() else { return Rgb8::filled(1, 1, [255; 3]) };
    let (width, height) = (first.width as usize, first.height as usize);
    let columns = columns.clamp(1, pictures.len());
    let rows = pictures.len().div_ceil(columns);
    let (across, down) = (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP);
    let mut sheet = Rgb8::filled(across as u32, down as u32, [64; 3]);
    for (i, picture) in pictures.iter().enumerate() {
        let (x, y) = (i % columns * (width + GAP), i / columns * (height + GAP));
        for (row, pixels) in picture.data.chunks_exact(width * 3).take(height).enumerate() {
            sheet.data[((y + row) * across + x) * 3..][..width * 3].copy_from_slice(pixels);
        }
    }
    sheet
}
