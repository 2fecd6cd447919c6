//! Result files: named by number, written whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use unipic_api::pb::ImageFormat;

/// The format that a file's extension asks for.
///
/// # Errors
/// When the extension is none of ours.
pub(crate) fn format_of(path: &Path) -> anyhow::Result<ImageFormat> {
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("png") => Ok(ImageFormat::Png),
        Some("jpg" | "jpeg") => Ok(ImageFormat::Jpeg),
        Some("webp") => Ok(ImageFormat::Webp),
        other => anyhow::bail!(
            "cannot tell a format from `{}` (extension {}): end --output in .png, .jpg or .webp",
            path.display(),
            other.unwrap_or("none"),
        ),
    }
}

/// Where image `index` of `n` goes: the path itself when it is the only one, else with `-index` before the extension.
pub(crate) fn numbered(path: &Path, index: u32, n: u32) -> PathBuf {
    if n <= 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{index}.{extension}"))
}

/// Fails early when the folder of a result is missing, before minutes of work go into it.
///
/// # Errors
/// When there is no such folder.
pub(crate) fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = folder_of(path);
    anyhow::ensure!(folder.is_dir(), "the folder `{}` of --output does not exist", folder.display());
    Ok(())
}

/// Writes a file beside its place and moves it there, so that a full disk leaves no half file.
///
/// # Errors
/// When it cannot be written or moved.
pub(crate) fn write(path: &Path, data: &[u8]) -> anyhow::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".unipic-").tempfile_in(folder_of(path)).context("make a file")?;
    file.write_all(data)
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("write {}", path.display()))?;
    let kept = file.persist(path).with_context(|| format!("move the result to {}", path.display()))?;
    make_readable(&kept);
    Ok(())
}

/// A temporary file is private; a result gets the mode that a plainly created file would usually have.
fn make_readable(file: &std::fs::File) {
    use std::os::unix::fs::PermissionsExt;
    // Private permissions are no reason to throw a finished image away.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o644));
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_images_are_numbered_before_the_extension() {
        let path = Path::new("out/cat.png");
        assert_eq!(numbered(path, 0, 1), path);
        assert_eq!(numbered(path, 2, 4), Path::new("out/cat-2.png"));
    }

    #[test]
    fn an_unknown_extension_is_refused_by_name() {
        let said = format_of(Path::new("cat.xyz")).unwrap_err().to_string();
        assert!(said.contains("xyz") && said.contains(".png"), "{said}");
        assert!(format_of(Path::new("cat")).is_err());
    }

    #[test]
    fn a_result_replaces_an_older_one_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
