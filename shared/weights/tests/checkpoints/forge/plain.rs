//! Bad safetensors files and bad configurations.

use serde_json::{Value, json};

use super::{Case, Files, Sound, Tensors};

/// A safetensors file of `tensors`.
pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let (header, data) = parts(tensors);
    assemble(header.to_string().as_bytes(), &data)
}

fn parts(tensors: &Tensors) -> (Value, Vec<u8>) {
    let mut data = Vec::new();
    let mut header = serde_json::Map::new();
    for (name, raw) in tensors {
        let start = data.len();
        data.extend_from_slice(&raw.bytes);
        let info = json!({ "dtype": "F32", "shape": raw.shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), info);
    }
    (Value::Object(header), data)
}

fn assemble(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

pub(crate) fn cases(sound: &Sound) -> Vec<Case> {
    let mut cases = Vec::new();
    truncations(sound, &mut cases);
    headers(sound, &mut cases);
    fields(sound, &mut cases);
    values(sound, &mut cases);
    cases
}

fn truncations(sound: &Sound, cases: &mut Vec<Case>) {
    let whole = safetensors(&sound.tensors);
    for i in 0..30 {
        let length = whole.len() * i / 30;
        cases.push(Case::new(format!("cut to {length}"), "model.safetensors", Files::Plain(whole[..length].to_vec())));
    }
    for (name, length) in [("one byte short", whole.len() - 1), ("seven bytes", 7), ("eight bytes", 8)] {
        cases.push(Case::new(name, "model.safetensors", Files::Plain(whole[..length].to_vec())));
    }
    let longer = [&whole[..], b"tail"].concat();
    cases.push(Case::new("four bytes too long", "behind the last", Files::Plain(longer)));
    for size in [u64::MAX, u64::MAX - 7, 1 << 63, 1 << 40, (16 << 20) + 1, whole.len() as u64 - 7] {
        let mut bytes = whole.clone();
        bytes[..8].copy_from_slice(&size.to_le_bytes());
        cases.push(Case::new(format!("header of {size}"), "header of", Files::Plain(bytes)));
    }
    // Any flip in the structure is seen; a flip in a tensor's bytes is another finite tensor and is not tried.
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for i in 0..40 {
        let mut bytes = whole.clone();
        bytes[8 + header * i / 40] ^= 0x80;
        cases.push(Case::new(format!("flip {i}"), "header", Files::Plain(bytes)));
    }
}

fn headers(sound: &Sound, cases: &mut Vec<Case>) {
    let (header, data) = parts(&sound.tensors);
    let text = header.to_string();
    let first = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let texts = [
        ("empty header", String::new()),
        ("null", "null".into()),
        ("a list", "[]".into()),
        ("a number", "7".into()),
        ("no tensors", "{}".into()),
        ("unclosed", text[..text.len() - 1].to_owned()),
        ("nested 100,000 deep", "[".repeat(100_000)),
        ("objects nested 100,000 deep", "{\"a\":".repeat(100_000)),
        ("a name twice", format!("{{\"a\":{first},\"a\":{first}}}")),
        ("metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}".into()),
        ("metadata of numbers", "{\"__metadata__\":{\"a\":1}}".into()),
        ("a tensor that is null", "{\"a\":null}".into()),
        ("spaces only", " ".repeat(1000)),
    ];
    for (name, text) in texts {
        cases.push(Case::new(name, "model.safetensors", Files::Plain(assemble(text.as_bytes(), &data))));
    }
    let latin = assemble(b"{\"\xff\xfe\":{}}", &data);
    cases.push(Case::new("not UTF-8", "header", Files::Plain(latin)));
}

/// One field of one tensor's header made wrong.
fn fields(sound: &Sound, cases: &mut Vec<Case>) {
    let (header, data) = parts(&sound.tensors);
    let n = data.len();
    for name in ["llm.model.norm.weight", "mar.mask_token", "vae.quant_conv.weight"] {
        let offsets = header[name]["data_offsets"].clone();
        let (from, to) = (offsets[0].as_u64().unwrap(), offsets[1].as_u64().unwrap());
        let spoilt = [
            ("dtype", json!("F8_E4M3")),
            ("dtype", json!("")),
            ("dtype", json!(7)),
            ("dtype", json!("F16")),
            ("dtype", json!("F64")),
            ("shape", json!([])),
            ("shape", json!([0])),
            ("shape", json!([-1])),
            ("shape", json!([1.5])),
            ("shape", json!([u64::MAX, 2])),
            ("shape", json!([1u64 << 33, 1u64 << 33])),
            ("shape", json!(vec![1; 64])),
            ("shape", json!("all")),
            ("data_offsets", json!([to, from])),
            ("data_offsets", json!([from, to + 4])),
            ("data_offsets", json!([from + 4, to + 4])),
            ("data_offsets", json!([n, n as u64 + to - from])),
            ("data_offsets", json!([u64::MAX - 3, u64::MAX])),
            ("data_offsets", json!([0, u64::MAX])),
            ("data_offsets", json!([from])),
            ("data_offsets", json!([from, to, to])),
            ("data_offsets", json!([-4, to])),
            ("surprise", json!(1)),
        ];
        for (field, value) in spoilt {
            let mut header = header.clone();
            header[name][field] = value.clone();
            let bytes = assemble(header.to_string().as_bytes(), &data);
            cases.push(Case::new(format!("{name} {field} {value}"), "model.safetensors", Files::Plain(bytes)));
        }
    }
    let mut aliased = header.clone();
    aliased["llm.model.layers.0.input_layernorm.weight"] = header["llm.model.norm.weight"].clone();
    let bytes = assemble(aliased.to_string().as_bytes(), &data);
    cases.push(Case::new("two tensors in one place", "overlaps", Files::Plain(bytes)));
}

/// Well-formed files with the wrong tensors.
fn values(sound: &Sound, cases: &mut Vec<Case>) {
    let names = ["llm.model.norm.weight", "mar.fake_latent", "vae.decoder.conv_out.weight", "siglip2_proj.2.bias"];
    for name in names {
        let mut push = |what: &str, spoil: &dyn Fn(&mut Tensors)| {
            let mut tensors = sound.tensors.clone();
            spoil(&mut tensors);
            cases.push(Case::new(format!("{name} {what}"), name, Files::Plain(safetensors(&tensors))));
        };
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)] {
            push(&format!("holds {bad} at its end"), &|tensors| {
                let bytes = &mut tensors.get_mut(name).unwrap().bytes;
                let at = bytes.len() - 4;
                bytes[at..].copy_from_slice(&bad.to_le_bytes());
            });
        }
        push("is missing", &|tensors| {
            tensors.remove(name);
        });
        push("has another name", &|tensors| {
            let raw = tensors.remove(name).unwrap();
            tensors.insert(format!("{name} "), raw);
        });
        push("has another shape", &|tensors| tensors.get_mut(name).unwrap().shape.push(1));
        push("is half as long", &|tensors| {
            let raw = tensors.get_mut(name).unwrap();
            raw.bytes.truncate(raw.bytes.len() / 2);
            raw.shape = vec![raw.bytes.len() / 4];
        });
    }
}

/// Bad configurations over a sound file.
pub(crate) fn configs(sound: &Sound) -> Vec<Case> {
    let sizes = [
        "/vae/ch",
        "/mar/embed_dim",
        "/mar/num_heads",
        "/mar/diffloss_w",
        "/llm/hidden_size",
        "/llm/num_hidden_layers",
        "/llm/num_key_value_heads",
        "/siglip/patch_size",
    ];
    let config: Value = serde_json::from_slice(&sound.config).unwrap();
    let mut cases = Vec::new();
    for pointer in sizes {
        for value in [json!(0), json!(u64::MAX), json!(-1), json!("many"), json!(null), json!(1u64 << 40)] {
            let mut config = config.clone();
            *config.pointer_mut(pointer).unwrap() = value.clone();
            let files = Files::Config(config.to_string().into_bytes());
            cases.push(Case::new(format!("{pointer} = {value}"), "config.json", files));
        }
    }
    for text in ["", "{", "null", "[]", "{\"mar\":{}}"] {
        cases.push(Case::new(format!("configuration {text}"), "config.json", Files::Config(text.into())));
    }
    let deep = "[".repeat(200_000);
    cases.push(Case::new("configuration nested 200,000 deep", "config.json", Files::Config(deep.into())));
    cases
}
