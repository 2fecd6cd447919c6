//! A run's folder: that it is a run's, and of one process at a time.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::TrainError;

/// The saved state.
pub(crate) const STATE: &str = "state.safetensors";

/// The model of the last finished stage, a folder.
pub(crate) const MODEL: &str = "model";

/// The same while it is written.
pub(crate) const UNFINISHED: &str = "model.partial";

/// What is locked. The file stays behind: one that is removed could be locked by two processes under one name.
const LOCK: &str = "lock";

/// A folder that no other process uses while this value lives.
pub(crate) struct Claim {
    /// The system takes the lock back when it is closed, however the process ends.
    _lock: File,
}

/// Makes the folder where it is missing, and takes it for this process.
///
/// # Errors
/// When it holds a model that is no run's, another process uses it, or the disk fails.
pub(crate) fn claim(folder: &Path) -> Result<Claim, TrainError> {
    std::fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    refuse_foreign(folder)?;
    let path = folder.join(LOCK);
    let lock = File::create(&path).map_err(TrainError::io(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Claim { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(TrainError::Folder {
            path: folder.to_owned(),
            why: "another process trains in this folder; wait for its end, or name another one".into(),
        }),
        // Some network file systems have no locks, and training on them worked before there was one.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(Claim { _lock: lock }),
        Err(TryLockError::Error(error)) => Err(TrainError::io(&path)(error)),
    }
}

/// A finished stage replaces the model in the folder, so one that no run of ours has left must not be there.
fn refuse_foreign(folder: &Path) -> Result<(), TrainError> {
    let is_there = |name: &&str| folder.join(name).symlink_metadata().is_ok();
    match [MODEL, UNFINISHED].into_iter().find(is_there) {
        Some(name) if !is_there(&STATE) => Err(TrainError::Folder {
            path: folder.to_owned(),
            why: format!(
                "it holds `{name}` and no `{STATE}`, so it is no run's folder, and training would delete `{name}`; move \
                 that away, or name another folder"
            ),
        }),
        _ => Ok(()),
    }
}
