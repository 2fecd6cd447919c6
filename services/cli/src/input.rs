//! Images and texts from files, arguments or standard input.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

use crate::failure::wrong;
use crate::output::STANDARD;

/// Most bytes of standard input that are read as a text. Prompts end far below that, and the server says where.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Reads an image file; `-` is standard input.
///
/// # Errors
/// When it cannot be read, naming it: the wrong file was given.
pub(crate) fn image(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new(STANDARD) {
        let mut data = Vec::new();
        std::io::stdin().lock().read_to_end(&mut data).context("read an image from standard input")?;
        return Ok(data);
    }
    std::fs::read(path).map_err(|error| wrong(format!("cannot read the image `{}`: {error}", path.display())))
}

/// Reads several image files in their order.
///
/// # Errors
/// When one cannot be read, or standard input is to be more than one of them.
pub(crate) fn images(paths: &[&Path]) -> anyhow::Result<Vec<Vec<u8>>> {
    if paths.iter().filter(|path| **path == Path::new(STANDARD)).count() > 1 {
        return Err(wrong("two images cannot both be `-`: standard input holds one file"));
    }
    paths.iter().map(|path| image(path)).collect()
}

/// A text as it was given; `-` is standard input, without the line break at its end.
///
/// # Errors
/// When standard input cannot be read, is no UTF-8 text, or never ends.
pub(crate) fn text(given: &str) -> anyhow::Result<String> {
    if given != STANDARD {
        return Ok(given.to_owned());
    }
    let mut data = Vec::new();
    let input = std::io::stdin().lock();
    input.take(MAX_TEXT_BYTES + 1).read_to_end(&mut data).context("read a text from standard input")?;
    if data.len() as u64 > MAX_TEXT_BYTES {
        return Err(wrong(format!("standard input is longer than {MAX_TEXT_BYTES} bytes; no prompt is")));
    }
    let text = String::from_utf8(data).map_err(|_| wrong("standard input is no UTF-8 text"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
