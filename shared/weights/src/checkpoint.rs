//! A checkpoint as it lies on disk or in the program, opened: its sizes and what tensors it has, but no values yet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device};

use crate::config::ModelConfig;
use crate::error::{TensorFaults, WeightsError};
use crate::layout::{Layout, Located, locate};
use crate::loaded::{LoadedTensors, check_headers, check_values};
use crate::manifest::{self, TensorSpec};
use crate::pickle;
use crate::source::Source;
use crate::{Part, StoredDtype, sizes};

/// How to open a checkpoint where the defaults do not do.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Take only tensors in this form; by default safetensors if there are any, else pickles.
    pub layout: Option<Layout>,
    /// The program that reads pickles; by default this one (see [`crate::pickle`]).
    pub pickle_reader: Option<PathBuf>,
}

/// A checkpoint that is part of a program: the three files that [`pack`](crate::pack) writes.
#[derive(Clone, Copy)]
pub struct EmbeddedFiles {
    /// What stands for the checkpoint's folder in messages.
    pub name: &'static str,
    /// `config.json`.
    pub config: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static [u8],
    /// `model.safetensors`.
    pub tensors: &'static [u8],
}

/// An opened checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    located: Located,
    /// The tokenizer's file where it is part of the program.
    tokenizer: Option<&'static [u8]>,
    config: ModelConfig,
    source: Arc<Source>,
    notices: Vec<String>,
    surplus: Vec<String>,
}

/// A tensor as a checkpoint's headers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its canonical name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub dtype: StoredDtype,
}

impl Checkpoint {
    /// Opens the checkpoint in the folder `path`, in whichever layout it is.
    ///
    /// # Errors
    /// When there is none, or its files are malformed. Missing tensors are an error of [`Checkpoint::load`].
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens the checkpoint in the folder `path`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, WeightsError> {
        let located = locate(path, options.layout)?;
        let mut source = Source::default();
        match located.layout {
            Layout::Safetensors => {
                for file in &located.tensors {
                    source.add_safetensors(file, Some)?;
                }
            }
            Layout::Pickle => pickle::add(&mut source, &located, options.pickle_reader.as_deref())?,
        }
        let mut notices = Vec::new();
        complete(&mut source, &located, &mut notices)?;
        let config = sizes::resolve(&located, &source)?;
        Ok(Self::assembled(located, None, config, source, notices))
    }

