//! The report: one Markdown file of sections, each written by the run that measured it and left alone by all others.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

/// What one run found.
#[derive(Debug)]
pub struct Section {
    /// Its name on the command line, and in the marks around it.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Markdown without the heading.
    pub text: String,
    /// Goals that were not reached, each in a line.
    pub misses: Vec<String>,
}

impl Section {
    /// As it stands in the report.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Self { name, title, text, misses } = self;
        let mut block = format!("<!-- begin {name} -->\n## {title}\n\n{}\n", text.trim_end());
        // Writing to a string does not fail.
        let _ = match misses.as_slice() {
            [] => write!(block, "\nMisses: none\n"),
            _ => write!(
                block,
                "\nMisses:\n\n{}\n",
                misses.iter().map(|m| format!("- {m}\n")).collect::<String>().trim_end()
            ),
        };
        let _ = writeln!(block, "<!-- end {name} -->");
        block
    }

    /// Puts it into the report at `path`: in the place of its last version, or at the end.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn put(&self, path: &Path) -> anyhow::Result<()> {
        let before = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        std::fs::write(path, self.placed(&before)).with_context(|| format!("write {}", path.display()))
    }

    fn placed(&self, before: &str) -> String {
        let (begin, end) = (format!("<!-- begin {} -->\n", self.name), format!("<!-- end {} -->\n", self.name));
        let place = before.find(&begin).zip(before.find(&end));
        match place {
            Some((from, to)) if from < to => {
                format!("{}{}{}", &before[..from], self.markdown(), &before[to + end.len()..])
            }
            _ => format!("{}\n\n{}", before.trim_end(), self.markdown()),
        }
    }
}

/// The value that this share of all lies below; 0 of none.
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() as f64 * share) as usize).or(sorted.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_its_last_version() {
        let section = |text: &str| Section { name: "x", title: "X", text: text.into(), misses: Vec::new() };
        let first = section("first").placed("# Report\n");
        let other = Section { name: "y", title: "Y", text: "other".into(), misses: vec!["slow".into()] };
        let both = other.placed(&first);
        let again = section("second").placed(&both);
        assert!(
            again.contains("second") && !again.contains("first") && again.contains("other") && again.contains("- slow")
        );
        assert!(again.find("## X") < again.find("## Y"));
    }

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        assert_eq!((percentile(&[3.0, 1.0, 2.0], 0.5), percentile(&[3.0, 1.0, 2.0], 0.99)), (2.0, 3.0));
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
