//! One layer: grouped-query attention with rotary positions, then a gated MLP, both pre-norm.

use candle_core::{Result, Tensor};
use unipic_nn::activation::swiglu;
use unipic_nn::rope::Angles;
use unipic_nn::{AttentionSegment, Build, HeadLayout, Linear, Ops, RmsNorm, attend};
use unipic_weights::config::LlmConfig;

pub(super) struct Layer {
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    mlp_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    layout: HeadLayout,
    ops: Ops,
}

impl Layer {
    pub(super) fn load(build: &Build, config: &LlmConfig) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.rms_norm_eps);
        let (attention, mlp) = (build.pp("self_attn"), build.pp("mlp"));
        let kv_width = config.num_key_value_heads * config.head_dim();
        Ok(Self {
            input_norm: RmsNorm::load(&build.pp("input_layernorm"), width, eps)?,
            query: Linear::load(&attention.pp("q_proj"), width, width)?,
            key: Linear::load(&attention.pp("k_proj"), width, kv_width)?,
            value: Linear::load(&attention.pp("v_proj"), width, kv_width)?,
            attention_output: Linear::load_without_bias(&attention.pp("o_proj"), width, width)?,
            mlp_norm: RmsNorm::load(&build.pp("post_attention_layernorm"), width, eps)?,
            gate: Linear::load_without_bias(&mlp.pp("gate_proj"), width, inner)?,
            up: Linear::load_without_bias(&mlp.pp("up_proj"), width, inner)?,
            down: Linear::load_without_bias(&mlp.pp("down_proj"), inner, width)?,
            layout: HeadLayout {
                n_heads: config.num_attention_heads,
                n_kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim(),
            },
            ops: build.ops,
        })
    }

    /// Weights of a layer's products.
    pub(super) fn n_weights(config: &LlmConfig) -> usize {
        let kv_width = config.num_key_value_heads * config.head_dim();
        config.hidden_size * (2 * config.hidden_size + 2 * kv_width + 3 * config.intermediate_size)
    }

    /// x + attention(norm x), and the keys (rotated) and values of the rows.
    ///
    /// Shapes: `[T, H]` → `[T, H]`, `[T, n_kv_heads·head_dim]`, `[T, n_kv_heads·head_dim]`.
    pub(super) fn attention(
        &self,
        x: &Tensor,
        angles: &Angles,
        segments: &[AttentionSegment],
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let h = self.input_norm.forward(x)?;
        let q = angles.rotate(self.ops, &self.query.forward(&h)?)?;
        let k = angles.rotate(self.ops, &self.key.forward(&h)?)?;
        let v = self.value.forward(&h)?;
        let y = attend(self.ops, &q, &k, &v, segments, self.layout)?;
        Ok((self.attention_output.forward_onto(&y, x)?, k, v))
    }

    /// x + MLP(norm x).
    ///
    /// Shapes: `[T, H]` → `[T, H]`.
    pub(super) fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.mlp_norm.forward(x)?;
        let gated = swiglu(&self.gate.forward(&h)?, &self.up.forward(&h)?)?;
        self.down.forward_onto(&gated, x)
    }
}
