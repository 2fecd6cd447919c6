//! Names of the masked autoregressive encoder and decoder, the diffusion head and the projectors around the language
//! model (model page, sections 1, 3, 5 and 6).

use super::List;
use crate::config::MarConfig;

/// Width of the sinusoidal timestep embedding.
const TIME_WIDTH: usize = 256;

pub(super) fn list(list: &mut List, config: &MarConfig, channels: usize) {
    let width = config.embed_dim;
    let places = config.base_grid().pow(2);
    let token = channels * config.patch_size.pow(2);
    list.tensor("mar.fake_latent", &[1, width]);
    list.tensor("mar.mask_token", &[1, 1, width]);
    list.tensor("mar.encoder_pos_embed_learned", &[1, config.buffer_size + places, width]);
    list.tensor("mar.decoder_pos_embed_learned", &[1, config.buffer_size + places, width]);
    list.tensor("mar.diffusion_pos_embed_learned", &[1, places, width]);
    list.linear("mar.z_proj", token, width);
    list.norm("mar.z_proj_ln", width);
    list.linear("mar.decoder_embed", width, width);
    for side in ["encoder", "decoder"] {
        for block in 0..config.depth {
            transformer_block(list, &format!("mar.{side}_blocks.{block}"), width, width * config.mlp_ratio);
        }
        list.norm(&format!("mar.{side}_norm"), width);
    }
    head(list, config, token);
}

fn transformer_block(list: &mut List, name: &str, width: usize, inner: usize) {
    list.norm(&format!("{name}.norm1"), width);
    list.linear(&format!("{name}.attn.qkv"), width, 3 * width);
    list.linear(&format!("{name}.attn.proj"), width, width);
    list.norm(&format!("{name}.norm2"), width);
    list.linear(&format!("{name}.mlp.fc1"), width, inner);
    list.linear(&format!("{name}.mlp.fc2"), inner, width);
}

fn head(list: &mut List, config: &MarConfig, token: usize) {
    let width = config.diffloss_w;
    let net = "mar.diffloss.net";
    list.linear(&format!("{net}.input_proj"), token, width);
    list.projector(&format!("{net}.time_embed.mlp"), TIME_WIDTH, width, width);
    list.linear(&format!("{net}.cond_embed"), config.embed_dim, width);
    for block in 0..config.diffloss_d {
        let name = format!("{net}.res_blocks.{block}");
        list.norm(&format!("{name}.in_ln"), width);
        list.projector(&format!("{name}.mlp"), width, width, width);
        list.linear(&format!("{name}.adaLN_modulation.1"), width, 3 * width);
    }
    list.linear(&format!("{net}.final_layer.adaLN_modulation.1"), width, 2 * width);
    list.linear(&format!("{net}.final_layer.linear"), width, 2 * token);
}

pub(super) fn list_projectors(list: &mut List, mar: usize, llm: usize) {
    list.projector("proj_in", mar, llm, llm);
    list.projector("proj_out", llm, llm, mar);
}
