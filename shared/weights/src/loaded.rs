//! Tensors that have been checked and can be built into a model.
//!
//! Checking and serving are two passes over the file, on purpose. The first streams every tensor once, in parallel,
//! looking for values that are not finite and hashing; so one error can name all faults before anything is built, and
//! it costs 4 MiB a thread. The second reads a tensor at the moment a model part asks for it. Loading everything into
//! a map in one pass would read the file once only, but would hold the whole model in f32 beside the quantized layers
//! that are made from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use sha2::{Digest, Sha256};

use crate::dtype::all_finite;
use crate::error::TensorFaults;
use crate::manifest::TensorSpec;
use crate::source::Source;

/// Most threads that check tensors: reading is soon bound by the disk.
const MAX_THREADS: usize = 8;

/// Tensors of some parts of a checkpoint: present, of the right shape, finite, and read when they are asked for.
#[derive(Clone, Debug)]
pub struct LoadedTensors {
    pub(crate) source: Arc<Source>,
    pub(crate) names: Arc<std::collections::HashSet<String>>,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
    pub(crate) sha256: String,
    pub(crate) notices: Vec<String>,
}

impl LoadedTensors {
    /// Serves the tensors by their canonical names from the root of the checkpoint's tree. Each `get` reads its tensor
    /// anew; nothing is kept here.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        let backend = Lazy { source: self.source.clone(), names: self.names.clone() };
        VarBuilder::new_with_args(Box::new(backend) as Box<dyn SimpleBackend>, self.dtype, &self.device)
    }

    /// SHA-256, in hexadecimal, over names, stored dtypes, shapes and bytes of these tensors: the same for a released
    /// folder and for its conversion.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What whoever runs this should know about the checkpoint.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The dtype that tensors are served in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The device that tensors are served on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

struct Lazy {
    source: Arc<Source>,
    names: Arc<std::collections::HashSet<String>>,
}

impl SimpleBackend for Lazy {
    fn get(&self, shape: Shape, name: &str, _: candle_nn::Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            candle_core::bail!("tensor `{name}` has shape {:?}, not {shape:?}", tensor.shape());
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        if !self.contains_tensor(name) {
            candle_core::bail!("tensor `{name}` is not among the loaded parts");
        }
        self.source.tensor(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// What the pass over a tensor's bytes found.
enum Verdict {
    Good([u8; 32]),
    NonFinite,
    Unreadable(String),
}

/// Compares names, shapes and dtypes of `specs` with the source, without reading values.
pub(crate) fn check_headers(source: &Source, specs: &[TensorSpec]) -> TensorFaults {
    let mut faults = TensorFaults::default();
    for spec in specs {
        match source.entries().get(&spec.name) {
            None => faults.missing.push(spec.name.clone()),
            Some(entry) if entry.shape != spec.shape => faults.misshapen.push(crate::error::Misshapen {
                name: spec.name.clone(),
                expected: spec.shape.clone(),
                found: entry.shape.clone(),
            }),
            Some(entry) if !entry.dtype.is_float() => {
                faults.not_float.push(format!("{} ({})", spec.name, entry.dtype.name()));
            }
            Some(_) => {}
        }
    }
    faults
}

/// Streams all values of `specs`, which the source must have: their combined hash, or all faults.
///
/// Tensors are hashed each on its own, so that threads share the work, and the hash of the whole is over their hashes
/// in order of name.
pub(crate) fn check_values(source: &Source, specs: &[TensorSpec]) -> std::result::Result<String, TensorFaults> {
    let next = AtomicUsize::new(0);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let work = || {
        let mut mine = Vec::new();
        while let Some(spec) = specs.get(next.fetch_add(1, Ordering::Relaxed)) {
            mine.push((spec.name.as_str(), check_tensor(source, &spec.name)));
        }
        mine
    };
    let mut verdicts: Vec<(&str, Verdict)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    verdicts.sort_unstable_by_key(|(name, _)| *name);
    let mut faults = TensorFaults::default();
    if verdicts.len() != specs.len() {
        faults.unreadable.push("a checking thread stopped early".into());
    }
    let mut whole = Sha256::new();
    for (name, verdict) in verdicts {
        match verdict {
            Verdict::NonFinite => faults.non_finite.push(name.to_owned()),
            Verdict::Unreadable(why) => faults.unreadable.push(format!("{name} ({why})")),
            Verdict::Good(digest) => {
                if let Some(entry) = source.entries().get(name) {
                    whole.update(format!("{name}\0{}\0{:?}\0", entry.dtype.name(), entry.shape));
                    whole.update(digest);
                }
            }
        }
    }
    if faults.is_empty() { Ok(hex(&whole.finalize())) } else { Err(faults) }
}

fn check_tensor(source: &Source, name: &str) -> Verdict {
    let Some(entry) = source.entries().get(name) else {
        return Verdict::Unreadable("missing".into());
    };
    let mut hash = Sha256::new();
    let mut crc = entry.crc32.map(|_| crc32fast::Hasher::new());
    let mut finite = true;
    let read = source.pieces(entry, |bytes| {
        hash.update(bytes);
        finite &= all_finite(entry.dtype, bytes);
        if let Some(crc) = &mut crc {
            crc.update(bytes);
        }
    });
    if let Err(error) = read {
        return Verdict::Unreadable(error.to_string());
    }
    if crc.map(crc32fast::Hasher::finalize) != entry.crc32 {
        return Verdict::Unreadable("checksum differs".into());
    }
    if finite { Verdict::Good(hash.finalize().into()) } else { Verdict::NonFinite }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
