//! What can be wrong with a checkpoint, said so that a person can act on it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a checkpoint cannot be opened, loaded, converted or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The path holds none of the known layouts.
    #[error("{} is no checkpoint: {why}", path.display())]
    NotACheckpoint {
        /// The path as given.
        path: PathBuf,
        /// What was looked for.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration is unreadable or has impossible sizes.
    #[error("{}: {why}", path.display())]
    Config {
        /// The file, or the folder whose tensors should have told the sizes.
        path: PathBuf,
        /// What is wrong, with the key.
        why: String,
    },
    /// A tensor file breaks its own format.
    #[error("{}: not a valid tensor file: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A pickle was refused, or its reader could not be run.
    #[error("{}: {why}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The tensors are not those of the model. Names all of them.
    #[error("{}: {faults}", path.display())]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// Every tensor at fault.
        faults: Box<TensorFaults>,
    },
    /// A tensor cannot be held on the device, or in that dtype.
    #[error("{0}")]
    Device(#[from] candle_core::Error),
    /// The destination of a conversion is taken.
    #[error("{} exists already and is not empty", .0.display())]
    Occupied(PathBuf),
}

impl WeightsError {
    /// An error of the file system about `path`.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// A file that breaks its own format.
    pub(crate) fn malformed(path: &Path, why: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), why: why.into() }
    }

    /// A bad configuration.
    pub(crate) fn config(path: &Path, why: impl Into<String>) -> Self {
        Self::Config { path: path.to_owned(), why: why.into() }
    }

    /// A refused pickle.
    pub(crate) fn pickle(path: &Path, why: impl Into<String>) -> Self {
        Self::Pickle { path: path.to_owned(), why: why.into() }
    }
}

/// Every tensor that keeps a checkpoint from loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorFaults {
    /// Names that the model needs and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors of another shape than the model's.
    pub misshapen: Vec<Misshapen>,
    /// Names of tensors that are not of a floating-point dtype, with that dtype.
    pub not_float: Vec<String>,
    /// Names of tensors that hold NaN or infinity.
    pub non_finite: Vec<String>,
    /// Names of tensors whose bytes could not be read or fail their checksum, with the reason.
    pub unreadable: Vec<String>,
}

/// A tensor of the wrong shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Its name.
    pub name: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The checkpoint's shape.
    pub found: Vec<usize>,
}

impl TensorFaults {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.misshapen.is_empty()
            && self.not_float.is_empty()
            && self.non_finite.is_empty()
            && self.unreadable.is_empty()
    }
}

impl fmt::Display for TensorFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these tensors keep it from loading:")?;
        let misshapen: Vec<String> = self
            .misshapen
            .iter()
            .map(|m| format!("{} (expected {:?}, found {:?})", m.name, m.expected, m.found))
            .collect();
        for (what, names) in [
            ("missing", &self.missing),
            ("misshapen", &misshapen),
            ("not floating point", &self.not_float),
            ("not finite", &self.non_finite),
            ("unreadable", &self.unreadable),
        ] {
            if !names.is_empty() {
                write!(f, "\n  {what} ({}): {}", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}