    /// Opens a checkpoint that is part of the program. It is untrusted like any other: what is embedded may be damaged too.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn embedded(files: &EmbeddedFiles) -> Result<Self, WeightsError> {
        let located = Located::embedded(files.name);
        let mut source = Source::default();
        source.add_embedded(&located.root, files.tensors)?;
        let mut notices = Vec::new();
        complete(&mut source, &located, &mut notices)?;
        let config = sizes::of_text(&located.root, files.config)?;
        Ok(Self::assembled(located, Some(files.tokenizer), config, source, notices))
    }

    fn assembled(
        located: Located,
        tokenizer: Option<&'static [u8]>,
        config: ModelConfig,
        source: Source,
        mut notices: Vec<String>,
    ) -> Self {
        let surplus = surplus(&config, &source);
        if !surplus.is_empty() {
            notices.push(format!(
                "{} tensors are not the model's and were ignored: {}",
                surplus.len(),
                brief(&surplus)
            ));
        }
        Self { located, tokenizer, config, source: Arc::new(source), notices, surplus }
    }

    /// The sizes of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The form in which its tensors are stored.
    pub fn layout(&self) -> Layout {
        self.located.layout
    }

    /// The folder it was opened from; the name of one that is part of the program.
    pub fn path(&self) -> &Path {
        &self.located.root
    }

    /// The content of the tokenizer's file, `tokenizer.json`.
    ///
    /// # Errors
    /// When the checkpoint has none, naming where it should be, or it cannot be read.
    pub fn tokenizer(&self) -> Result<Vec<u8>, WeightsError> {
        if let Some(embedded) = self.tokenizer {
            return Ok(embedded.to_vec());
        }
        let path = self.located.tokenizer();
        std::fs::read(&path).map_err(|e| WeightsError::io(&path, e))
    }

    /// What whoever runs this should know: parts taken from elsewhere, parts that are missing, surplus tensors.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Names of tensors that the model does not have. They are ignored.
    pub fn surplus(&self) -> &[String] {
        &self.surplus
    }

    /// Whether the checkpoint has any tensor of `part`. A release without [`Part::SiglipProjector`] is complete all the
    /// same: understanding takes the MAR path there.
    pub fn has(&self, part: Part) -> bool {
        has(&self.source, part)
    }

    /// The parts that are to be expected: all, but for the understanding encoder where the checkpoint has no projector
    /// for it.
    pub fn parts(&self) -> Vec<Part> {
        let siglip = self.has(Part::SiglipProjector);
        Part::ALL.into_iter().filter(|part| siglip || !matches!(part, Part::Siglip | Part::SiglipProjector)).collect()
    }

    /// All tensors, as the headers describe them.
    pub fn stored(&self) -> impl Iterator<Item = StoredTensor> + '_ {
        self.source.entries().iter().map(|(name, entry)| StoredTensor {
            name: name.clone(),
            shape: entry.shape.clone(),
            dtype: entry.dtype,
        })
    }

    /// Compares the headers with the model's tensors, without reading values.
    pub fn header_faults(&self, parts: &[Part]) -> TensorFaults {
        check_headers(&self.source, &manifest::tensors(&self.config, parts))
    }

    /// Whether the headers have every tensor of `parts` in its shape; where they have, no value is read.
    ///
    /// # Errors
    /// One error that names all tensors at fault, as that of [`Checkpoint::load`].
    pub fn judge(&self, parts: &[Part]) -> Result<(), WeightsError> {
        if self.header_faults(parts).is_empty() {
            return Ok(());
        }
        self.check(&manifest::tensors(&self.config, parts)).map(drop)
    }

    /// Checks every tensor of `parts` (present, of the right shape, finite) and makes them ready to be built, in
    /// `dtype` on `device`.
    ///
    /// # Errors
    /// One error that names all tensors at fault; or when `dtype` is none that weights can have.
    pub fn load(&self, parts: &[Part], dtype: DType, device: &Device) -> Result<LoadedTensors, WeightsError> {
        let specs = manifest::tensors(&self.config, parts);
        let sha256 = self.check(&specs)?;
        crate::dtype::Collected::with_capacity(dtype, 0)?;
        Ok(LoadedTensors {
            source: self.source.clone(),
            names: Arc::new(specs.into_iter().map(|spec| spec.name).collect()),
            dtype,
            device: device.clone(),
            sha256,
            notices: self.notices.clone(),
        })
    }

    /// Checks `specs` and gives their hash.
    pub(crate) fn check(&self, specs: &[TensorSpec]) -> Result<String, WeightsError> {
        let fail = |faults| WeightsError::Tensors { path: self.located.root.clone(), faults: Box::new(faults) };
        let faults = check_headers(&self.source, specs);
        if faults.is_empty() {
            return check_values(&self.source, specs).map_err(fail);
        }
        // Values of the tensors that are there are looked at too, so that one error has everything.
        let sound: Vec<TensorSpec> = specs
            .iter()
            .filter(|spec| check_headers(&self.source, std::slice::from_ref(spec)).is_empty())
            .cloned()
            .collect();
        let mut all = check_values(&self.source, &sound).err().unwrap_or_default();
        (all.missing, all.misshapen, all.not_float) = (faults.missing, faults.misshapen, faults.not_float);
        Err(fail(all))
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

fn has(source: &Source, part: Part) -> bool {
    source.entries().keys().any(|name| part.prefixes().iter().any(|prefix| name.starts_with(prefix)))
}

/// Takes whole parts that the checkpoint lacks from the folders of the foreign models, saying so.
fn complete(source: &mut Source, located: &Located, notices: &mut Vec<String>) -> Result<(), WeightsError> {
    let borrowed = [
        (Part::Siglip, &located.siglip_folder, "vision_model.", "siglip2.vision_model."),
        (Part::Llm, &located.llm_folder, "model.", "llm.model."),
    ];
    for (part, folder, from, to) in borrowed {
        let Some(file) = folder.as_ref().map(|folder| folder.join("model.safetensors")) else {
            continue;
        };
        if has(source, part) || !file.is_file() {
            continue;
        }
        source.add_safetensors(&file, |name| Some(format!("{to}{}", name.strip_prefix(from)?)))?;
        notices.push(format!("the checkpoint has no {part} tensors: they come from {}", file.display()));
    }
    if !has(source, Part::SiglipProjector) {
        notices.push(
            "the checkpoint has no siglip2_proj tensors: the SigLIP2 path is unavailable and understanding uses the MAR path"
                .into(),
        );
    }
    Ok(())
}

fn surplus(config: &ModelConfig, source: &Source) -> Vec<String> {
    let known: std::collections::HashSet<String> = manifest::tensors(config, &Part::ALL)
        .into_iter()
        .chain(manifest::skipped(config))
        .map(|spec| spec.name)
        .collect();
    source.entries().keys().filter(|name| !known.contains(*name)).cloned().collect()
}

/// The first names of a list that may be long.
fn brief(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> = names.iter().take(SHOWN).map(|name| crate::header::printable(name)).collect();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    text.join(", ")
}
