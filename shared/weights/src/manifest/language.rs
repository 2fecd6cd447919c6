//! Names of the language model (model page, section 1).

use super::List;
use crate::config::LlmConfig;

pub(super) fn list(list: &mut List, config: &LlmConfig) {
    let width = config.hidden_size;
    let kv = config.num_key_value_heads * config.head_dim();
    list.tensor("llm.model.embed_tokens.weight", &[config.vocab_size, width]);
    for layer in 0..config.num_hidden_layers {
        let name = format!("llm.model.layers.{layer}");
        list.tensor(format!("{name}.input_layernorm.weight"), &[width]);
        list.linear(&format!("{name}.self_attn.q_proj"), width, width);
        list.linear(&format!("{name}.self_attn.k_proj"), width, kv);
        list.linear(&format!("{name}.self_attn.v_proj"), width, kv);
        list.tensor(format!("{name}.self_attn.o_proj.weight"), &[width, width]);
        list.tensor(format!("{name}.post_attention_layernorm.weight"), &[width]);
        list.tensor(format!("{name}.mlp.gate_proj.weight"), &[config.intermediate_size, width]);
        list.tensor(format!("{name}.mlp.up_proj.weight"), &[config.intermediate_size, width]);
        list.tensor(format!("{name}.mlp.down_proj.weight"), &[width, config.intermediate_size]);
    }
    list.tensor("llm.model.norm.weight", &[width]);
    if !config.tie_word_embeddings {
        list.tensor("llm.lm_head.weight", &[config.vocab_size, width]);
    }
}
