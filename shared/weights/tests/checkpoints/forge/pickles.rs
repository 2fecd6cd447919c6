//! Bad pickles and bad archives.

use super::{Case, Files, Sound, Tensors};

/// How a forged archive departs from a sound one.
#[derive(Clone, Copy, Default)]
struct Quirks {
    /// Claim this compression method.
    method: u16,
    /// Claim this many times the storages' true sizes.
    inflate: u32,
    /// Leave the storages out.
    without_data: bool,
    /// Write a wrong checksum.
    wrong_crc: bool,
    /// Say that values are big-endian.
    big_endian: bool,
}

/// The archive that torch would write for `tensors` with the pickle `data`.
pub(crate) fn zip(data: &[u8], tensors: &Tensors) -> Vec<u8> {
    archive(data, tensors, Quirks { inflate: 1, ..Quirks::default() })
}

fn archive(data: &[u8], tensors: &Tensors, quirks: Quirks) -> Vec<u8> {
    let order: &[u8] = if quirks.big_endian { b"big" } else { b"little" };
    let mut files = vec![("model/data.pkl".to_owned(), data), ("model/byteorder".to_owned(), order)];
    if !quirks.without_data {
        let storages = tensors.values().enumerate();
        files.extend(storages.map(|(i, raw)| (format!("model/data/{i}"), &raw.bytes[..])));
    }
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in &files {
        let is_storage = name.starts_with("model/data/");
        let claimed = if is_storage { bytes.len() as u32 * quirks.inflate } else { bytes.len() as u32 };
        let flip = u32::from(quirks.wrong_crc && is_storage);
        let mut common = Vec::new();
        for half in [20, 0, quirks.method, 0, 0] {
            common.extend_from_slice(&half.to_le_bytes());
        }
        for word in [crc32fast::hash(bytes) ^ flip, claimed, claimed] {
            common.extend_from_slice(&word.to_le_bytes());
        }
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&0u16.to_le_bytes());
        let at = out.len() as u32;
        out.extend_from_slice(b"PK\x03\x04");
        out.extend_from_slice(&common);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(bytes);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let start = out.len() as u32;
    out.extend_from_slice(&directory);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&(files.len() as u16).to_le_bytes());
    out.extend_from_slice(&(files.len() as u16).to_le_bytes());
    out.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out
}

