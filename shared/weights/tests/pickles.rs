//! Released checkpoints, read through a separate process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use candle_core::{DType, Device};
use unipic_weights::{Checkpoint, Layout, OpenOptions, Part, convert};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a");

fn pickles() -> OpenOptions {
    OpenOptions { layout: Some(Layout::Pickle), pickle_reader: Some(env!("CARGO_BIN_EXE_unipic-convert").into()) }
}

fn hash(checkpoint: &Checkpoint) -> String {
    checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap().sha256().to_owned()
}

#[test]
fn hold_the_same_tensors_as_the_safetensors_file() {
    let pickled = Checkpoint::open_with(Path::new(FIXTURE), &pickles()).unwrap();
    let plain = Checkpoint::open(Path::new(FIXTURE)).unwrap();
    assert_eq!(pickled.layout(), Layout::Pickle);
    assert_eq!(plain.layout(), Layout::Safetensors);
    assert_eq!(hash(&pickled), hash(&plain));
    assert!(pickled.notices().is_empty(), "{:?}", pickled.notices());
}

#[test]
fn convert_to_safetensors_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("converted");
    let mut seen = Vec::new();
    let report = convert(Path::new(FIXTURE), &destination, &pickles(), None, &mut |p| seen.push(p)).unwrap();
    let converted = Checkpoint::open(&destination).unwrap();
    let plain = Checkpoint::open(Path::new(FIXTURE)).unwrap();
    assert_eq!(report.sha256, hash(&plain));
    assert_eq!(hash(&converted), hash(&plain));
    assert_eq!(converted.config(), plain.config());
    assert_eq!(converted.stored().count(), plain.stored().count());
    assert_eq!(converted.tokenizer().unwrap(), plain.tokenizer().unwrap());
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.total), (report.n_bytes, report.n_bytes));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial folder is left");
    let again = convert(Path::new(FIXTURE), &destination, &pickles(), None, &mut |_| {}).unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
}
