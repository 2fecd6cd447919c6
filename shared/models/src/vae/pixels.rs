//! Between bytes and the autoencoder's pixel range.

use candle_core::{DType, Device, Result, Tensor};

/// RGB bytes as pixels: x / 127.5 − 1.
///
/// Shapes: `rgb` of height·width·3 bytes, rows first, channels last → f32 `[1, 3, height, width]` in [-1, 1].
///
/// # Errors
/// When `rgb` has another length or the device refuses the tensor.
pub fn pixels_from_u8(rgb: &[u8], width: usize, height: usize, device: &Device) -> Result<Tensor> {
    if rgb.len() != 3 * width * height {
        candle_core::bail!("{} bytes are no RGB image of {width}×{height} px", rgb.len());
    }
    let planes: Vec<f32> =
        (0..3).flat_map(|channel| rgb.iter().skip(channel).step_by(3).map(|&v| f32::from(v) / 127.5 - 1.0)).collect();
    Tensor::from_vec(planes, (1, 3, height, width), device)
}

/// Decoded pixels as RGB bytes: clamp(127.5·x + 128, 0, 255), truncated (model page, section 2).
///
/// Shapes: `[3, height, width]` → height·width·3 bytes, rows first, channels last. Computed in f32: bf16 has no room for
/// 256 levels above 128.
///
/// # Errors
/// When the shape is another one or the device fails.
pub fn pixels_to_u8(pixels: &Tensor) -> Result<Vec<u8>> {
    let (channels, _, _) = pixels.dims3()?;
    if channels != 3 {
        candle_core::bail!("an image of {channels} channels is not RGB");
    }
    let levels = pixels.to_dtype(DType::F32)?.affine(127.5, 128.0)?.clamp(0f32, 255f32)?;
    // Truncated on the host, where the meaning of the conversion is Rust's and not a device compiler's.
    let levels = levels.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
    Ok(levels.into_iter().map(|v| v as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_way_there_and_back() {
        let rgb: Vec<u8> = (0..=255).chain(0..=255).chain(0..=255).collect();
        let pixels = pixels_from_u8(&rgb, 16, 16, &Device::Cpu).unwrap();
        let back = pixels_to_u8(&pixels.squeeze(0).unwrap()).unwrap();
        // x·127.5 + 127.5 is the byte; the published + 128 makes room for rounding by truncation.
        assert_eq!(back, rgb);
    }

    #[test]
    fn levels_are_truncated_and_clamped() {
        let values = [-2.0, -1.0, 0.0, 0.999, 1.0, 2.0];
        let pixels = Tensor::new(&values.map(|v| [[v as f32]]), &Device::Cpu).unwrap().reshape((3, 1, 2)).unwrap();
        let planes = pixels_to_u8(&pixels).unwrap();
        // Channel last: place 0 holds values 0, 2 and 4, place 1 the others.
        assert_eq!(planes, [0, 128, 255, 0, 255, 255]);
    }

    #[test]
    fn a_wrong_number_of_bytes_is_refused() {
        assert!(pixels_from_u8(&[0; 11], 2, 2, &Device::Cpu).is_err());
    }
}
