//! How much memory a model takes, before anything is loaded.
//!
//! Weights and key-value caches are exact. Activations are an estimate of the largest set of buffers that one step
//! holds at once, from the widths of the layers; a margin for allocators is not in it.

use std::fmt;

use crate::Part;
use crate::config::{ModelConfig, VaeConfig};
use crate::manifest;

/// Sampling iterations and prompt length that the plan is for.
const ITERATIONS: usize = 32;
const PROMPT_TOKENS: usize = 128;
const ANSWER_TOKENS: usize = 1024;

/// The dtype of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 4 bytes a value.
    F32,
    /// 2 bytes a value.
    F16,
    /// 2 bytes a value.
    Bf16,
}

impl Precision {
    /// Bytes a value.
    pub fn n_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// How matrices of linear layers are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinearStorage {
    /// In the precision of the rest.
    Dense,
    /// 34 bytes per 32 values, inputs filled up to a multiple of 256; narrow matrices that blocks of 32 do not divide stay
    /// dense. On a CPU, candle keeps a second copy in the order its fast product reads (where the processor has VNNI).
    Q8_0,
}

/// What the model runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Main memory.
    Cpu,
    /// A GPU's memory, where the driver's context and libraries take some too.
    Cuda,
}

/// What to plan for: one request at a time, with guidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanFor {
    /// Width of the image, in pixels.
    pub width: usize,
    /// Height of the image, in pixels.
    pub height: usize,
    /// Dtype of weights and activations.
    pub precision: Precision,
    /// How linear layers are held.
    pub linear: LinearStorage,
    /// Where it runs.
    pub target: Target,
}

/// What one part takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartPlan {
    /// The part.
    pub part: Part,
    /// Number of parameters.
    pub n_parameters: u64,
    /// Bytes of its weights. Exact.
    pub weight_bytes: u64,
    /// Bytes of keys and values of the largest request: an edit with guidance, or a long answer. Exact.
    pub cache_bytes: u64,
    /// Bytes of its largest step's activations. An estimate.
    pub activation_bytes: u64,
}

/// What all parts take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The parts asked for.
    pub parts: Vec<PartPlan>,
    /// Bytes that the runtime takes beside the model.
    pub runtime_bytes: u64,
}

impl MemoryPlan {
    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.weight_bytes).sum()
    }

    /// Bytes at the peak of a process that holds these parts on one device: weights and caches of all, activations of
    /// the part that needs most, since a device runs one step at a time.
    pub fn peak_bytes(&self) -> u64 {
        let caches: u64 = self.parts.iter().map(|part| part.cache_bytes).sum();
        let activations = self.parts.iter().map(|part| part.activation_bytes).max().unwrap_or(0);
        self.runtime_bytes + self.weight_bytes() + caches + activations
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(f, "{:<14}{:>14}{:>12}{:>12}{:>16}", "part", "parameters", "weights", "caches", "activations")?;
        for part in &self.parts {
            writeln!(
                f,
                "{:<14}{:>14}{:>8.0} MiB{:>8.0} MiB{:>12.0} MiB",
                part.part.label(),
                part.n_parameters,
                mib(part.weight_bytes),
                mib(part.cache_bytes),
                mib(part.activation_bytes)
            )?;
        }
        write!(
            f,
            "peak {:.0} MiB, of which the runtime takes {:.0} MiB",
            mib(self.peak_bytes()),
            mib(self.runtime_bytes)
        )
    }
}

/// The memory that `parts` of a model of sizes `config` take.
pub fn plan(config: &ModelConfig, parts: &[Part], request: &PlanFor) -> MemoryPlan {
    let parts = Part::ALL.into_iter().filter(|part| parts.contains(part));
    MemoryPlan {
        parts: parts.map(|part| plan_part(config, part, request)).collect(),
        runtime_bytes: match request.target {
            Target::Cpu => 64 << 20,
            Target::Cuda => 600 << 20,
        },
    }
}

