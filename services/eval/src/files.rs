//! Files that are whole or not there.
//!
//! A run of hours is interrupted sooner or later, and a scorer that meets half a PNG either stops or scores it. So every
//! file is written under another name in a folder of its own, brought to the disk, and moved to its place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::EvalError;

/// Where unfinished files are, inside the run's folder: out of the sight of scorers that list a folder.
const UNFINISHED: &str = ".unfinished";

/// Appends a line, or leaves the file as it was: on a full disk part of it may fit.
///
/// # Errors
/// The disk's.
pub fn append_whole(file: &mut File, line: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(line).inspect_err(|_| {
        // A next run takes a line that was cut off away, too.
        let _ = file.set_len(before);
    })
}

/// The folder of a run.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder where it is missing, and clears away what an interrupted run left unfinished.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub(crate) fn open(root: &Path) -> Result<Self, EvalError> {
        let unfinished = root.join(UNFINISHED);
        let fail = |source| EvalError::Write { path: unfinished.clone(), source };
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        fs::create_dir_all(&unfinished).map_err(fail)?;
        Ok(Self { root: root.to_owned() })
    }

    /// The path of a file of the run.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Writes a file, whole or not at all; folders on the way are made.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub(crate) fn write(&self, relative: impl AsRef<Path>, data: &[u8]) -> Result<(), EvalError> {
        let path = self.path(relative);
        self.put(&path, data).map_err(|source| EvalError::Write { path, source })
    }

    /// The same on a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`EvalError::Write`].
    pub(crate) async fn write_later(&self, relative: PathBuf, data: Vec<u8>) -> Result<(), EvalError> {
        let folder = self.clone();
        let written = tokio::task::spawn_blocking(move || folder.write(relative, &data)).await;
        written.map_err(|error| EvalError::Defect(format!("the writer of a file ended badly ({error})")))?
    }

    /// Removes the folder of unfinished files; a run that ended leaves none.
    pub(crate) fn close(&self) {
        // Leaving an empty hidden folder behind hurts nobody.
        let _ = fs::remove_dir(self.root.join(UNFINISHED));
    }

    fn put(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent)?;
        let mut file = tempfile::Builder::new().tempfile_in(self.root.join(UNFINISHED))?;
        file.write_all(data)?;
        make_readable(file.as_file());
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The name is on the disk once its folder is.
        File::open(parent)?.sync_all()
    }
}

/// A temporary file is private; a result gets the mode that a plainly created file would usually have.
fn make_readable(file: &File) {
    use std::os::unix::fs::PermissionsExt;
    // Private permissions are no reason to throw a finished file away.
    let _ = file.set_permissions(fs::Permissions::from_mode(0o644));
}

/// Reads a whole file.
///
/// # Errors
/// [`EvalError::Read`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, EvalError> {
    fs::read(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })
}

/// Reads a file of UTF-8 text.
///
/// # Errors
/// [`EvalError::Read`], and [`EvalError::Input`] with the line where the file is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, EvalError> {
    String::from_utf8(read(path)?).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count();
        let problem = "the bytes are not UTF-8 text".to_owned();
        EvalError::Input { path: path.to_owned(), place: format!("line {line}"), problem }
    })
}

/// Whether a path holds a whole PNG: it begins and ends as one. Files of ours are never cut off; this is for those that
/// were copied here by something that was.
pub(crate) fn is_whole_png(path: &Path) -> bool {
    const BEGIN: &[u8] = b"\x89PNG\r\n\x1a\n";
    const END: &[u8] = b"\0\0\0\0IEND\xaeB\x60\x82";
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(BEGIN) && bytes.ends_with(END))
}

#[cfg(test)]
mod tests {
    use unipic_imaging::{Format, Rgb8, encode};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(UNFINISHED)).unwrap();
        fs::write(dir.path().join(UNFINISHED).join("half"), "x").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for text in ["old", "new"] {
            folder.write("a/b/c.txt", text.as_bytes()).unwrap();
        }
        folder.close();
        assert_eq!(fs::read_to_string(folder.path("a/b/c.txt")).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn half_a_png_is_told_from_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let png = encode(&Rgb8::filled(3, 2, [1, 2, 3]), Format::Png, &[("a", "b")]).unwrap();
        let path = dir.path().join("a.png");
        fs::write(&path, &png).unwrap();
        assert!(is_whole_png(&path));
        for cut in [0, 7, png.len() / 2, png.len() - 1] {
            fs::write(&path, &png[..cut]).unwrap();
            assert!(!is_whole_png(&path), "{cut} bytes");
        }
        assert!(!is_whole_png(&dir.path().join("missing.png")));
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let said = Folder::open(&dir.path().join("file")).unwrap_err().to_string();
        assert!(said.contains("file") && said.starts_with("cannot write"), "{said}");
        let folder = Folder::open(dir.path()).unwrap();
        assert!(folder.write("file/below.txt", b"x").is_err());
    }
}
