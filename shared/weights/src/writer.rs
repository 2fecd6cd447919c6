//! Writing converted checkpoints: safetensors files, piece by piece, in a folder that appears whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::config::ModelConfig;
use crate::error::WeightsError;
use crate::manifest::TensorSpec;
use crate::{Part, StoredDtype};

/// How far writing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The part being written.
    pub part: Part,
    /// Bytes written so far.
    pub done: u64,
    /// Bytes to write in all.
    pub total: u64,
}

/// Into which files tensors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Division {
    /// `model-PART.safetensors` for every part.
    Parts,
    /// `model.safetensors` for all.
    One,
}

/// A tensor to write and the dtype to write it in.
pub(crate) struct Planned {
    pub(crate) spec: TensorSpec,
    pub(crate) dtype: StoredDtype,
}

impl Planned {
    pub(crate) fn n_bytes(&self) -> u64 {
        (self.spec.n_values() * self.dtype.n_bytes()) as u64
    }
}

/// A converted checkpoint in the making. Dropped before [`Draft::publish`], it leaves nothing behind.
pub(crate) struct Draft {
    folder: TempDir,
    destination: PathBuf,
}

impl Draft {
    /// A hidden folder beside `destination`, which must not exist or be empty.
    pub(crate) fn new(destination: &Path) -> Result<Self, WeightsError> {
        let occupied = match std::fs::read_dir(destination) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => destination.exists(),
        };
        if occupied {
            return Err(WeightsError::Occupied(destination.to_owned()));
        }
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = tempfile::Builder::new()
            .prefix(".unipic-")
            .suffix(".partial")
            .tempdir_in(parent)
            .map_err(|e| WeightsError::io(parent, e))?;
        Ok(Self { folder, destination: destination.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write_config(&self, config: &ModelConfig) -> Result<(), WeightsError> {
        let text =
            serde_json::to_string_pretty(config).map_err(|e| WeightsError::config(self.path(), e.to_string()))?;
        self.write("config.json", text.as_bytes())
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), WeightsError> {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).map_err(|e| WeightsError::io(&path, e))
    }

    /// Writes the files of all tensors in `planned`. `fill` writes one tensor's bytes.
    pub(crate) fn write_tensors(
        &self,
        planned: &[Planned],
        division: Division,
        mut fill: impl FnMut(&Planned, &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), WeightsError>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<u64, WeightsError> {
        let total = planned.iter().map(Planned::n_bytes).sum();
        let mut done = 0;
        for (name, mine) in divided(planned, division) {
            let path = self.path().join(name);
            let io = |e| WeightsError::io(&path, e);
            let mut out = BufWriter::new(File::create(&path).map_err(io)?);
            out.write_all(&header(&mine)).map_err(io)?;
            for planned in mine {
                let part = planned.spec.part;
                fill(planned, &mut |bytes| {
                    out.write_all(bytes)?;
                    done += bytes.len() as u64;
                    progress(Progress { part, done, total });
                    Ok(())
                })?;
            }
            // Without this, a full disk may come to light only after the folder has been published.
            let file = out.into_inner().map_err(|e| io(e.into_error()))?;
            file.sync_all().map_err(io)?;
        }
        Ok(total)
    }

    /// Gives the folder its name.
    pub(crate) fn publish(self) -> Result<(), WeightsError> {
        open_to_readers(self.folder.path())?;
        std::fs::rename(self.folder.path(), &self.destination).map_err(|e| WeightsError::io(&self.destination, e))?;
        // The folder is no longer where it would be deleted from.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// The files and the tensors in each, without empty ones.
fn divided(planned: &[Planned], division: Division) -> Vec<(String, Vec<&Planned>)> {
    let of = |part| planned.iter().filter(|planned| planned.spec.part == part).collect();
    let files: Vec<(String, Vec<&Planned>)> = match division {
        Division::One => vec![("model.safetensors".into(), planned.iter().collect())],
        Division::Parts => Part::ALL.into_iter().map(|part| (format!("model-{part}.safetensors"), of(part))).collect(),
    };
    files.into_iter().filter(|(_, tensors)| !tensors.is_empty()).collect()
}

/// Temporary folders are for their owner alone; a checkpoint is an ordinary folder.
fn open_to_readers(path: &Path) -> Result<(), WeightsError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|e| WeightsError::io(path, e))
}

/// Header length and header, padded so that values are aligned to 8 bytes.
fn header(tensors: &[&Planned]) -> Vec<u8> {
    let mut at = 0;
    let mut map = serde_json::Map::new();
    for tensor in tensors {
        let end = at + tensor.n_bytes();
        let info = json!({ "dtype": tensor.dtype.name(), "shape": tensor.spec.shape, "data_offsets": [at, end] });
        map.insert(tensor.spec.name.clone(), info);
        at = end;
    }
    let mut text = serde_json::Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}
