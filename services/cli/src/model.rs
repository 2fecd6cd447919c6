//! `model`: converting, inspecting, packing and making checkpoints.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use unipic_weights::config::ModelConfig;
use unipic_weights::plan::{LinearStorage, PlanFor, Precision, Target, plan};
use unipic_weights::{Converted, OpenOptions, Part, StoredDtype};

use crate::args::{Device, Dtype, Inspect, LinearWeights, Model, Preset};
use crate::progress::Progress;

/// Runs one of the commands.
///
/// # Errors
/// When a checkpoint cannot be read or written; tensors at fault are all named.
pub(crate) fn run(command: &Model, progress: &Progress) -> anyhow::Result<()> {
    match command {
        Model::Convert { source, destination } => convert(source, destination, progress),
        Model::Inspect(args) => inspect(args, progress),
        Model::Pack { source, destination, dtype } => pack(source, destination, stored(*dtype), progress),
        Model::Random { destination, preset, dtype, seed } => {
            let config = match preset {
                Preset::Unipic1_5b => ModelConfig::unipic_1_5b(),
                Preset::Tiny => ModelConfig::tiny(),
            };
            random(&config, destination, stored(*dtype), *seed, progress)
        }
    }
}

fn convert(source: &Path, destination: &Path, progress: &Progress) -> anyhow::Result<()> {
    progress.stage(format!("reading {}", source.display()));
    let options = OpenOptions::default();
    let done = unipic_weights::convert(source, destination, &options, None, &mut |step| progress.bytes(&step))?;
    tell_written(&done, destination, progress);
    Ok(())
}

fn pack(source: &Path, destination: &Path, dtype: StoredDtype, progress: &Progress) -> anyhow::Result<()> {
    let checkpoint = unipic_models::load::open(source)?;
    let done = unipic_weights::pack(&checkpoint, destination, Some(dtype), &mut |step| progress.bytes(&step))?;
    tell_written(&done, destination, progress);
    Ok(())
}

fn random(
    config: &ModelConfig,
    destination: &Path,
    dtype: StoredDtype,
    seed: u64,
    progress: &Progress,
) -> anyhow::Result<()> {
    let done = unipic_weights::random(config, destination, dtype, seed, &mut |step| progress.bytes(&step))?;
    tell_written(&done, destination, progress);
    Ok(())
}

fn tell_written(done: &Converted, destination: &Path, progress: &Progress) {
    for notice in &done.notices {
        progress.line(notice);
    }
    let mib = done.n_bytes >> 20;
    progress.line(&format!(
        "{}: {} tensors, {mib} MiB, SHA-256 {}",
        destination.display(),
        done.n_tensors,
        done.sha256
    ));
    progress.event("done", json!({ "tensors": done.n_tensors, "bytes": done.n_bytes, "sha256": done.sha256 }));
}

fn stored(dtype: Dtype) -> StoredDtype {
    match dtype {
        Dtype::F32 => StoredDtype::F32,
        Dtype::Bf16 => StoredDtype::Bf16,
    }
}

/// What a checkpoint holds and what it needs, from its headers.
fn inspect(args: &Inspect, progress: &Progress) -> anyhow::Result<()> {
    let checkpoint = unipic_models::load::open(&args.model)?;
    let parts = checkpoint.parts();
    let plan = plan(checkpoint.config(), &parts, &request(args));
    let mut dtypes: BTreeMap<(Part, &str), usize> = BTreeMap::new();
    for tensor in checkpoint.stored() {
        if let Some(part) = Part::of(&tensor.name) {
            *dtypes.entry((part, tensor.dtype.name())).or_default() += 1;
        }
    }
    let faults = checkpoint.header_faults(&parts);
    // A server's own, whatever the model: it fills up with the prompts that are asked.
    let prefix_cache_mib = if parts.contains(&Part::Llm) { unipic_node::Config::default().prefix_cache_mib } else { 0 };
    if progress.is_json() {
        let stored = |((part, dtype), n): (&(Part, &str), &usize)| json!([part.label(), dtype, n]);
        let part = |p: &unipic_weights::plan::PartPlan| {
            json!({
                "part": p.part.label(),
                "parameters": p.n_parameters,
                "weight_bytes": p.weight_bytes,
                "cache_bytes": p.cache_bytes,
                "activation_bytes": p.activation_bytes,
            })
        };
        let fields = json!({
            "model": checkpoint.config().name,
            "layout": format!("{:?}", checkpoint.layout()),
            "stored": dtypes.iter().map(stored).collect::<Vec<_>>(),
            "plan": plan.parts.iter().map(part).collect::<Vec<_>>(),
            "peak_bytes": plan.peak_bytes(),
            "prefix_cache_bytes": prefix_cache_mib << 20,
            "surplus": checkpoint.surplus(),
            "notices": checkpoint.notices(),
        });
        progress.event("model", fields);
    } else {
        progress.text(&format!("{} ({:?} layout)", checkpoint.config().name, checkpoint.layout()));
        for ((part, dtype), n) in &dtypes {
            progress.text(&format!("{:<14}{n:>5} tensors in {dtype}", part.label()));
        }
        let (width, height) = args.size;
        progress.text(&format!("\nmemory for {width}×{height} px, one request with guidance:\n{plan}"));
        if prefix_cache_mib > 0 {
            progress.text(&format!(
                "a server takes up to {prefix_cache_mib} MiB more for the beginnings of prompts that it keeps (prefix_cache_mib)"
            ));
        }
        for notice in checkpoint.notices() {
            progress.text(&format!("note: {notice}"));
        }
        for name in checkpoint.surplus() {
            progress.text(&format!("surplus tensor: {name}"));
        }
    }
    anyhow::ensure!(faults.is_empty(), "this checkpoint cannot be loaded: {faults}");
    Ok(())
}

fn request(args: &Inspect) -> PlanFor {
    let on_gpu = args.device == Device::Cuda;
    let precision = match args.dtype {
        Some(Dtype::F32) => Precision::F32,
        Some(Dtype::Bf16) => Precision::Bf16,
        None if on_gpu => Precision::Bf16,
        None => Precision::F32,
    };
    PlanFor {
        width: args.size.0 as usize,
        height: args.size.1 as usize,
        precision,
        linear: match args.linear {
            LinearWeights::Dense => LinearStorage::Dense,
            LinearWeights::Q8_0 => LinearStorage::Q8_0,
        },
        target: if on_gpu { Target::Cuda } else { Target::Cpu },
    }
}
