//! Weights to begin with.
//!
//! Matrices begin with a spread that keeps the size of what passes through them; those that write onto a residual stream
//! with less, so that a deep stack begins as the identity, nearly; the diffusion head's modulation and output at zero, as
//! published, so that its first prediction is no prediction.

use unipic_weights::config::ModelConfig;
use unipic_weights::manifest::TensorSpec;
use unipic_world::Draws;

/// The log-variance that the autoencoder's posterior begins with.
const NARROW: f32 = -5.0;

/// Values of a tensor.
pub(super) fn values(spec: &TensorSpec, config: &ModelConfig, seed: u64) -> Vec<f32> {
    let n = spec.n_values();
    if spec.name == "vae.quant_conv.bias" {
        // A narrow posterior: at deviation 1 the decoder would see nothing but noise.
        return (0..n).map(|i| if i < n / 2 { 0.0 } else { NARROW }).collect();
    }
    match deviation(spec, config) {
        Begin::All(value) => vec![value; n],
        Begin::Normal(deviation) => normals(seed, &spec.name, n).map(|x| x * deviation).collect(),
    }
}

enum Begin {
    All(f32),
    Normal(f32),
}

fn deviation(spec: &TensorSpec, config: &ModelConfig) -> Begin {
    let name = spec.name.as_str();
    let fan_in: usize = spec.shape.iter().skip(1).product();
    let has = |part: &str| name.contains(part);
    if has("adaLN_modulation") || has("final_layer.linear") {
        return Begin::All(0.0);
    }
    // Tables of tokens and positions begin at the size of what they are added to, since matrices begin at 1/√width and not at
    // the 0.02 of wide models. Tables of 0.02 drowned: for a thousand steps no word was read, and known places had no place.
    if has("embed_tokens") {
        return Begin::Normal(0.2);
    }
    if has("coder_pos_embed") || has("position_embedding") {
        return Begin::Normal(0.5);
    }
    if has("diffusion_pos_embed") || has("_token") || has("fake_latent") {
        return Begin::Normal(0.02);
    }
    if spec.shape.len() == 1 {
        return Begin::All(if name.ends_with(".weight") { 1.0 } else { 0.0 });
    }
    let plain = (fan_in as f32).powf(-0.5);
    let onto = |n_layers: usize| plain * (2.0 * n_layers as f32).powf(-0.5);
    let writes = ["attn.proj.", "mlp.fc2.", "o_proj.", "down_proj.", "out_proj."].iter().any(|part| has(part));
    Begin::Normal(match name.split('.').next() {
        Some("vae") if has("conv2.") || has("attn_1.proj_out") || has("attn.0.proj_out") => plain * 0.2,
        Some("llm") if writes => onto(config.llm.num_hidden_layers),
        Some("siglip2") if writes => onto(config.siglip.num_hidden_layers),
        Some("mar") if writes => onto(config.mar.depth),
        _ => plain,
    })
}

/// Standard normal values that depend on the seed, the name and the place.
fn normals(seed: u64, name: &str, n: usize) -> impl Iterator<Item = f32> {
    let stream = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut draws = Draws::new(seed, stream, 0);
    (0..n).map(move |_| crate::draws::normal(&mut draws))
}
