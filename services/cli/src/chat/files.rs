//! Names of image files as people type, paste or drag them: with quotes, backslashes, several at once.

use std::path::{Path, PathBuf};

/// Endings of the formats that can be read.
const IMAGES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];

/// The files that are named behind a command. What is a file as it stands is one; else the words are, as a shell has them.
pub(super) fn named(text: &str) -> Vec<PathBuf> {
    if Path::new(text).exists() {
        return vec![text.into()];
    }
    match shlex::split(text) {
        Some(words) if words.iter().all(|word| path(word).exists()) => words.iter().map(|word| path(word)).collect(),
        Some(words) if words.len() == 1 => words.iter().map(|word| path(word)).collect(),
        _ => vec![text.into()],
    }
}

/// The files of a line that is nothing but names of image files that exist: what a terminal types when files are dragged
/// onto it. A question is none.
pub(super) fn dropped(line: &str) -> Option<Vec<PathBuf>> {
    let line = line.trim();
    let is_image = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        IMAGES.contains(&ending.as_str()) && path.is_file()
    };
    if is_image(Path::new(line)) {
        return Some(vec![line.into()]);
    }
    let files: Vec<PathBuf> = shlex::split(line)?.iter().map(|word| path(word)).collect();
    (!files.is_empty() && files.iter().all(|file| is_image(file))).then_some(files)
}

/// A word as a path: some terminals paste `file://` URIs.
fn path(word: &str) -> PathBuf {
    let Some(encoded) = word.strip_prefix("file://") else { return word.into() };
    percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_however_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a.png", "my cat.JPG", "notes.txt"] {
            std::fs::write(at(name), "").unwrap();
        }
        let (a, cat) = (at("a.png"), at("my cat.JPG"));
        let (a_text, cat_text) = (a.display().to_string(), cat.display().to_string());
        let escaped = cat_text.replace(' ', "\\ ");
        for (line, files) in [
            (cat_text.clone(), vec![&cat]),
            (format!("'{cat_text}'"), vec![&cat]),
            (escaped.clone(), vec![&cat]),
            (format!("file://{}", cat_text.replace(' ', "%20")), vec![&cat]),
            (format!("{a_text} {escaped} "), vec![&a, &cat]),
        ] {
            let files: Vec<PathBuf> = files.into_iter().cloned().collect();
            assert_eq!(dropped(&line), Some(files.clone()), "{line}");
            assert_eq!(named(line.trim()), files, "{line}");
        }
        let notes = at("notes.txt").display().to_string();
        for line in ["", "What is it?", "missing.png", &notes, &format!("{a_text} what is it?"), "it's"] {
            assert_eq!(dropped(line), None, "{line}");
        }
        // What is no file is named as it was typed, so that the complaint has it.
        for line in ["missing cat.png", "it's.png"] {
            assert_eq!(named(line), [PathBuf::from(line)]);
        }
    }
}
