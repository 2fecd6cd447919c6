//! The sizes of a checkpoint: read from its own `config.json`, or put together from what a released folder says.
//!
//! A released folder has no configuration of its own. The language model and the vision tower have theirs; the sizes
//! of the autoencoder and of MAR are in the tensors' shapes. What no shape tells (head counts, the scale of latents,
//! sampling steps) comes from the published model, and only for widths where that is known.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::config::{LlmConfig, MarConfig, ModelConfig, SiglipConfig, VaeConfig};
use crate::error::WeightsError;
use crate::layout::Located;
use crate::source::Source;

/// Longest configuration file accepted, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// The validated sizes of the checkpoint.
///
/// # Errors
/// When a file is unreadable, lacks a key, or has impossible sizes.
pub(crate) fn resolve(located: &Located, source: &Source) -> Result<ModelConfig, WeightsError> {
    let own = located.root.join("config.json");
    let (path, config) = match read_json(&own) {
        Ok(value) if value.get("mar").is_some() || located.llm_folder.is_none() => (own.clone(), parse(&own, value)?),
        Err(error) if own.is_file() || located.llm_folder.is_none() => return Err(error),
        _ => (located.root.clone(), released(located, source)?),
    };
    config.validate().map_err(|why| WeightsError::config(&path, why))?;
    Ok(config)
}

/// The validated sizes that the text of a checkpoint's own `config.json` says; `name` stands for its path in messages.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn of_text(name: &Path, text: &[u8]) -> Result<ModelConfig, WeightsError> {
    let config: ModelConfig = serde_json::from_slice(text).map_err(|e| WeightsError::config(name, e.to_string()))?;
    config.validate().map_err(|why| WeightsError::config(name, why))?;
    Ok(config)
}

fn read_json(path: &Path) -> Result<serde_json::Value, WeightsError> {
    let length = std::fs::metadata(path).map_err(|e| WeightsError::io(path, e))?.len();
    if length > MAX_CONFIG {
        return Err(WeightsError::config(path, format!("{length} bytes are too long for a configuration")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| WeightsError::io(path, e))?;
    serde_json::from_str(&text).map_err(|e| WeightsError::config(path, e.to_string()))
}

fn parse<T: DeserializeOwned>(path: &Path, value: serde_json::Value) -> Result<T, WeightsError> {
    serde_json::from_value(value).map_err(|e| WeightsError::config(path, e.to_string()))
}

fn released(located: &Located, source: &Source) -> Result<ModelConfig, WeightsError> {
    let missing = |what: &str| WeightsError::NotACheckpoint { path: located.root.clone(), why: what.into() };
    let llm_folder =
        located.llm_folder.as_ref().ok_or_else(|| missing("it has no folder Qwen2*/ with a config.json"))?;
    let siglip_folder =
        located.siglip_folder.as_ref().ok_or_else(|| missing("it has no folder siglip2*/ with a config.json"))?;
    let llm: LlmConfig = parse(&llm_folder.join("config.json"), read_json(&llm_folder.join("config.json"))?)?;
    let path = siglip_folder.join("config.json");
    let mut value = read_json(&path)?;
    // The folder of a whole SigLIP2 describes its text tower too and nests the vision tower's sizes.
    let vision = value.get_mut("vision_config").map(serde_json::Value::take);
    let siglip: SiglipConfig = parse(&path, vision.unwrap_or(value))?;
    let shapes = Shapes(source);
    let preset = ModelConfig::unipic_1_5b();
    let mar = shapes.mar(&preset.mar).ok_or_else(|| missing("its mar. tensors do not tell MAR's sizes"))?;
    let vae = shapes.vae(&preset.vae).unwrap_or_else(|| preset.vae.clone());
    let mut config = ModelConfig { name: preset.name.clone(), vae, mar, llm, siglip };
    if config != preset {
        config.name = "unipic".into();
    }
    Ok(config)
}

/// Sizes as tensors' shapes tell them.
struct Shapes<'a>(&'a Source);

impl Shapes<'_> {
    fn dim(&self, name: &str, axis: usize) -> Option<usize> {
        self.0.entries().get(name)?.shape.get(axis).copied()
    }

    /// How many of `{start}0{end}`, `{start}1{end}`, … there are.
    fn count(&self, start: &str, end: &str) -> usize {
        (0..).take_while(|i| self.0.entries().contains_key(&format!("{start}{i}{end}"))).count()
    }

    fn mar(&self, preset: &MarConfig) -> Option<MarConfig> {
        let embed_dim = self.dim("mar.z_proj.weight", 0)?;
        let places = self.dim("mar.diffusion_pos_embed_learned", 1)?;
        let base = places.isqrt();
        let inner = self.dim("mar.encoder_blocks.0.mlp.fc1.weight", 0)?;
        Some(MarConfig {
            embed_dim,
            depth: self.count("mar.encoder_blocks.", ".attn.qkv.weight"),
            num_heads: published_heads(embed_dim)?,
            mlp_ratio: inner.checked_div(embed_dim)?,
            img_size: base.checked_mul(preset.vae_stride)?,
            buffer_size: self.dim("mar.encoder_pos_embed_learned", 1)?.checked_sub(places)?,
            diffloss_d: self.count("mar.diffloss.net.res_blocks.", ".mlp.0.weight"),
            diffloss_w: self.dim("mar.diffloss.net.input_proj.weight", 0)?,
            ..preset.clone()
        })
    }

    fn vae(&self, preset: &VaeConfig) -> Option<VaeConfig> {
        let ch = self.dim("vae.encoder.conv_in.weight", 0)?;
        let level = |i: usize| self.dim(&format!("vae.encoder.down.{i}.block.0.conv1.weight"), 0)?.checked_div(ch);
        let z_channels = self.dim("vae.post_quant_conv.weight", 0)?;
        Some(VaeConfig {
            ch,
            ch_mult: (0..).map_while(level).collect(),
            num_res_blocks: self.count("vae.encoder.down.0.block.", ".conv1.weight"),
            z_channels,
            embed_dim: z_channels,
            ..preset.clone()
        })
    }
}

/// Attention heads of the published MAR models by width (base, large, huge).
fn published_heads(embed_dim: usize) -> Option<usize> {
    match embed_dim {
        768 => Some(12),
        1024 | 1280 => Some(16),
        _ => None,
    }
}
