//! What a run found, as a table for people and as JSON for programs.

use serde::Serialize;

use crate::bound::{Bound, Measured};

/// How one quantity came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// Within its bound.
    Pass,
    /// Beyond it, or not computable, or not known.
    Fail(String),
}

/// One quantity of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The case.
    pub case: String,
    /// The quantity; empty where the row is about the whole case.
    pub quantity: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// max |ours − expected|, or the number of differing ids; none where nothing could be compared.
    pub max_error: Option<f64>,
    /// What is allowed.
    pub bound: String,
    /// How it came out.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl Row {
    /// A quantity that was compared.
    pub fn measured(case: &str, quantity: &str, shape: &[usize], bound: Bound, measured: Measured) -> Self {
        Self {
            case: case.into(),
            quantity: quantity.into(),
            shape: shape.to_vec(),
            max_error: Some(measured.max_error),
            bound: bound.label(),
            verdict: if measured.passed { Verdict::Pass } else { Verdict::Fail("beyond the bound".into()) },
        }
    }

    /// A case or quantity that could not be compared.
    pub fn failed(case: &str, quantity: &str, why: String) -> Self {
        Self {
            case: case.into(),
            quantity: quantity.into(),
            shape: Vec::new(),
            max_error: None,
            bound: String::new(),
            verdict: Verdict::Fail(why),
        }
    }

    fn cells(&self) -> [String; 6] {
        let verdict = match &self.verdict {
            Verdict::Pass => "pass".into(),
            Verdict::Fail(why) => format!("FAIL: {why}"),
        };
        let error = self.max_error.map_or_else(String::new, |error| format!("{error:.2e}"));
        let shape = self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
        [self.case.clone(), self.quantity.clone(), shape, error, self.bound.clone(), verdict]
    }
}

/// Everything a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: String,
    /// The layout its weights were read from.
    pub layout: String,
    /// Which implementation of the operations ran.
    pub ops: String,
    /// The device.
    pub device: String,
    /// Hash of the weights' names, shapes and bytes.
    pub weights_sha256: String,
    /// All quantities of all cases, in order of file name.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether something was checked and nothing failed.
    pub fn passed(&self) -> bool {
        self.count(|v| *v == Verdict::Pass) > 0 && self.count(|v| matches!(v, Verdict::Fail(_))) == 0
    }

    fn count(&self, of: impl Fn(&Verdict) -> bool) -> usize {
        self.rows.iter().filter(|row| of(&row.verdict)).count()
    }

    /// An aligned table and a closing line.
    pub fn table(&self) -> String {
        let head = ["case", "quantity", "shape", "max error", "bound", "verdict"].map(String::from);
        let lines: Vec<[String; 6]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..5).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(&line[5]);
            text.push('\n');
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let passed = self.count(|v| *v == Verdict::Pass);
        let failed = self.rows.len() - passed;
        let Self { folder, layout, ops, device, .. } = self;
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        format!("{verdict}: {passed} passed, {failed} failed ({folder}, {layout} layout, {ops} operations, {device})\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: Vec<Row>) -> Report {
        let text = String::new;
        Report { folder: text(), layout: text(), ops: text(), device: text(), weights_sha256: text(), rows }
    }

    #[test]
    fn nothing_checked_is_no_success() {
        assert!(!report(Vec::new()).passed());
    }

    #[test]
    fn one_failure_fails_the_run_and_is_named_in_the_table() {
        let good = Measured { max_error: 0.0, passed: true };
        let rows =
            vec![Row::measured("a", "x", &[1, 2], Bound::Equal, good), Row::failed("odd", "", "unknown case".into())];
        assert!(report(rows[..1].to_vec()).passed());
        assert!(!report(rows.clone()).passed());
        let table = report(rows).table();
        assert!(table.contains("FAIL: unknown case") && table.contains("1 passed, 1 failed"), "{table}");
    }
}
