//! Sizes of every part of the model, as a checkpoint's own configuration files say them.

use serde::{Deserialize, Serialize};

/// Sizes of the whole model (model page, section 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// What the model calls itself, such as `unipic-1.5b`.
    #[serde(default = "default_name")]
    pub name: String,
    /// The autoencoder.
    pub vae: VaeConfig,
    /// The masked autoregressive encoder and decoder with their diffusion head.
    pub mar: MarConfig,
    /// The language model, in the field names of its own configuration file.
    pub llm: LlmConfig,
    /// The understanding encoder, in the field names of its own configuration file.
    pub siglip: SiglipConfig,
}

fn default_name() -> String {
    "unipic".into()
}

/// Sizes of the KL autoencoder (model page, section 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VaeConfig {
    /// Channels of the first level.
    pub ch: usize,
    /// Channels of every level, as multiples of `ch`.
    pub ch_mult: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Latent channels.
    pub z_channels: usize,
    /// Channels of the posterior mean; equal to `z_channels`.
    pub embed_dim: usize,
    /// Factor from the posterior mean to the latent.
    pub scale: f64,
    /// Groups of every GroupNorm: 32 as published, and where the checkpoint does not say. Narrower levels need fewer: a
    /// group of one channel takes the channel's mean away, and with it the colours.
    #[serde(default = "published_groups")]
    pub norm_groups: usize,
}

impl VaeConfig {
    /// Pixels per latent place and side.
    pub fn stride(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }
}

/// Sizes of MAR and the diffusion head (model page, sections 3 to 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarConfig {
    /// Width D.
    pub embed_dim: usize,
    /// Blocks of the encoder, and of the decoder.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Width of the MLPs, as a multiple of D.
    pub mlp_ratio: usize,
    /// Side of the image that the base grid stands for, in pixels.
    pub img_size: usize,
    /// Pixels per latent place and side.
    pub vae_stride: usize,
    /// Latent places per token and side; 1.
    #[serde(default = "one")]
    pub patch_size: usize,
    /// Buffer tokens K.
    pub buffer_size: usize,
    /// Residual blocks of the diffusion head.
    pub diffloss_d: usize,
    /// Width of the diffusion head.
    pub diffloss_w: usize,
    /// Default number of sampling steps of the head; a number or its decimal text.
    #[serde(deserialize_with = "number_or_text")]
    pub num_sampling_steps: usize,
    /// ε of every LayerNorm.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
}

impl MarConfig {
    /// Side of the base grid, in latent places.
    pub fn base_grid(&self) -> usize {
        self.img_size / self.vae_stride
    }
}

/// Sizes of the language model (model page, section 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmConfig {
    /// Size of the vocabulary, padding rows included.
    pub vocab_size: usize,
    /// Context length.
    pub max_position_embeddings: usize,
    /// Width H.
    pub hidden_size: usize,
    /// Width of the MLPs.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key-value heads.
    pub num_key_value_heads: usize,
    /// ε of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the embedding table is the output matrix too.
    pub tie_word_embeddings: bool,
}

impl LlmConfig {
    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// Sizes of the SigLIP2 vision tower (model page, section 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiglipConfig {
    /// Width.
    pub hidden_size: usize,
    /// Width of the MLPs.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Colour channels.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Pixels per patch and side.
    pub patch_size: usize,
    /// ε of every LayerNorm.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
}

impl SiglipConfig {
    /// Embeddings per image.
    pub fn n_tokens(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }
}

fn published_groups() -> usize {
    32
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

fn default_eps() -> f64 {
    1e-6
}

fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(usize),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(n) => Ok(n),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl ModelConfig {
    /// The published sizes (model page, section 1).
    pub fn unipic_1_5b() -> Self {
        Self {
            name: "unipic-1.5b".into(),
            vae: VaeConfig {
                ch: 128,
                ch_mult: vec![1, 1, 2, 2, 4],
                num_res_blocks: 2,
                z_channels: 16,
                embed_dim: 16,
                scale: 0.2325,
                norm_groups: published_groups(),
            },
            mar: MarConfig {
                embed_dim: 1280,
                depth: 20,
                num_heads: 16,
                mlp_ratio: 4,
                img_size: 512,
                vae_stride: 16,
                patch_size: 1,
                buffer_size: 64,
                diffloss_d: 12,
                diffloss_w: 1536,
                num_sampling_steps: 100,
                layer_norm_eps: 1e-6,
            },
            llm: LlmConfig {
                vocab_size: 151_936,
                max_position_embeddings: 32_768,
                hidden_size: 1536,
                intermediate_size: 8960,
                num_hidden_layers: 28,
                num_attention_heads: 12,
                num_key_value_heads: 2,
                rms_norm_eps: 1e-6,
                rope_theta: 1e6,
                tie_word_embeddings: true,
            },
            siglip: SiglipConfig {
                hidden_size: 1152,
                intermediate_size: 4304,
                num_hidden_layers: 27,
                num_attention_heads: 16,
                num_channels: 3,
                image_size: 512,
                patch_size: 16,
                layer_norm_eps: 1e-6,
            },
        }
    }

    /// Sizes small enough for a test or a demonstration on any machine; the parts keep their true proportions of kind
    /// (grouped key-value heads, widening levels, buffers), not of size.
    pub fn tiny() -> Self {
        let mut config = Self::unipic_1_5b();
        config.name = "tiny".into();
        config.vae.ch = 32;
        config.vae.ch_mult = vec![1, 1, 1, 1, 2];
        config.mar = MarConfig {
            embed_dim: 48,
            depth: 2,
            num_heads: 4,
            img_size: 64,
            buffer_size: 4,
            diffloss_d: 2,
            diffloss_w: 64,
            num_sampling_steps: 20,
            ..config.mar
        };
        config.llm = LlmConfig {
            vocab_size: 512,
            max_position_embeddings: 4096,
            hidden_size: 64,
            intermediate_size: 160,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            ..config.llm
        };
        config.siglip = SiglipConfig {
            hidden_size: 48,
            intermediate_size: 112,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            image_size: 64,
            ..config.siglip
        };
        config
    }

    /// The sizes known by name: `unipic-1.5b` and `tiny`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "unipic-1.5b" => Some(Self::unipic_1_5b()),
            "tiny" => Some(Self::tiny()),
            _ => None,
        }
    }
}
