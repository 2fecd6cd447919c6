//! Names of the SigLIP2 vision tower and of its pooling head (model page, section 1).

use super::List;
use crate::config::SiglipConfig;

const ROOT: &str = "siglip2.vision_model";

pub(super) fn list(list: &mut List, config: &SiglipConfig) {
    let width = config.hidden_size;
    list.conv(&format!("{ROOT}.embeddings.patch_embedding"), config.num_channels, width, config.patch_size);
    list.tensor(format!("{ROOT}.embeddings.position_embedding.weight"), &[config.n_tokens(), width]);
    for layer in 0..config.num_hidden_layers {
        let name = format!("{ROOT}.encoder.layers.{layer}");
        list.norm(&format!("{name}.layer_norm1"), width);
        for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            list.linear(&format!("{name}.self_attn.{projection}"), width, width);
        }
        list.norm(&format!("{name}.layer_norm2"), width);
        list.linear(&format!("{name}.mlp.fc1"), width, config.intermediate_size);
        list.linear(&format!("{name}.mlp.fc2"), config.intermediate_size, width);
    }
    list.norm(&format!("{ROOT}.post_layernorm"), width);
}

pub(super) fn list_pooling_head(list: &mut List, config: &SiglipConfig) {
    let width = config.hidden_size;
    list.tensor(format!("{ROOT}.head.probe"), &[1, 1, width]);
    list.tensor(format!("{ROOT}.head.attention.in_proj_weight"), &[3 * width, width]);
    list.tensor(format!("{ROOT}.head.attention.in_proj_bias"), &[3 * width]);
    list.linear(&format!("{ROOT}.head.attention.out_proj"), width, width);
    list.norm(&format!("{ROOT}.head.layernorm"), width);
    list.linear(&format!("{ROOT}.head.mlp.fc1"), width, config.intermediate_size);
    list.linear(&format!("{ROOT}.head.mlp.fc2"), config.intermediate_size, width);
}
