//! Time and peak memory of one VAE decode at the published size, alone in a process.
//!
//! ```text
//! cargo run --release -p benches --bin vae_decode -- target/unipic-1.5b-random 1024
//! ```

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};
use unipic_models::vae;
use unipic_nn::{Build, Ops};
use unipic_weights::{Checkpoint, Part};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let checkpoint: PathBuf = args.next().context("usage: vae_decode CHECKPOINT [SIDE_PX]")?.into();
    let side: usize = args.next().map_or(Ok(1024), |a| a.to_string_lossy().parse())?;
    let checkpoint = Checkpoint::open(&checkpoint)?;
    let loaded = checkpoint.load(&[Part::Vae], DType::F32, &Device::Cpu)?;
    let build = Build::new(loaded.var_builder(), Ops::Inference);
    let decoder = vae::Decoder::load(&build, &checkpoint.config().vae)?;
    drop(loaded);
    let before = memory_mib("VmRSS:")?;
    let grid = side / checkpoint.config().vae.stride();
    let latents = Tensor::randn(0f32, 0.5, (1, grid, grid, 16), &Device::Cpu)?;
    let start = Instant::now();
    let pixels = decoder.decode(&latents)?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = memory_mib("VmHWM:")?;
    println!(
        "vae decode {:?}: {seconds:.2} s, {:.0} MiB above the {before:.0} MiB held before",
        pixels.dims(),
        peak - before
    );
    Ok(())
}

fn memory_mib(field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix(field)).context("no such field in the process status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