fn plan_part(config: &ModelConfig, part: Part, request: &PlanFor) -> PartPlan {
    let size = request.precision.n_bytes();
    let mut plan = PartPlan { part, n_parameters: 0, weight_bytes: 0, cache_bytes: 0, activation_bytes: 0 };
    for spec in manifest::tensors(config, &[part]) {
        let n = spec.n_values() as u64;
        plan.n_parameters += n;
        let quantized = quantized_bytes(&spec.shape, request.target).filter(|_| request.linear == LinearStorage::Q8_0);
        // Rows of the embedding table are looked up, so it stays, in two bytes a value; where it is the output matrix too,
        // that is quantized.
        let is_table = spec.name == "llm.model.embed_tokens.weight";
        plan.weight_bytes += match quantized {
            Some(output) if is_table && config.llm.tie_word_embeddings => 2 * n + output,
            Some(_) if is_table => 2 * n,
            Some(bytes) if spec.is_linear() => bytes,
            _ => n * size,
        };
    }
    let stride = config.vae.stride();
    let places = (request.width / stride) * (request.height / stride);
    let sequence = places + config.mar.buffer_size;
    let values = match part {
        // One band of the largest level, its input, output and skip connection.
        Part::Vae => 4 * widest_level(&config.vae, request.width * request.height),
        Part::Mar => mar_values(config, places, sequence),
        Part::Projectors => 2 * sequence * (2 * config.llm.hidden_size + config.mar.embed_dim),
        Part::Llm => {
            plan.cache_bytes = cache_positions(config, sequence) as u64 * cache_values(config) as u64 * size;
            2 * sequence * (8 * config.llm.hidden_size + 3 * config.llm.intermediate_size)
        }
        Part::Siglip => {
            config.siglip.n_tokens() * (8 * config.siglip.hidden_size + 2 * config.siglip.intermediate_size)
        }
        Part::SiglipProjector => config.siglip.n_tokens() * 3 * config.llm.hidden_size,
    };
    plan.activation_bytes = values as u64 * size;
    plan
}

/// Bytes of a quantized matrix `[n_out, n_in]`; none for those that stay dense. The widths are those of the layers' code.
fn quantized_bytes(shape: &[usize], target: Target) -> Option<u64> {
    let [n_out, n_in] = *shape else { return None };
    let width = if n_in > 256 { n_in.next_multiple_of(256) } else { n_in };
    if !width.is_multiple_of(32) {
        return None;
    }
    let is_packed = target == Target::Cpu && width.is_multiple_of(256) && n_out.is_multiple_of(16);
    Some((n_out * width / 32 * 34) as u64 * if is_packed { 2 } else { 1 })
}

/// Values of one activation of the autoencoder's largest level.
fn widest_level(config: &VaeConfig, pixels: usize) -> usize {
    let level = |(i, mult): (usize, &usize)| (config.ch * mult * pixels) >> (2 * i);
    config.ch_mult.iter().enumerate().map(level).max().unwrap_or(0)
}

/// The larger of a transformer block over both branches and the head's modulations of one iteration's rows.
fn mar_values(config: &ModelConfig, places: usize, sequence: usize) -> usize {
    let mar = &config.mar;
    let block = 2 * sequence * mar.embed_dim * (8 + 2 * mar.mlp_ratio);
    // The cosine schedule reveals π/2 times as many places in its fastest iteration as on average.
    let rows = 2 * (places * 11).div_ceil(7 * ITERATIONS);
    let head = rows * mar.diffloss_w * (3 * mar.diffloss_d + 8);
    block.max(head)
}

/// Keys and values of one position.
fn cache_values(config: &ModelConfig) -> usize {
    2 * config.llm.num_hidden_layers * config.llm.num_key_value_heads * config.llm.head_dim()
}

/// Positions of an edit (source image shared by the branches, text and probe of each) or of an answer about an image.
fn cache_positions(config: &ModelConfig, sequence: usize) -> usize {
    let edit = sequence + 2 * (PROMPT_TOKENS + sequence);
    let answer = config.siglip.n_tokens().max(sequence) + PROMPT_TOKENS + ANSWER_TOKENS;
    edit.max(answer)
}
