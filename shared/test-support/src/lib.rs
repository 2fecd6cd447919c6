//! What tests of several crates need: where the fixtures are, and comparisons that say how far off a tensor is.
//!
//! A development dependency only; nothing that ships may import it.

use std::path::PathBuf;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};

/// The folder of the small parity model, `tests/parity/fixtures/tiny-a`.
pub fn tiny_a() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a"))
}

/// The small parity model with one tensor so large that whatever it touches overflows. Its values are numbers, so it loads.
///
/// # Errors
/// When there is no tensor of that name, or a file cannot be read or written.
pub fn poisoned(tensor: &str) -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(tiny_a().join(name), folder.path().join(name))?;
    }
    let mut tensors = candle_core::safetensors::load(tiny_a().join("model.safetensors"), &Device::Cpu)?;
    let poison = tensors.get(tensor).with_context(|| format!("no tensor {tensor}"))?;
    let poison = Tensor::full(3e38_f32, poison.shape(), &Device::Cpu)?;
    tensors.insert(tensor.to_owned(), poison);
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors"))?;
    Ok(folder)
}

/// The tensors of one parity case, by quantity; `name` without extension.
///
/// # Errors
/// When the file cannot be read.
pub fn case(name: &str) -> anyhow::Result<std::collections::HashMap<String, Tensor>> {
    let path = tiny_a().join("cases").join(format!("{name}.safetensors"));
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

/// Largest absolute difference between two tensors of one shape, in f64.
///
/// # Errors
/// When the shapes differ.
pub fn max_abs_diff(ours: &Tensor, expected: &Tensor) -> anyhow::Result<f64> {
    anyhow::ensure!(ours.dims() == expected.dims(), "shapes differ: {:?} and {:?}", ours.dims(), expected.dims());
    let flat = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let pairs = flat(ours)?.into_iter().zip(flat(expected)?);
    // A NaN would vanish in a maximum, so it counts as infinitely far off.
    Ok(pairs.map(|(a, b)| if (a - b).is_nan() { f64::INFINITY } else { (a - b).abs() }).fold(0.0, f64::max))
}

/// Succeeds when no element differs by more than `bound`.
///
/// # Errors
/// When the shapes differ or an element is further off; the message tells how far.
pub fn assert_close(what: &str, ours: &Tensor, expected: &Tensor, bound: f64) -> anyhow::Result<()> {
    let diff = max_abs_diff(ours, expected)?;
    anyhow::ensure!(diff <= bound, "{what}: off by {diff:e}, more than {bound:e}");
    Ok(())
}

/// Whether two f32 tensors have the same shape and the same bits.
///
/// # Errors
/// When an element type is not f32.
pub fn same_bits(a: &Tensor, b: &Tensor) -> anyhow::Result<bool> {
    let bits = |t: &Tensor| -> anyhow::Result<Vec<u32>> {
        Ok(t.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    Ok(a.dims() == b.dims() && bits(a)? == bits(b)?)
}
