//! A small disk that can be filled.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What takes the room.
const FILLING: &str = "filling";

/// A disk of memory, gone when dropped.
#[derive(Debug)]
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts one of so many MiB; none where this user may not mount.
    #[must_use]
    pub fn mount(mib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all room but so many KiB.
    ///
    /// # Errors
    /// When the file that takes it cannot be made.
    pub fn fill(&self, left_kib: u64) -> std::io::Result<()> {
        const PAGE: [u8; 4096] = [0; 4096];
        let path = self.path().join(FILLING);
        let mut file = File::create(&path)?;
        while file.write_all(&PAGE).is_ok() {}
        let taken = fs::metadata(&path)?.len();
        file.set_len(taken.saturating_sub(left_kib << 10))
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn free(&self) -> std::io::Result<()> {
        fs::remove_file(self.path().join(FILLING))
    }

    /// Every file on it but what takes the room, with its bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn files(&self) -> std::io::Result<BTreeMap<PathBuf, Vec<u8>>> {
        let (mut open, mut found) = (vec![self.path().to_owned()], BTreeMap::new());
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if let Ok(name) = path.strip_prefix(self.path()).map(Path::to_owned)
                    && name != Path::new(FILLING)
                {
                    found.insert(name, fs::read(path)?);
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Busy or gone: the system's own end takes it.
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
