//! Checkpoints that are part of a program, and packing what is embedded.
#![allow(clippy::unwrap_used, reason = "a test that cannot look has failed")]

use std::path::Path;

use candle_core::{DType, Device};
use unipic_weights::{Checkpoint, EmbeddedFiles, Part, StoredDtype, WeightsError, pack};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a");

const FILES: EmbeddedFiles = EmbeddedFiles {
    name: "small",
    config: include_bytes!("../../../tests/parity/fixtures/tiny-a/config.json"),
    tokenizer: include_bytes!("../../../tests/parity/fixtures/tiny-a/tokenizer.json"),
    tensors: include_bytes!("../../../tests/parity/fixtures/tiny-a/model.safetensors"),
};

fn hash(checkpoint: &Checkpoint) -> String {
    checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap().sha256().to_owned()
}

#[test]
fn an_embedded_checkpoint_is_the_same_as_its_folder() {
    let (embedded, folder) = (Checkpoint::embedded(&FILES).unwrap(), Checkpoint::open(Path::new(FOLDER)).unwrap());
    assert_eq!(embedded.config(), folder.config());
    assert_eq!(embedded.tokenizer().unwrap(), folder.tokenizer().unwrap());
    assert_eq!(embedded.path(), Path::new("small"));
    assert_eq!(hash(&embedded), hash(&folder));
    let name = "llm.model.norm.weight";
    let of = |checkpoint: &Checkpoint| {
        let tensors = checkpoint.load(&[Part::Llm], DType::F32, &Device::Cpu).unwrap();
        tensors.var_builder().get(64, name).unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(of(&embedded), of(&folder));
}

#[test]
fn what_is_embedded_is_checked_like_any_other_file() {
    let cut = EmbeddedFiles { tensors: &FILES.tensors[..FILES.tensors.len() - 1], ..FILES };
    assert!(matches!(Checkpoint::embedded(&cut), Err(WeightsError::Malformed { .. })));
    let empty = EmbeddedFiles { tensors: &[], ..FILES };
    assert!(matches!(Checkpoint::embedded(&empty), Err(WeightsError::Malformed { .. })));
    let sizes = EmbeddedFiles { config: b"{}", ..FILES };
    assert!(matches!(Checkpoint::embedded(&sizes), Err(WeightsError::Config { .. })));
    // One value's exponent bits set: found when the values are looked at, as in any file.
    let mut bytes = FILES.tensors.to_vec();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let nan = EmbeddedFiles { tensors: bytes.leak(), ..FILES };
    let loaded = Checkpoint::embedded(&nan).unwrap().load(&Part::ALL, DType::F32, &Device::Cpu);
    assert!(matches!(loaded, Err(WeightsError::Tensors { .. })));
}

#[test]
fn packing_makes_three_files_that_load() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("packed");
    let source = Checkpoint::open(Path::new(FOLDER)).unwrap();
    let done = pack(&source, &destination, Some(StoredDtype::Bf16), &mut |_| {}).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&destination).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    let read = |name: &str| -> &'static [u8] { std::fs::read(destination.join(name)).unwrap().leak() };
    let (config, tokenizer, tensors) = (read("config.json"), read("tokenizer.json"), read("model.safetensors"));
    let embedded = Checkpoint::embedded(&EmbeddedFiles { name: "packed", config, tokenizer, tensors }).unwrap();
    assert_eq!(hash(&embedded), done.sha256);
    assert_eq!(embedded.config(), source.config());
    assert!(embedded.stored().all(|tensor| tensor.dtype == StoredDtype::Bf16));
    // As they are stored, nothing is lost.
    let again = folder.path().join("again");
    assert_eq!(pack(&source, &again, None, &mut |_| {}).unwrap().sha256, hash(&source));
    assert!(matches!(pack(&source, &again, None, &mut |_| {}), Err(WeightsError::Occupied(_))));
}
