//! Forges bad checkpoints: sound ones of a tiny model, each spoilt in one way.

mod pickles;
mod plain;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use unipic_weights::config::ModelConfig;
use unipic_weights::{StoredDtype, random};

pub(crate) use pickles::{pickle, zip};
pub(crate) use plain::safetensors;

/// A tensor of f32 values.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
    /// Whether a pickle says that the last axis is the outermost in memory.
    pub(crate) transposed: bool,
}

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Raw>;

/// Checkpoints that load, to spoil copies of.
pub(crate) struct Sound {
    pub(crate) safetensors: PathBuf,
    pub(crate) pickles: PathBuf,
    pub(crate) tensors: Tensors,
    pub(crate) config: Vec<u8>,
}

impl Sound {
    pub(crate) fn new(folder: &Path) -> Self {
        let made = folder.join("made");
        random(&ModelConfig::tiny(), &made, StoredDtype::F32, 1, &mut |_| {}).unwrap();
        let tensors = read(&made);
        let config = std::fs::read(made.join("config.json")).unwrap();
        let sound = Self { safetensors: folder.join("plain"), pickles: folder.join("pickled"), tensors, config };
        write_safetensors(&sound, &sound.safetensors, &safetensors(&sound.tensors));
        let (main, vae) = sound.split();
        let vae = zip(&pickle(&vae, Some("model")), &vae);
        write_pickles(&sound, &sound.pickles, &zip(&pickle(&main, None), &main), &vae);
        sound
    }

    /// The tensors of `pytorch_model.bin`, and those of `kl16.ckpt` under the names they have there.
    pub(crate) fn split(&self) -> (Tensors, Tensors) {
        let (vae, main): (Tensors, Tensors) =
            self.tensors.clone().into_iter().partition(|(name, _)| name.starts_with("vae."));
        (main, vae.into_iter().map(|(name, raw)| (name["vae.".len()..].to_owned(), raw)).collect())
    }
}

/// The tensors of a converted f32 checkpoint.
pub(crate) fn read(folder: &Path) -> Tensors {
    let mut tensors = Tensors::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for (name, view) in ::safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let raw = Raw { shape: view.shape().to_vec(), bytes: view.data().to_vec(), transposed: false };
            tensors.insert(name, raw);
        }
    }
    tensors
}

/// A checkpoint that must not load, and a piece of the error that must come.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) expected: String,
    pub(crate) files: Files,
}

/// What a case consists of.
pub(crate) enum Files {
    /// A `model.safetensors`.
    Plain(Vec<u8>),
    /// A sound `model.safetensors` under this `config.json`.
    Config(Vec<u8>),
    /// `pytorch_model.bin` beside a sound `kl16.ckpt`.
    Main(Vec<u8>),
    /// `kl16.ckpt` beside a sound `pytorch_model.bin`.
    Vae(Vec<u8>),
}

impl Case {
    pub(crate) fn new(name: impl Into<String>, expected: &str, files: Files) -> Self {
        Self { name: name.into(), expected: expected.into(), files }
    }

    pub(crate) fn write(&self, sound: &Sound, path: &Path) {
        let sound_file = |name: &str| std::fs::read(sound.pickles.join("checkpoint").join(name)).unwrap();
        match &self.files {
            Files::Plain(bytes) => write_safetensors(sound, path, bytes),
            Files::Config(config) => {
                std::fs::create_dir_all(path).unwrap();
                std::fs::write(path.join("config.json"), config).unwrap();
                std::fs::copy(sound.safetensors.join("model.safetensors"), path.join("model.safetensors")).unwrap();
            }
            Files::Main(bytes) => write_pickles(sound, path, bytes, &sound_file("kl16.ckpt")),
            Files::Vae(bytes) => write_pickles(sound, path, &sound_file("pytorch_model.bin"), bytes),
        }
    }
}

pub(crate) fn write_safetensors(sound: &Sound, path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::write(path.join("config.json"), &sound.config).unwrap();
    std::fs::write(path.join("model.safetensors"), bytes).unwrap();
}

fn write_pickles(sound: &Sound, path: &Path, main: &[u8], vae: &[u8]) {
    std::fs::create_dir_all(path.join("checkpoint")).unwrap();
    std::fs::write(path.join("config.json"), &sound.config).unwrap();
    std::fs::write(path.join("checkpoint/pytorch_model.bin"), main).unwrap();
    std::fs::write(path.join("checkpoint/kl16.ckpt"), vae).unwrap();
}

/// The whole table.
pub(crate) fn cases(sound: &Sound) -> Vec<Case> {
    let mut cases = plain::cases(sound);
    cases.extend(plain::configs(sound));
    cases.extend(pickles::cases(sound));
    cases
}
