//! The harness on the fixture that is in the repository, and the harness on fixtures with something wrong in them: a
//! check that cannot fail is none.

// The lint spares test functions only; this whole file is one test.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{Device, Tensor};
use parity::{Options, Report, Verdict};
use tempfile::TempDir;
use unipic_nn::Ops;
use unipic_weights::Layout;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-a")
}

/// Options for a folder; this test's own program cannot read pickles, the harness's can.
fn options(folder: &Path) -> Options {
    Options { pickle_reader: Some(env!("CARGO_BIN_EXE_parity").into()), ..Options::new(folder) }
}

/// Runs the cases whose name contains `filter`.
fn run_some(folder: &Path, filter: &str) -> Report {
    parity::run(&Options { filter: Some(filter.into()), ..options(folder) }).unwrap()
}

fn failures(report: &Report) -> Vec<String> {
    let failed = report.rows.iter().filter(|row| matches!(row.verdict, Verdict::Fail(_)));
    failed.map(|row| format!("{}.{}", row.case, row.quantity)).collect()
}

/// A copy of the fixture, without pickles, to spoil.
fn copy() -> TempDir {
    let copy = TempDir::new().unwrap();
    for folder in ["", "cases", "images"] {
        std::fs::create_dir_all(copy.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(fixture().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, copy.path().join(folder).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    copy
}

/// Rewrites a file of tensors with its metadata.
fn edit_tensors(path: &Path, edit: impl Fn(&mut HashMap<String, Tensor>)) {
    let bytes = std::fs::read(path).unwrap();
    let metadata = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone();
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    edit(&mut tensors);
    std::fs::write(path, safetensors::serialize(&tensors, metadata).unwrap()).unwrap();
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_case_passes_in_both_layouts_and_on_all_operations() {
    let files = std::fs::read_dir(fixture().join("cases")).unwrap();
    let cases: BTreeSet<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut hashes = BTreeSet::new();
    for layout in [Layout::Safetensors, Layout::Pickle] {
        for ops in [Ops::Reference, Ops::Training, Ops::Inference] {
            let report = parity::run(&Options { layout: Some(layout), ops, ..options(&fixture()) }).unwrap();
            assert!(report.passed(), "{}", report.table());
            let seen: BTreeSet<String> = report.rows.iter().map(|row| row.case.clone()).collect();
            assert_eq!(seen, cases);
            hashes.insert(report.weights_sha256);
        }
    }
    assert_eq!(hashes.len(), 1, "both layouts hold the same weights");
}

#[test]
fn a_perturbed_weight_of_any_part_fails() {
    let spoiled = [
        ("vae.encoder.down.4.attn.1.v.bias", "vae_encode_0"),
        // Not a bias of a convolution: with one channel a group, the norm that follows takes those out.
        ("vae.decoder.up.0.block.2.norm2.bias", "vae_decode_1"),
        ("mar.encoder_pos_embed_learned", "mar_1"),
        ("mar.decoder_blocks.0.attn.qkv.bias", "mar_0"),
        ("mar.diffloss.net.res_blocks.0.mlp.2.bias", "diffusion_head"),
        ("proj_out.2.bias", "t2i_nocfg"),
        ("llm.model.layers.0.self_attn.v_proj.bias", "llm"),
        ("siglip2.vision_model.post_layernorm.bias", "understand_siglip2"),
        ("siglip2_proj.2.bias", "understand_siglip2"),
        ("mar.mask_token", "train_generate"),
        ("mar.decoder_embed.bias", "train_edit"),
        ("llm.model.norm.weight", "train_understand"),
    ];
    let copy = copy();
    let model = copy.path().join("model.safetensors");
    for (tensor, case) in spoiled {
        edit_tensors(&model, |tensors| {
            // One value only: what all channels share, a norm would take out again.
            let (shape, mut values) = (tensors[tensor].shape().clone(), flat(&tensors[tensor]));
            values[0] += 0.05;
            tensors.insert(tensor.into(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        });
        let report = run_some(copy.path(), case);
        assert!(!report.passed(), "{tensor} is off, and {case} passes:\n{}", report.table());
        std::fs::copy(fixture().join("model.safetensors"), &model).unwrap();
    }
    assert!(run_some(copy.path(), "mar_0").passed(), "the copy itself is sound");
}

#[test]
fn unknown_cases_fail() {
    let copy = copy();
    let cases = copy.path().join("cases");
    for name in ["inpaint_0.safetensors", "train_inpaint.safetensors", "llm.json", "vae_decode.safetensors"] {
        std::fs::copy(fixture().join("cases/mar_0.safetensors"), cases.join(name)).unwrap();
        let report = run_some(copy.path(), name);
        assert_eq!(failures(&report), [format!("{name}.")]);
        assert!(!report.passed());
        std::fs::remove_file(cases.join(name)).unwrap();
    }
}

#[test]
fn unknown_and_missing_quantities_fail() {
    let copy = copy();
    let known = [
        "diffusion_schedule",
        "diffusion_head",
        "vae_encode_0",
        "mar_0",
        "preprocess_0",
        "t2i_nocfg",
        "llm",
        "train_edit",
    ];
    for name in known {
        let path = copy.path().join("cases").join(format!("{name}.safetensors"));
        edit_tensors(&path, |tensors| {
            tensors.insert("surplus".into(), Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap());
        });
        assert_eq!(failures(&run_some(copy.path(), name)), [format!("{name}.surplus")]);
    }
    edit_tensors(&copy.path().join("cases/mar_1.safetensors"), |tensors| {
        tensors.remove("z_full");
    });
    assert!(!run_some(copy.path(), "mar_1").passed(), "an expectation that is gone");
}

#[test]
fn recordings_of_iterations_that_do_not_happen_fail() {
    let copy = copy();
    edit_tensors(&copy.path().join("cases/t2i_nocfg.safetensors"), |tensors| {
        tensors.insert("iter.9.z".into(), tensors["iter.0.z"].clone());
    });
    assert_eq!(failures(&run_some(copy.path(), "t2i_nocfg")), ["t2i_nocfg.iter.9.z"]);
}

#[test]
fn a_wrong_id_or_level_fails() {
    let copy = copy();
    let cases = copy.path().join("cases");
    let text = std::fs::read_to_string(cases.join("tokenizer.json")).unwrap();
    std::fs::write(cases.join("tokenizer.json"), text.replacen("331", "332", 1)).unwrap();
    assert_eq!(failures(&run_some(copy.path(), "tokenizer")).len(), 2, "as template and as a user's text");
    edit_tensors(&cases.join("preprocess_2.safetensors"), |tensors| {
        let inverted = tensors["pad_u8"].to_dtype(candle_core::DType::F32).unwrap().affine(-1.0, 255.0).unwrap();
        tensors.insert("pad_u8".into(), inverted.to_dtype(candle_core::DType::U8).unwrap());
    });
    assert_eq!(failures(&run_some(copy.path(), "preprocess_2")), ["preprocess_2.pad_u8"]);
}

#[test]
fn the_program_takes_pickles_where_there_is_nothing_else_and_says_by_its_exit_how_it_went() {
    let copy = copy();
    let parity = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_parity")).arg(copy.path()).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    std::fs::remove_file(copy.path().join("model.safetensors")).unwrap();
    assert!(!parity(&[]).0, "no weights at all");
    std::fs::create_dir(copy.path().join("checkpoint")).unwrap();
    for name in ["pytorch_model.bin", "kl16.ckpt"] {
        std::fs::copy(fixture().join("checkpoint").join(name), copy.path().join("checkpoint").join(name)).unwrap();
    }
    let (passed, table) = parity(&["--filter", "vae_", "--ops", "reference"]);
    assert!(passed && table.contains("checkpoint layout, reference operations"), "{table}");
    assert!(!parity(&["--filter", "vae_", "--layout", "safetensors"]).0, "there are none");
    assert!(!parity(&["--filter", "no such case"]).0, "nothing to check is no success");
    let (passed, json) = parity(&["--filter", "diffusion_", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(passed && json["rows"].as_array().unwrap().iter().all(|row| row["verdict"] == "pass"), "{json}");
    std::fs::write(copy.path().join("cases/odd"), "").unwrap();
    assert!(!parity(&["--filter", "odd"]).0);
}
