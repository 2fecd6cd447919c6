//! Where results go: files named by number, written whole or not at all, or standard output.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use unipic_api::pb::ImageFormat;
use unipic_imaging::{DecodeLimits, Format, Rgb8};

use crate::args::Output;
use crate::failure::wrong;

/// The name that stands for standard input or output.
pub(crate) const STANDARD: &str = "-";

/// How the names of unfinished files begin.
const UNFINISHED: &str = ".unipic-";

/// Where a request's images go.
#[derive(Debug)]
pub(crate) struct Destination {
    /// None for standard output.
    path: Option<PathBuf>,
    format: ImageFormat,
    n: u32,
    grid: bool,
}

/// Where an image was written to.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Written {
    /// A file.
    File(PathBuf),
    /// Standard output, which takes the sheet instead of this image where there is one.
    Standard(&'static str),
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Standard(_) => f.write_str("standard output"),
        }
    }
}

impl Destination {
    /// What the flags ask for, judged before minutes of work go into it.
    ///
    /// # Errors
    /// When the extension is none of ours, the folder is missing, or standard output cannot take it.
    pub(crate) fn of(output: &Output, json: bool) -> anyhow::Result<Self> {
        let (n, grid) = (output.n.unwrap_or(1), output.grid);
        if output.output == Path::new(STANDARD) {
            if json {
                return Err(wrong("--json and `-o -` both want standard output; give --output a file"));
            }
            if std::io::stdout().is_terminal() {
                return Err(wrong("a PNG file is nothing for a terminal: send standard output to a file or a pipe"));
            }
            if n > 1 && !grid {
                return Err(wrong("standard output takes one image; add --grid, or give --output a file"));
            }
            return Ok(Self { path: None, format: ImageFormat::Png, n, grid });
        }
        check_folder(&output.output)?;
        Ok(Self { path: Some(output.output.clone()), format: format_of(&output.output)?, n, grid })
    }

    /// The format of the results.
    pub(crate) fn format(&self) -> ImageFormat {
        self.format
    }

    /// Writes one of the images.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, number: u32, data: &[u8]) -> anyhow::Result<Written> {
        let Some(path) = &self.path else {
            if !(self.grid && self.n > 1) {
                to_standard(data)?;
            }
            return Ok(Written::Standard(STANDARD));
        };
        let path = numbered(path, number, self.n);
        write(&path, data)?;
        Ok(Written::File(path))
    }

    /// Writes an image as far as it is known, where a later one can take its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_preview(&self, number: u32, data: &[u8]) -> anyhow::Result<Option<PathBuf>> {
        let path = self.path.as_ref().map(|path| numbered(path, number, self.n));
        path.map(|path| write(&path, data).map(|()| path)).transpose()
    }

    /// Writes the contact sheet.
    ///
    /// # Errors
    /// When the format cannot hold it, or it cannot be written.
    pub(crate) fn write_sheet(&self, sheet: &Rgb8) -> anyhow::Result<Written> {
        let data = unipic_imaging::encode(sheet, imaging_format(self.format), &[])?;
        match &self.path {
            None => to_standard(&data).map(|()| Written::Standard(STANDARD)),
            Some(path) => write(path, &data).map(|()| Written::File(path.clone())),
        }
    }
}

/// Writes a file to standard output.
fn to_standard(data: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(data).and_then(|()| out.flush()).context("write the image to standard output")
}

/// The format that a file's extension asks for.
///
/// # Errors
/// When the extension is none of ours.
pub(crate) fn format_of(path: &Path) -> anyhow::Result<ImageFormat> {
    match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("png") => Ok(ImageFormat::Png),
        Some("jpg" | "jpeg") => Ok(ImageFormat::Jpeg),
        Some("webp") => Ok(ImageFormat::Webp),
        other => Err(wrong(format!(
            "cannot tell a format from `{}` (extension {}): end it in .png, .jpg or .webp",
            path.display(),
            other.unwrap_or("none"),
        ))),
    }
}

/// Fails where a file can only be PNG, because it carries a record.
///
/// # Errors
/// When the extension is another one.
pub(crate) fn check_png(path: &Path) -> anyhow::Result<()> {
    match format_of(path)? {
        ImageFormat::Png => Ok(()),
        _ => Err(wrong(format!("`{}` must end in .png", path.display()))),
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
    match folder.is_dir() {
        true => Ok(()),
        false => Err(wrong(format!("the folder `{}` does not exist", folder.display()))),
    }
}

/// Writes an image file in the format of a path's extension. One that has that format already is written as it is, with
/// the record that may be in it.
///
/// # Errors
/// When the extension is none of ours, the image cannot be read, or the file cannot be written.
pub(crate) fn write_as(path: &Path, image: &[u8]) -> anyhow::Result<()> {
    check_folder(path)?;
    let wanted = imaging_format(format_of(path)?);
    if unipic_imaging::Format::of(image) == Some(wanted) {
        return write(path, image);
    }
    let pixels = unipic_imaging::decode(image, &DecodeLimits::default()).context("read the image")?;
    write(path, &unipic_imaging::encode(&pixels, wanted, &[])?)
}

/// The format as the writer of image files knows it.
fn imaging_format(format: ImageFormat) -> Format {
    match format {
        ImageFormat::Jpeg => Format::Jpeg,
        ImageFormat::Webp => Format::WebP,
        ImageFormat::Png | ImageFormat::Unspecified => Format::Png,
    }
}

/// Writes a file beside its place and moves it there, so that a full disk leaves no half file.
///
/// # Errors
/// When it cannot be written or moved.
pub(crate) fn write(path: &Path, data: &[u8]) -> anyhow::Result<()> {
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder_of(path)).context("make a file")?;
    file.write_all(data)
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("write {}", path.display()))?;
    let kept = file.persist(path).with_context(|| format!("move the result to {}", path.display()))?;
    make_readable(&kept);
    Ok(())
}

/// Removes what a killed run left unfinished in a folder.
///
/// # Errors
/// When the folder cannot be read, or a file in it not removed.
pub(crate) fn clear_unfinished(folder: &Path) -> anyhow::Result<()> {
    let shown = folder.display();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read the folder {shown}"))? {
        let entry = entry.with_context(|| format!("read the folder {shown}"))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            std::fs::remove_file(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
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
        std::fs::write(dir.path().join(format!("{UNFINISHED}x")), "half").unwrap();
        clear_unfinished(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
