//! Images from files or standard input.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

/// Reads an image file; `-` is standard input.
///
/// # Errors
/// When it cannot be read, naming it.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut data = Vec::new();
        std::io::stdin().lock().read_to_end(&mut data).context("read an image from standard input")?;
        return Ok(data);
    }
    std::fs::read(path).with_context(|| format!("read the image `{}`", path.display()))
}
