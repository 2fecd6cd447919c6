"""Writes tests/unipic-1.5b.tensors: names and shapes of the published checkpoint, at its published sizes.

Written apart from the Rust manifest, from the module structure of the published code: one line per tensor, sorted.
Run from this folder: python3 unipic-1.5b.py > unipic-1.5b.tensors
"""

out = {}


def put(name, *shape):
    out[name] = list(shape)


def linear(name, n_in, n_out, bias=True):
    put(name + ".weight", n_out, n_in)
    if bias:
        put(name + ".bias", n_out)


def norm(name, width):
    put(name + ".weight", width)
    put(name + ".bias", width)


def conv(name, n_in, n_out, k):
    put(name + ".weight", n_out, n_in, k, k)
    put(name + ".bias", n_out)


def resnet(name, n_in, n_out):
    norm(name + ".norm1", n_in)
    conv(name + ".conv1", n_in, n_out, 3)
    norm(name + ".norm2", n_out)
    conv(name + ".conv2", n_out, n_out, 3)
    if n_in != n_out:
        conv(name + ".nin_shortcut", n_in, n_out, 1)


def attn(name, c):
    norm(name + ".norm", c)
    for p in ("q", "k", "v", "proj_out"):
        conv(name + "." + p, c, c, 1)


# KL-16: channels of the encoder's levels, in and out, and of the decoder's, as the published file has them.
conv("vae.encoder.conv_in", 3, 128, 3)
for i, (a, b) in enumerate([(128, 128), (128, 128), (128, 256), (256, 256), (256, 512)]):
    resnet(f"vae.encoder.down.{i}.block.0", a, b)
    resnet(f"vae.encoder.down.{i}.block.1", b, b)
    if i < 4:
        conv(f"vae.encoder.down.{i}.downsample.conv", b, b, 3)
attn("vae.encoder.down.4.attn.0", 512)
attn("vae.encoder.down.4.attn.1", 512)
conv("vae.decoder.conv_in", 16, 512, 3)
for side in ("encoder", "decoder"):
    resnet(f"vae.{side}.mid.block_1", 512, 512)
    attn(f"vae.{side}.mid.attn_1", 512)
    resnet(f"vae.{side}.mid.block_2", 512, 512)
for i, (a, b) in enumerate([(128, 128), (256, 128), (256, 256), (512, 256), (512, 512)]):
    resnet(f"vae.decoder.up.{i}.block.0", a, b)
    resnet(f"vae.decoder.up.{i}.block.1", b, b)
    resnet(f"vae.decoder.up.{i}.block.2", b, b)
    if i > 0:
        conv(f"vae.decoder.up.{i}.upsample.conv", b, b, 3)
norm("vae.encoder.norm_out", 512)
conv("vae.encoder.conv_out", 512, 32, 3)
norm("vae.decoder.norm_out", 128)
conv("vae.decoder.conv_out", 128, 3, 3)
conv("vae.quant_conv", 32, 32, 1)
conv("vae.post_quant_conv", 16, 16, 1)

# MAR-huge at 512 px: a base grid of 32 x 32 and 64 buffers.
put("mar.fake_latent", 1, 1280)
put("mar.mask_token", 1, 1, 1280)
put("mar.encoder_pos_embed_learned", 1, 1088, 1280)
put("mar.decoder_pos_embed_learned", 1, 1088, 1280)
put("mar.diffusion_pos_embed_learned", 1, 1024, 1280)
linear("mar.z_proj", 16, 1280)
norm("mar.z_proj_ln", 1280)
linear("mar.decoder_embed", 1280, 1280)
for side in ("encoder", "decoder"):
    norm(f"mar.{side}_norm", 1280)
    for i in range(20):
        b = f"mar.{side}_blocks.{i}"
        norm(b + ".norm1", 1280)
        norm(b + ".norm2", 1280)
        linear(b + ".attn.qkv", 1280, 3840)
        linear(b + ".attn.proj", 1280, 1280)
        linear(b + ".mlp.fc1", 1280, 5120)
        linear(b + ".mlp.fc2", 5120, 1280)
net = "mar.diffloss.net"
linear(net + ".input_proj", 16, 1536)
linear(net + ".cond_embed", 1280, 1536)
linear(net + ".time_embed.mlp.0", 256, 1536)
linear(net + ".time_embed.mlp.2", 1536, 1536)
for i in range(12):
    b = f"{net}.res_blocks.{i}"
    norm(b + ".in_ln", 1536)
    linear(b + ".mlp.0", 1536, 1536)
    linear(b + ".mlp.2", 1536, 1536)
    linear(b + ".adaLN_modulation.1", 1536, 4608)
linear(net + ".final_layer.adaLN_modulation.1", 1536, 3072)
linear(net + ".final_layer.linear", 1536, 32)

for name, a, b, c in [("proj_in", 1280, 1536, 1536), ("proj_out", 1536, 1536, 1280), ("siglip2_proj", 1152, 1536, 1536)]:
    linear(name + ".0", a, b)
    linear(name + ".2", b, c)

# Qwen2.5-1.5B-Instruct.
put("llm.model.embed_tokens.weight", 151936, 1536)
put("llm.model.norm.weight", 1536)
for i in range(28):
    b = f"llm.model.layers.{i}"
    put(b + ".input_layernorm.weight", 1536)
    put(b + ".post_attention_layernorm.weight", 1536)
    linear(b + ".self_attn.q_proj", 1536, 1536)
    linear(b + ".self_attn.k_proj", 1536, 256)
    linear(b + ".self_attn.v_proj", 1536, 256)
    linear(b + ".self_attn.o_proj", 1536, 1536, bias=False)
    linear(b + ".mlp.gate_proj", 1536, 8960, bias=False)
    linear(b + ".mlp.up_proj", 1536, 8960, bias=False)
    linear(b + ".mlp.down_proj", 8960, 1536, bias=False)

# SigLIP2 so400m, patch 16, 512 px, with its pooling head.
v = "siglip2.vision_model"
conv(v + ".embeddings.patch_embedding", 3, 1152, 16)
put(v + ".embeddings.position_embedding.weight", 1024, 1152)
norm(v + ".post_layernorm", 1152)
for i in range(27):
    b = f"{v}.encoder.layers.{i}"
    norm(b + ".layer_norm1", 1152)
    norm(b + ".layer_norm2", 1152)
    for p in ("q_proj", "k_proj", "v_proj", "out_proj"):
        linear(f"{b}.self_attn.{p}", 1152, 1152)
    linear(b + ".mlp.fc1", 1152, 4304)
    linear(b + ".mlp.fc2", 4304, 1152)
put(v + ".head.probe", 1, 1, 1152)
put(v + ".head.attention.in_proj_weight", 3456, 1152)
put(v + ".head.attention.in_proj_bias", 3456)
linear(v + ".head.attention.out_proj", 1152, 1152)
norm(v + ".head.layernorm", 1152)
linear(v + ".head.mlp.fc1", 1152, 4304)
linear(v + ".head.mlp.fc2", 4304, 1152)

for name in sorted(out):
    print(name, ",".join(map(str, out[name])))
