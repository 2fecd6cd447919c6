//! Checkpoints: the header of a safetensors file, and the configuration beside it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::{DType, Device};
use fuzz::{Bounds, Outcome, Target};
use unipic_weights::{Checkpoint, Layout, OpenOptions, Part, WeightsError};

use crate::model;

const HEADERS: Target = Target {
    name: "safetensors",
    // A header is bounded by the file's length; what is made of it is a small multiple.
    bounds: Bounds { bytes: 32 << 20, time: Duration::from_secs(10) },
    rounds: 120,
    words: &[
        "\"dtype\":\"F64\"",
        "\"shape\":[]",
        "\"data_offsets\":[0,0]",
        "__metadata__",
        "\\u0000",
        "[[[[",
        "\"BF16\"",
        "-1",
    ],
};

const CONFIGS: Target = Target {
    name: "model-configs",
    bounds: Bounds { bytes: 32 << 20, time: Duration::from_secs(10) },
    rounds: 120,
    words: &["null", "1e308", "-1", "[]", "{}", "\"\"", "true", "4294967296", "\"unipic\"", "NaN"],
};

/// A folder like the small model's, whose files can be changed one at a time.
struct Folder {
    dir: tempfile::TempDir,
    /// Length of the whole tensor file, in bytes.
    length: u64,
    /// Length of its header with the number before it, in bytes.
    header: usize,
}

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::copy(model().join(name), dir.path().join(name))?;
        }
        let tensors = std::fs::read(dir.path().join("model.safetensors"))?;
        let header = 8 + u64::from_le_bytes(tensors[..8].try_into()?) as usize;
        Ok(Self { dir, length: tensors.len() as u64, header })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Zeros behind the header take no place on the disk, and are values like others.
    fn with_header(&self, header: &[u8]) -> std::io::Result<()> {
        let mut file = File::create(self.path("model.safetensors"))?;
        file.write_all(header)?;
        file.set_len(self.length.max(header.len() as u64))
    }
}

/// Opens it and loads what is quick to load, as a service does.
fn load(path: &Path) -> Result<(), WeightsError> {
    let options = OpenOptions { layout: Some(Layout::Safetensors), pickle_reader: None };
    let checkpoint = Checkpoint::open_with(path, &options)?;
    checkpoint.load(&[Part::Projectors], DType::F32, &Device::Cpu).map(drop)
}

#[test]
fn headers_are_understood_or_refused() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let whole = std::fs::read(folder.path("model.safetensors"))?;
    let replayed = HEADERS.replay(&[whole[..folder.header].to_vec()], |input| {
        folder.with_header(input).expect("a file of the test");
        Outcome::of(load(folder.dir.path()))
    });
    stated!(replayed?)
}

#[test]
fn model_configurations_are_understood_or_refused() -> anyhow::Result<()> {
    let folder = Folder::new()?;
    let seed = std::fs::read(folder.path("config.json"))?;
    let replayed = CONFIGS.replay(&[seed], |input| {
        std::fs::write(folder.path("config.json"), input).expect("a file of the test");
        Outcome::of(load(folder.dir.path()))
    });
    stated!(replayed?)
}
