//! Where things are in a checkpoint's folder.
//!
//! Three questions are answered apart, because the known layouts mix their answers: which files hold the tensors,
//! which say the sizes, and which file is the tokenizer. The released folder has pickles and two folders of foreign
//! models; a converted one has safetensors and one `config.json`; a test folder has a `config.json` and its pickles in
//! `checkpoint/`.

use std::path::{Path, PathBuf};

use crate::error::WeightsError;

/// In which form tensors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `model.safetensors`, or several `model-*.safetensors`.
    Safetensors,
    /// `pytorch_model.bin` and `kl16.ckpt`, as released.
    Pickle,
}

/// The files of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) root: PathBuf,
    pub(crate) layout: Layout,
    /// Tensor files; with pickles `pytorch_model.bin` alone.
    pub(crate) tensors: Vec<PathBuf>,
    /// `kl16.ckpt`, in the pickle layout.
    pub(crate) vae_pickle: Option<PathBuf>,
    /// The folder of the language model.
    pub(crate) llm_folder: Option<PathBuf>,
    /// The folder of the vision tower.
    pub(crate) siglip_folder: Option<PathBuf>,
}

/// Finds the files under `root`; with `layout`, only those of that form.
///
/// # Errors
/// When there are none.
pub(crate) fn locate(root: &Path, layout: Option<Layout>) -> Result<Located, WeightsError> {
    let unknown = |why: &str| WeightsError::NotACheckpoint { path: root.to_owned(), why: why.into() };
    if !root.is_dir() {
        return Err(unknown("it is not a folder"));
    }
    let places = [root.to_owned(), root.join("checkpoint")];
    let safetensors = safetensors_files(root);
    let pickle = places.iter().map(|place| place.join("pytorch_model.bin")).find(|path| path.is_file());
    let (layout, tensors) = match (layout, safetensors.is_empty(), pickle) {
        (None | Some(Layout::Safetensors), false, _) => (Layout::Safetensors, safetensors),
        (None | Some(Layout::Pickle), _, Some(file)) => (Layout::Pickle, vec![file]),
        (Some(Layout::Safetensors), true, _) => {
            return Err(unknown("it has no model.safetensors or model-*.safetensors"));
        }
        (Some(Layout::Pickle), _, None) => {
            return Err(unknown("it has no pytorch_model.bin, nor has its folder checkpoint/"));
        }
        (None, ..) => {
            return Err(unknown("it has neither model.safetensors, model-*.safetensors nor pytorch_model.bin"));
        }
    };
    let vae_pickle = match layout {
        Layout::Pickle => places.iter().map(|place| place.join("kl16.ckpt")).find(|path| path.is_file()),
        Layout::Safetensors => None,
    };
    Ok(Located {
        root: root.to_owned(),
        layout,
        tensors,
        vae_pickle,
        llm_folder: model_folder(&places, "Qwen2"),
        siglip_folder: model_folder(&places, "siglip2"),
    })
}

impl Located {
    /// A checkpoint that is part of the program has no files; its name stands for its folder in messages.
    pub(crate) fn embedded(name: &str) -> Self {
        Self {
            root: name.into(),
            layout: Layout::Safetensors,
            tensors: Vec::new(),
            vae_pickle: None,
            llm_folder: None,
            siglip_folder: None,
        }
    }

    /// Where the tokenizer is, or where it should be.
    pub(crate) fn tokenizer(&self) -> PathBuf {
        let own = self.root.join("tokenizer.json");
        match &self.llm_folder {
            Some(folder) if !own.is_file() => folder.join("tokenizer.json"),
            _ => own,
        }
    }
}

fn safetensors_files(root: &Path) -> Vec<PathBuf> {
    let mut files = entries(root);
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_file()
            && (name == "model.safetensors" || (name.starts_with("model-") && name.ends_with(".safetensors")))
    });
    files
}

/// The folder of a foreign model: one that starts with its name and has a configuration.
fn model_folder(places: &[PathBuf], start: &str) -> Option<PathBuf> {
    places.iter().flat_map(|place| entries(place)).find(|path| {
        path.join("config.json").is_file()
            && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
    })
}

/// What is in a folder, in order of name; an unreadable folder is an empty one.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
