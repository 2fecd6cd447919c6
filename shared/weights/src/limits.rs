//! Which sizes a configuration may have.
//!
//! A configuration file is input: sizes within these limits cannot overflow any product that the manifest or a memory
//! plan forms, and they fit the model's structure. All violations are reported at once, by key.

use crate::config::{LlmConfig, MarConfig, ModelConfig, SiglipConfig, VaeConfig};

/// Largest width or length.
const MAX_WIDTH: usize = 1 << 17;
/// Largest number of layers or blocks.
const MAX_DEPTH: usize = 512;
/// Largest vocabulary or context.
const MAX_TABLE: usize = 1 << 24;
/// Largest side of an image, in pixels.
const MAX_SIDE: usize = 1 << 14;

impl ModelConfig {
    /// Checks that every size is possible and that the parts fit each other.
    ///
    /// # Errors
    /// With all violations, each led by its key.
    pub fn validate(&self) -> Result<(), String> {
        let mut check = Check::default();
        check_vae(&mut check, &self.vae);
        check_mar(&mut check, &self.mar);
        check_llm(&mut check, &self.llm);
        check_siglip(&mut check, &self.siglip);
        if check.violations.is_empty() && self.vae.stride() != self.mar.vae_stride {
            check.that("mar.vae_stride", false, "is not the stride of vae.ch_mult");
        }
        if check.violations.is_empty() { Ok(()) } else { Err(check.violations.join("; ")) }
    }
}

#[derive(Default)]
struct Check {
    violations: Vec<String>,
}

impl Check {
    fn that(&mut self, key: &str, holds: bool, why: &str) {
        if !holds {
            self.violations.push(format!("{key} {why}"));
        }
    }

    fn within(&mut self, key: &str, value: usize, max: usize) {
        if value == 0 || value > max {
            self.violations.push(format!("{key} is {value}, not from 1 to {max}"));
        }
    }

    fn divides(&mut self, key: &str, divisor: usize, value: usize) {
        if divisor == 0 || !value.is_multiple_of(divisor) {
            self.violations.push(format!("{key}: {value} is no multiple of {divisor}"));
        }
    }

    fn positive(&mut self, key: &str, value: f64) {
        self.that(key, value.is_finite() && value > 0.0, "is not a positive number");
    }
}

fn check_vae(check: &mut Check, config: &VaeConfig) {
    check.within("vae.ch", config.ch, 4096);
    check.divides("vae.norm_groups", config.norm_groups, config.ch);
    check.within("vae.ch_mult (levels)", config.ch_mult.len(), 8);
    for mult in &config.ch_mult {
        check.within("vae.ch_mult", *mult, 64);
    }
    check.within("vae.num_res_blocks", config.num_res_blocks, 16);
    check.within("vae.z_channels", config.z_channels, 256);
    check.that("vae.embed_dim", config.embed_dim == config.z_channels, "is not vae.z_channels");
    check.positive("vae.scale", config.scale);
}

fn check_mar(check: &mut Check, config: &MarConfig) {
    check.within("mar.embed_dim", config.embed_dim, MAX_WIDTH);
    check.within("mar.depth", config.depth, MAX_DEPTH);
    check.divides("mar.num_heads", config.num_heads, config.embed_dim);
    check.within("mar.mlp_ratio", config.mlp_ratio, 64);
    check.within("mar.img_size", config.img_size, MAX_SIDE);
    check.divides("mar.vae_stride", config.vae_stride, config.img_size);
    check.that("mar.patch_size", config.patch_size == 1, "is not 1");
    check.within("mar.buffer_size", config.buffer_size, 1 << 16);
    check.within("mar.diffloss_d", config.diffloss_d, MAX_DEPTH);
    check.within("mar.diffloss_w", config.diffloss_w, MAX_WIDTH);
    check.within("mar.num_sampling_steps", config.num_sampling_steps, 1000);
    check.positive("mar.layer_norm_eps", config.layer_norm_eps);
}

fn check_llm(check: &mut Check, config: &LlmConfig) {
    check.within("llm.vocab_size", config.vocab_size, MAX_TABLE);
    check.within("llm.max_position_embeddings", config.max_position_embeddings, MAX_TABLE);
    check.within("llm.hidden_size", config.hidden_size, MAX_WIDTH);
    check.within("llm.intermediate_size", config.intermediate_size, MAX_WIDTH);
    check.within("llm.num_hidden_layers", config.num_hidden_layers, MAX_DEPTH);
    check.divides("llm.num_attention_heads", config.num_attention_heads, config.hidden_size);
    check.divides("llm.num_key_value_heads", config.num_key_value_heads, config.num_attention_heads);
    if config.num_attention_heads > 0 {
        check.divides("llm.num_attention_heads (rotary pairs)", 2, config.head_dim());
    }
    check.positive("llm.rms_norm_eps", config.rms_norm_eps);
    check.positive("llm.rope_theta", config.rope_theta);
}

fn check_siglip(check: &mut Check, config: &SiglipConfig) {
    check.within("siglip.hidden_size", config.hidden_size, MAX_WIDTH);
    check.within("siglip.intermediate_size", config.intermediate_size, MAX_WIDTH);
    check.within("siglip.num_hidden_layers", config.num_hidden_layers, MAX_DEPTH);
    check.divides("siglip.num_attention_heads", config.num_attention_heads, config.hidden_size);
    check.that("siglip.num_channels", config.num_channels == 3, "is not 3");
    check.within("siglip.image_size", config.image_size, MAX_SIDE);
    check.divides("siglip.patch_size", config.patch_size, config.image_size);
    check.positive("siglip.layer_norm_eps", config.layer_norm_eps);
}
