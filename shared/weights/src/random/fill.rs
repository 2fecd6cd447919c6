//! What values a random tensor takes.

use crate::StoredDtype;
use crate::config::ModelConfig;
use crate::dtype::Collected;
use crate::manifest::TensorSpec;

/// Values generated and written at a time, per thread.
const PIECE: usize = 1 << 20;
/// Standard deviation of tables that are added to or looked up as activations.
const TABLE_STD: f32 = 0.02;
/// Size of the diffusion head's modulation: small, so that its residual blocks hardly move what passes through them.
const MODULATION: f32 = 0.02;
/// Size of the constant pattern that carries the head's input through a LayerNorm nearly linearly.
const CARRIER: f32 = 8.0;

/// A rule for the values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    Constant(f32),
    Normal {
        std: f32,
    },
    /// `[W, C]`: width j carries channel j mod C, with alternating sign.
    HeadInput {
        layout: HeadLayout,
    },
    /// `[W]`: the carrier, orthogonal to every channel's signs.
    HeadInputBias {
        layout: HeadLayout,
    },
    /// `[2C, W]`: the inverse of the input for the first C rows, zero for the others.
    HeadOutput {
        layout: HeadLayout,
    },
}

/// How the head's width is shared by its channels: `groups` (a multiple of 4) widths per channel, the rest unused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HeadLayout {
    width: usize,
    channels: usize,
    groups: usize,
}

impl HeadLayout {
    /// Channel and sign of width `j`.
    fn channel(self, j: usize) -> Option<(usize, f32)> {
        let group = j / self.channels;
        (group < self.groups).then(|| (j % self.channels, if group.is_multiple_of(2) { 1.0 } else { -1.0 }))
    }

    fn carrier(self, j: usize) -> f32 {
        match (j / self.channels, j / self.channels % 4) {
            (group, _) if group >= self.groups => 0.0,
            (_, 0 | 1) => CARRIER,
            _ => -CARRIER,
        }
    }

    /// What undoes the input layer and the LayerNorm behind it, for inputs of unit size.
    fn inverse(self) -> f32 {
        let used = (self.groups * self.channels) as f32 / self.width as f32;
        (used * (CARRIER * CARRIER + 1.0)).sqrt() / self.groups as f32
    }
}

impl Fill {
    /// The rule for one of the model's tensors.
    pub(super) fn of(spec: &TensorSpec, config: &ModelConfig) -> Self {
        let (width, channels) = (config.mar.diffloss_w, config.vae.z_channels);
        let layout = HeadLayout { width, channels, groups: width / channels / 4 * 4 };
        let fan_in: usize = spec.shape.iter().skip(1).product();
        match spec.name.strip_prefix("mar.diffloss.net.") {
            Some("input_proj.weight") => return Self::HeadInput { layout },
            Some("input_proj.bias") => return Self::HeadInputBias { layout },
            Some("final_layer.linear.weight") if layout.groups > 0 => return Self::HeadOutput { layout },
            Some("final_layer.linear.weight") => return Self::Constant(0.0),
            Some(name) if name.ends_with("adaLN_modulation.1.weight") => {
                return Self::Normal { std: MODULATION / (fan_in as f32).sqrt() };
            }
            _ => {}
        }
        let is_table = spec.name.contains("embed_tokens") || spec.name.contains("position_embedding");
        match (spec.shape.len(), spec.name.ends_with(".weight")) {
            (1, true) => Self::Constant(1.0),
            (1, false) => Self::Constant(0.0),
            (_, true) if !is_table => Self::Normal { std: 1.0 / (fan_in as f32).sqrt() },
            _ => Self::Normal { std: TABLE_STD },
        }
    }

    /// Generates the tensor's values, on all processors, and hands them on in order.
    pub(super) fn write(
        self,
        spec: &TensorSpec,
        dtype: StoredDtype,
        seed: u64,
        write: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let key = mix(seed ^ name_hash(&spec.name));
        let row = spec.shape.last().copied().unwrap_or(1);
        let n_values = spec.n_values();
        let starts: Vec<usize> = (0..n_values).step_by(PIECE).collect();
        for batch in starts.chunks(n_threads) {
            let pieces: Vec<std::io::Result<Vec<u8>>> = std::thread::scope(|scope| {
                let piece = |start: usize| self.piece(key, row, start..n_values.min(start + PIECE), dtype);
                let threads: Vec<_> = batch.iter().map(|start| scope.spawn(move || piece(*start))).collect();
                let stopped = || Err(std::io::Error::other("a generating thread stopped"));
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| stopped())).collect()
            });
            for piece in pieces {
                write(&piece?)?;
            }
        }
        Ok(())
    }

    fn piece(
        self,
        key: u64,
        row: usize,
        range: std::ops::Range<usize>,
        dtype: StoredDtype,
    ) -> std::io::Result<Vec<u8>> {
        let bytes: Vec<u8> = range.flat_map(|i| self.value(key, row, i).to_le_bytes()).collect();
        if dtype == StoredDtype::F32 {
            return Ok(bytes);
        }
        Collected::converted(StoredDtype::F32, &bytes, dtype)
    }

    fn value(self, key: u64, row: usize, i: usize) -> f32 {
        match self {
            Self::Constant(value) => value,
            Self::Normal { std } => std * nearly_normal(mix(key.wrapping_add(i as u64))),
            Self::HeadInput { layout } => match layout.channel(i / row) {
                Some((channel, sign)) if channel == i % row => sign,
                _ => 0.0,
            },
            Self::HeadInputBias { layout } => layout.carrier(i),
            Self::HeadOutput { layout } => match layout.channel(i % row) {
                Some((channel, sign)) if channel == i / row => sign * layout.inverse(),
                _ => 0.0,
            },
        }
    }
}

/// The sum of four uniform values, scaled to unit variance: near enough to a Gaussian for weights, and one
/// multiplication instead of a logarithm and a cosine.
fn nearly_normal(bits: u64) -> f32 {
    const MEAN: f32 = 2.0 * 65_535.0;
    // sqrt(4/12) · 65536
    const STD: f32 = 37_837.2;
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    (sum as f32 - MEAN) / STD
}

/// The finalizer of splitmix64: every input bit moves every output bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
