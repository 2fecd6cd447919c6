//! Names of the autoencoder (model page, section 2).

use super::List;
use crate::config::VaeConfig;

pub(super) fn list(list: &mut List, config: &VaeConfig) {
    encoder(list, config);
    decoder(list, config);
    list.conv("vae.quant_conv", 2 * config.z_channels, 2 * config.embed_dim, 1);
    list.conv("vae.post_quant_conv", config.embed_dim, config.z_channels, 1);
}

/// Unlike the decoder, the published encoder has attention behind each residual block of its last level.
fn encoder(list: &mut List, config: &VaeConfig) {
    list.conv("vae.encoder.conv_in", 3, config.ch, 3);
    let mut width = config.ch;
    let last = config.ch_mult.len() - 1;
    for (level, mult) in config.ch_mult.iter().enumerate() {
        let name = format!("vae.encoder.down.{level}");
        for block in 0..config.num_res_blocks {
            residual_block(list, &format!("{name}.block.{block}"), width, config.ch * mult);
            width = config.ch * mult;
            if level == last {
                attention(list, &format!("{name}.attn.{block}"), width);
            }
        }
        if level != last {
            list.conv(&format!("{name}.downsample.conv"), width, width, 3);
        }
    }
    middle(list, "vae.encoder.mid", width);
    list.norm("vae.encoder.norm_out", width);
    list.conv("vae.encoder.conv_out", width, 2 * config.z_channels, 3);
}

fn decoder(list: &mut List, config: &VaeConfig) {
    let mut width = config.ch * config.ch_mult.last().copied().unwrap_or(1);
    list.conv("vae.decoder.conv_in", config.z_channels, width, 3);
    middle(list, "vae.decoder.mid", width);
    for (level, mult) in config.ch_mult.iter().enumerate().rev() {
        let name = format!("vae.decoder.up.{level}");
        for block in 0..=config.num_res_blocks {
            residual_block(list, &format!("{name}.block.{block}"), width, config.ch * mult);
            width = config.ch * mult;
        }
        if level != 0 {
            list.conv(&format!("{name}.upsample.conv"), width, width, 3);
        }
    }
    list.norm("vae.decoder.norm_out", width);
    list.conv("vae.decoder.conv_out", width, 3, 3);
}

fn middle(list: &mut List, name: &str, width: usize) {
    residual_block(list, &format!("{name}.block_1"), width, width);
    attention(list, &format!("{name}.attn_1"), width);
    residual_block(list, &format!("{name}.block_2"), width, width);
}

fn residual_block(list: &mut List, name: &str, n_in: usize, n_out: usize) {
    list.norm(&format!("{name}.norm1"), n_in);
    list.conv(&format!("{name}.conv1"), n_in, n_out, 3);
    list.norm(&format!("{name}.norm2"), n_out);
    list.conv(&format!("{name}.conv2"), n_out, n_out, 3);
    if n_in != n_out {
        list.conv(&format!("{name}.nin_shortcut"), n_in, n_out, 1);
    }
}

fn attention(list: &mut List, name: &str, width: usize) {
    list.norm(&format!("{name}.norm"), width);
    for projection in ["q", "k", "v", "proj_out"] {
        list.conv(&format!("{name}.{projection}"), width, width, 1);
    }
}
