//! What a test measured, for the report of all checks.
//!
//! A test states a figure with [`measured!`]; the compiler says which test it is. The file that [`FILE`] names gets a line
//! for each, and without that variable nothing is done, so that an ordinary run of tests leaves nothing behind. The run that
//! gathers them (`cargo run -p unipic-chaos -- checks`) reads the file with [`read`].
//!
//! A development dependency only, and with no dependency of its own: crates that must not know tensors or a runtime state
//! figures as well.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

/// The variable that names the file.
pub const FILE: &str = "UNIPIC_MEASURES";

/// States a figure of the test around it: what it is, with its unit, and its value.
///
/// A name ends in its unit, unless it counts what it names: `files`, `longest exit, s`, `most memory, MiB`.
#[macro_export]
macro_rules! measured {
    ($name:expr, $value:expr $(,)?) => {
        // A closure's type is named after the function around it, also where that is an async block of the test.
        $crate::state(file!(), std::any::type_name_of_val(&|| ()), $name, $value)
    };
}

/// A figure as it was stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Source file of the test, from the root of the repository.
    pub file: String,
    /// The test's function, without its modules.
    pub test: String,
    /// What was measured, with its unit.
    pub name: String,
    /// A number, or a few words.
    pub value: String,
}

/// Writes one line, if anybody wants it. For [`measured!`], which knows where it stands.
pub fn state(file: &str, function: &str, name: &str, value: impl Display) {
    let Some(path) = std::env::var_os(FILE) else { return };
    // A figure that is not there is a miss of the run that gathers them; the test has held what it holds.
    if let Err(error) = append(path.as_ref(), &line(file, function, name, &value.to_string())) {
        eprintln!("{}: {error}", path.display());
    }
}

/// Tests of several processes write to one file: a line goes in whole, behind all others.
fn append(path: &Path, line: &str) -> Result<()> {
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}

fn line(file: &str, function: &str, name: &str, value: &str) -> String {
    let parts = function.split("::").filter(|part| !part.starts_with('{'));
    let fields = [file, parts.last().unwrap_or(function), name, value];
    let fields = fields.map(|field| field.replace(['\t', '\n', '\r'], " "));
    fields.join("\t") + "\n"
}

/// All figures that were stated into a file, in their order; none where nothing was.
///
/// # Errors
/// When the file cannot be read, or a line of it is none of ours.
pub fn read(path: &Path) -> Result<Vec<Figure>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let figure = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [file, test, name, value] => {
            Ok(Figure { file: file.into(), test: test.into(), name: name.into(), value: value.into() })
        }
        _ => Err(Error::new(ErrorKind::InvalidData, format!("not a figure: {line:?}"))),
    };
    text.lines().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> &'static str {
        std::any::type_name_of_val(&|| ())
    }

    #[test]
    fn a_line_says_which_test_measured_what() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figures");
        assert_eq!(read(&path).unwrap(), []);
        append(&path, &line(file!(), function(), "files", "614")).unwrap();
        // As an async block of a test and a value of several lines would have it.
        append(&path, &line("a.rs", "b::c::d::{{closure}}::{{closure}}", "open\troutes", "/healthz\n/readyz")).unwrap();
        let figure = |file: &str, test: &str, name: &str, value: &str| Figure {
            file: file.into(),
            test: test.into(),
            name: name.into(),
            value: value.into(),
        };
        let expected = [
            figure("shared/measures/src/lib.rs", "function", "files", "614"),
            figure("a.rs", "d", "open routes", "/healthz /readyz"),
        ];
        assert_eq!(read(&path).unwrap(), expected);
        std::fs::write(&path, "half a li").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn many_at_once_write_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figures");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..100 {
                        append(path, &line("a.rs", "t", &format!("writer {writer}"), &n.to_string())).unwrap();
                    }
                });
            }
        });
        assert_eq!(read(&path).unwrap().len(), 400);
    }
}
