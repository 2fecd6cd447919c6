//! Metrics in Prometheus' text format, as far as a table of them needs.

use std::collections::BTreeMap;

/// What a process exported at one moment, by name and labels.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    samples: BTreeMap<String, Vec<Sample>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text; lines that are none of the format are passed over, as its definition asks.
    pub(super) fn parse(text: &str) -> Self {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (name, sample) in text.lines().filter(|line| !line.starts_with('#')).filter_map(line) {
            samples.entry(name).or_default().push(sample);
        }
        Self { samples }
    }

    /// Whether they are of a process of ours.
    pub(super) fn is_ours(&self) -> bool {
        self.samples.contains_key("unipic_process_start_time_seconds")
    }

    /// The sum over all samples of a name whose labels are among others these; `None` where there is none.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_meant = |sample: &&Sample| {
            labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        let values: Vec<f64> = self.samples.get(name)?.iter().filter(is_meant).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The values of a label among the samples of a name, in order, each once.
    pub(super) fn labels(&self, name: &str, label: &str) -> Vec<&str> {
        let samples = self.samples.get(name).into_iter().flatten();
        let mut values: Vec<&str> = samples.filter_map(|sample| sample.labels.get(label)).map(String::as_str).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// `name{label="value",…} number`, perhaps with a time behind it.
fn line(line: &str) -> Option<(String, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(key.trim_start_matches([',', ' ']).to_owned(), value);
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then(|| (name.to_owned(), Sample { labels, value }))
}

/// A label's value up to its quotation mark, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_and_summed() {
        let text = "# HELP a what\n# TYPE a counter\na{x=\"1\",y=\"u\"} 2\na{x=\"2\",y=\"u\"} 3.5 1700000000\na{x=\"2\",y=\"v\\\"},\\n\"} 1e2\n\
                    unipic_process_start_time_seconds 5\nnan NaN\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[]), Some(105.5));
        assert_eq!(metrics.sum("a", &[("x", "2")]), Some(103.5));
        assert_eq!(metrics.sum("a", &[("x", "2"), ("y", "v\"},\n")]), Some(100.0));
        assert_eq!((metrics.sum("a", &[("x", "3")]), metrics.sum("b", &[])), (None, None));
        assert_eq!(metrics.labels("a", "y"), ["u", "v\"},\n"]);
        assert!(metrics.is_ours() && metrics.sum("nan", &[]).is_some_and(f64::is_nan));
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in [
            "",
            "<html>",
            "a",
            "a{",
            "a{x",
            "a{x=\"",
            "a{x=\"1\"",
            "a{x=\"1\"}",
            "a{x=\"1\"} b",
            "{} 1",
            " 1",
            "a{x=\"\\",
        ] {
            let metrics = Metrics::parse(text);
            assert!(metrics.samples.is_empty() && !metrics.is_ours(), "{text}: {metrics:?}");
        }
    }
}