/// The pickle of a state dict, under `key` if there is one.
pub(crate) fn pickle(tensors: &Tensors, key: Option<&str>) -> Vec<u8> {
    let mut out = b"\x80\x02}".to_vec();
    if let Some(key) = key {
        text(&mut out, key);
        out.push(b'}');
    }
    out.push(b'(');
    for (i, (name, raw)) in tensors.iter().enumerate() {
        text(&mut out, name);
        let mut strides = strides(&raw.shape);
        if raw.transposed {
            strides.reverse();
        }
        tensor(&mut out, &i.to_string(), &raw.shape, &strides);
    }
    out.push(b'u');
    if key.is_some() {
        out.push(b's');
    }
    out.push(b'.');
    out
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn tensor(out: &mut Vec<u8>, storage: &str, shape: &[usize], strides: &[usize]) {
    out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage");
    out.extend_from_slice(b"ctorch\nFloatStorage\n");
    text(out, storage);
    text(out, "cpu");
    out.extend_from_slice(b"K\x01tQK\x00");
    for sizes in [shape, strides] {
        out.push(b'(');
        for size in sizes {
            out.push(0x8a);
            out.push(8);
            out.extend_from_slice(&size.to_le_bytes());
        }
        out.push(b't');
    }
    out.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
}

pub(crate) fn cases(sound: &Sound) -> Vec<Case> {
    let mut cases = Vec::new();
    programs(&mut cases);
    archives(sound, &mut cases);
    tensors(sound, &mut cases);
    cases
}

/// Pickles that are no state dict. Executed, the first ones would run commands; here a name outside the closed list is
/// refused before anything could be done with it.
fn programs(cases: &mut Vec<Case>) {
    let nested = |open: &[u8], n: usize| [b"\x80\x02", &open.repeat(n)[..], b"."].concat();
    let programs: Vec<(&str, &str, Vec<u8>)> = vec![
        ("os.system", "`os.system`", b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00echotR.".to_vec()),
        ("posix.system", "`posix.system`", b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00idtR.".to_vec()),
        ("eval", "`builtins.eval`", b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.".to_vec()),
        ("getattr", "`builtins.getattr`", b"\x80\x02cbuiltins\ngetattr\n.".to_vec()),
        ("torch.load", "`torch.load`", b"\x80\x02ctorch\nload\n.".to_vec()),
        ("a global by stack", "`os.system`", b"\x80\x04\x8c\x02os\x8c\x06system\x93.".to_vec()),
        ("INST", "opcode 0x69", b"\x80\x02(ios\nsystem\n.".to_vec()),
        ("OBJ", "`os.system`", b"\x80\x02(cos\nsystem\no.".to_vec()),
        ("NEWOBJ", "opcode 0x81", b"\x80\x02ccollections\nOrderedDict\n)\x81.".to_vec()),
        ("EXT1", "opcode 0x82", b"\x80\x02\x82\x01.".to_vec()),
        ("PERSID", "opcode 0x50", b"\x80\x02Pstorage\n.".to_vec()),
        ("a call of a storage", "does not take", b"\x80\x02ctorch\nFloatStorage\n)R.".to_vec()),
        ("a call of a number", "no known global", b"\x80\x02K\x01)R.".to_vec()),
        ("BUILD of a global", "no dictionary", b"\x80\x02ccollections\nOrderedDict\n}b.".to_vec()),
        ("empty", "ends early", Vec::new()),
        ("no STOP", "ends early", b"\x80\x02}".to_vec()),
        ("STOP of nothing", "stack is empty", b"\x80\x02.".to_vec()),
        ("protocol 0", "opcode", b"(dp0\n.".to_vec()),
        ("protocol 77", "protocol 77", b"\x80\x4d}.".to_vec()),
        ("a number", "no dictionary", b"\x80\x02K\x07.".to_vec()),
        ("a mark", "a mark", b"\x80\x02(.".to_vec()),
        ("an empty dictionary", "missing", b"\x80\x02}.".to_vec()),
        ("text of 4 GiB", "ends early", b"\x80\x02X\xff\xff\xff\xffab.".to_vec()),
        ("bad UTF-8", "UTF-8", b"\x80\x02X\x02\x00\x00\x00\xff\xfe.".to_vec()),
        ("integer of 255 bytes", "255 bytes", b"\x80\x02\x8a\xff\x00.".to_vec()),
        ("memo never set", "memo 9", b"\x80\x02h\x09.".to_vec()),
        ("memo at the far end", "missing", b"\x80\x02}r\xff\xff\xff\xff.".to_vec()),
        ("a key without a value", "without a value", b"\x80\x02}(K\x01u.".to_vec()),
        ("setting nothing", "no mark", b"\x80\x02}u.".to_vec()),
        ("setting in a tuple", "no dictionary", b"\x80\x02)K\x01K\x02s.".to_vec()),
        ("an entry that is a number", "these entries", b"\x80\x02}(X\x05\x00\x00\x00epochK\x07u.".to_vec()),
        ("a dictionary in itself", "these entries", b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.".to_vec()),
        ("a storage of no class", "no storage", b"\x80\x02(K\x01K\x02K\x03K\x04K\x05tQ.".to_vec()),
        ("a persistent number", "no tuple", b"\x80\x02K\x01Q.".to_vec()),
        ("tuples nested a million deep", "no dictionary", nested(b")\x85", 1_000_000)),
        ("lists a million", "no dictionary", nested(b"]", 1_000_000)),
        ("marks ten million", "a mark", nested(b"(", 10_000_000)),
        ("dictionaries thirty million", "limit", nested(b"}", 30_000_000)),
        ("a pickle of 33 MiB", "bytes", vec![b'N'; 33 << 20]),
    ];
    for (name, expected, program) in programs {
        let files = Files::Main(zip(&program, &Tensors::new()));
        cases.push(Case::new(format!("pickle: {name}"), expected, files));
    }
}

fn archives(sound: &Sound, cases: &mut Vec<Case>) {
    let (main, vae) = sound.split();
    let data = pickle(&main, None);
    let whole = zip(&data, &main);
    for i in 0..20 {
        let cut = whole[..whole.len() * i / 20].to_vec();
        cases.push(Case::new(format!("archive cut to {i}/20"), "zip", Files::Main(cut)));
    }
    let quirks = Quirks { inflate: 1, ..Quirks::default() };
    let spoilt = [
        ("deflated", "compressed", Quirks { method: 8, ..quirks }),
        ("of an unknown method", "compressed", Quirks { method: 99, ..quirks }),
        ("without storages", "has no model/data/0", Quirks { without_data: true, ..quirks }),
        ("with wrong checksums", "checksum", Quirks { wrong_crc: true, ..quirks }),
        ("big-endian", "little-endian", Quirks { big_endian: true, ..quirks }),
        ("that claims 1000 times its size", "overlap", Quirks { inflate: 1000, ..quirks }),
        ("that claims empty storages", "exceeds its storage", Quirks { inflate: 0, ..quirks }),
    ];
    for (name, expected, quirks) in spoilt {
        cases.push(Case::new(format!("archive {name}"), expected, Files::Main(archive(&data, &main, quirks))));
    }
    cases.push(Case::new("not an archive", "zip", Files::Main(data.clone())));
    cases.push(Case::new("empty file", "zip", Files::Main(Vec::new())));
    cases.push(Case::new("zeros", "zip", Files::Main(vec![0; 100_000])));
    let unkeyed = zip(&pickle(&vae, None), &vae);
    cases.push(Case::new("autoencoder without its key", "no key `model`", Files::Vae(unkeyed)));
    cases.push(Case::new("the wrong file as autoencoder", "no key `model`", Files::Vae(whole)));
}

/// Well-formed pickles with impossible tensors.
fn tensors(sound: &Sound, cases: &mut Vec<Case>) {
    let (_, vae) = sound.split();
    let shapes: [(&str, Vec<usize>, Vec<usize>); 8] = [
        ("too many values", vec![1 << 20], vec![1]),
        ("one value expanded to 2^60", vec![1 << 30, 1 << 30], vec![0, 0]),
        ("overflowing shape", vec![1 << 40, 1 << 40], vec![1, 1]),
        ("overflowing strides", vec![2, 2], vec![1 << 62, 1 << 62]),
        ("negative size", vec![usize::MAX], vec![1]),
        ("overlapping windows", vec![32, 32], vec![1, 1]),
        ("fewer strides than sizes", vec![2, 2], vec![1]),
        ("64 axes", vec![1; 64], vec![1; 64]),
    ];
    for (name, shape, strides) in shapes {
        let mut out = b"\x80\x02}".to_vec();
        text(&mut out, "model");
        out.extend_from_slice(b"}(");
        text(&mut out, "quant_conv.bias");
        tensor(&mut out, "0", &shape, &strides);
        out.extend_from_slice(b"us.");
        cases.push(Case::new(format!("tensor of {name}"), "kl16.ckpt", Files::Vae(zip(&out, &vae))));
    }
    let mut twice = pickle(&vae, Some("model"));
    twice.truncate(twice.len() - 3);
    text(&mut twice, "quant_conv.bias");
    tensor(&mut twice, "0", &[1], &[1]);
    twice.extend_from_slice(b"us.");
    cases.push(Case::new("a tensor twice", "occurs twice", Files::Vae(zip(&twice, &vae))));
    let mut fewer = vae.clone();
    fewer.remove("quant_conv.bias");
    let files = Files::Vae(zip(&pickle(&fewer, Some("model")), &fewer));
    cases.push(Case::new("a pickle without one tensor", "missing (1): vae.quant_conv.bias", files));
    let mut bad = vae;
    let raw = bad.get_mut("quant_conv.bias").unwrap();
    raw.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let files = Files::Vae(zip(&pickle(&bad, Some("model")), &bad));
    cases.push(Case::new("a pickle with a NaN", "not finite (1): vae.quant_conv.bias", files));
}
