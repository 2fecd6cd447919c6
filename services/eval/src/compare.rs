//! The same prompts and seeds under two settings or two models: what does the cheaper one cost?
//!
//! Both sides draw the same items, so what is compared is each item with itself; that needs far fewer prompts than two
//! scores that are each uncertain. The gate for a change that should cost nothing is [`Comparison::holds`].

use std::collections::HashMap;
use std::fmt::Write;

use serde::Serialize;
use unipic_imaging::{DecodeLimits, decode};

use crate::files::{self, Folder};
use crate::manifest::to_json;
use crate::nano::{self, Item, Made, Nano, Section};
use crate::{Artist, Difference, EvalError, Progress, Run, Sampling};

/// What to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The items, and the folder: the sides' results go into its folders `a` and `b`. Its own sampling and label are not
    /// used.
    pub nano: Nano,
    /// The side that is measured against.
    pub a: Side,
    /// The side that is measured.
    pub b: Side,
}

/// One side.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// What it is called, such as "q8_0".
    pub label: String,
    /// How images are sampled.
    pub sampling: Sampling,
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// How the first side was made.
    pub a: Made,
    /// How the second side was made.
    pub b: Made,
    /// Mean seconds per image of both sides, where images were made now.
    pub seconds_per_image: [Option<f64>; 2],
    /// Sections and groups, each with its difference; a section's name alone is all of it.
    pub rows: Vec<Row>,
    /// How far the pictures are apart.
    pub pixels: Pixels,
    /// Whether both sides are complete.
    pub is_complete: bool,
}

/// The difference of a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What kind of work.
    pub section: Section,
    /// The group within it; empty for all of it.
    pub group: String,
    /// Both shares and their difference.
    #[serde(flatten)]
    pub difference: Difference,
}

/// How far pictures of the same prompt and seed are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pixels {
    /// Pairs of pictures of one size.
    pub pairs: usize,
    /// Mean absolute difference of channels, 0 to 255, over all pairs.
    pub mean_difference: f64,
    /// The largest of the pairs' mean differences.
    pub largest: f64,
    /// Pairs without any difference.
    pub identical: usize,
}

/// Draws and judges both sides and compares them. `a` and `b` may be one artist.
///
/// # Errors
/// As [`nano::run`]'s.
pub async fn run(
    config: &Compare,
    a: &impl Artist,
    b: &impl Artist,
    progress: &Progress<'_>,
) -> Result<Comparison, EvalError> {
    let (first, first_items) = nano::run_items(&side(config, &config.a, "a"), a, progress).await?;
    let (second, second_items) = nano::run_items(&side(config, &config.b, "b"), b, progress).await?;
    let folder = Folder::open(&config.nano.run.out)?;
    let pairs = pair(&first_items, &second_items);
    let comparison = Comparison {
        seconds_per_image: [first.seconds_per_image, second.seconds_per_image],
        rows: rows(&pairs),
        pixels: pixels(&folder, &pairs)?,
        is_complete: first.is_complete() && second.is_complete(),
        a: first.made,
        b: second.made,
    };
    folder.write("comparison.json", &to_json(&comparison)?)?;
    folder.write("comparison.md", comparison.markdown().as_bytes())?;
    folder.close();
    Ok(comparison)
}

fn side(config: &Compare, side: &Side, folder: &str) -> Nano {
    let Run { out, seed, in_flight, limit, .. } = config.nano.run.clone();
    let (label, sampling) = (side.label.clone(), side.sampling.clone());
    Nano { run: Run { out: out.join(folder), seed, sampling, in_flight, label, limit }, ..config.nano.clone() }
}

/// The items that both sides have.
fn pair<'a>(first: &'a [Item], second: &'a [Item]) -> Vec<(&'a Item, &'a Item)> {
    let key = |item: &'a Item| (item.section, item.group.as_str(), item.index);
    let second: HashMap<_, _> = second.iter().map(|item| (key(item), item)).collect();
    first.iter().filter_map(|item| Some((item, *second.get(&key(item))?))).collect()
}

fn rows(pairs: &[(&Item, &Item)]) -> Vec<Row> {
    let mut groups: Vec<(Section, &str)> = Vec::new();
    for (item, _) in pairs {
        for group in [item.group.as_str(), ""] {
            if !groups.contains(&(item.section, group)) {
                groups.push((item.section, group));
            }
        }
    }
    // The whole of a section stands behind its groups.
    groups.sort_by_key(|(section, group)| (*section, group.is_empty()));
    let of = |section, group: &str| {
        let inside = pairs.iter().filter(move |(item, _)| item.section == section);
        let inside = inside.filter(move |(item, _)| group.is_empty() || item.group == group);
        Difference::of(inside.map(|(a, b)| (a.right, b.right)))
    };
    groups
        .iter()
        .map(|&(section, group)| Row { section, group: group.to_owned(), difference: of(section, group) })
        .collect()
}

/// Compares the results pixel by pixel; the last of an item's images is its result.
fn pixels(folder: &Folder, pairs: &[(&Item, &Item)]) -> Result<Pixels, EvalError> {
    let mut found = Pixels::default();
    for (first, second) in pairs {
        let (Some(a), Some(b)) = (first.images.last(), second.images.last()) else { continue };
        let read = |side: &str, path: &std::path::Path| -> Result<_, EvalError> {
            Ok(decode(&files::read(&folder.path(side).join(path))?, &DecodeLimits::default())?)
        };
        let (a, b) = (read("a", a)?, read("b", b)?);
        if (a.width, a.height) != (b.width, b.height) {
            continue;
        }
        let sum: u64 = a.data.iter().zip(&b.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = sum as f64 / a.data.len() as f64;
        found.pairs += 1;
        found.mean_difference += (mean - found.mean_difference) / found.pairs as f64;
        found.largest = found.largest.max(mean);
        found.identical += usize::from(sum == 0);
    }
    Ok(found)
}

impl Comparison {
    /// The difference over all drawings.
    #[must_use]
    pub fn drawings(&self) -> Option<&Difference> {
        let row = self.rows.iter().find(|row| row.section == Section::Drawing && row.group.is_empty());
        row.map(|row| &row.difference)
    }

    /// The gate: both sides are complete, and in every section the second side is shown to lose no more than `loss` (a
    /// share, such as 0.05). With few items the interval is wide, and nothing is shown: give it enough.
    #[must_use]
    pub fn holds(&self, loss: f64) -> bool {
        let mut sections = self.rows.iter().filter(|row| row.group.is_empty()).peekable();
        self.is_complete && sections.peek().is_some() && sections.all(|row| row.difference.holds(loss))
    }

    /// The comparison as a table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let name = |made: &Made, other: &str| if made.label.is_empty() { other.to_owned() } else { made.label.clone() };
        let (a, b) = (name(&self.a, "a"), name(&self.b, "b"));
        let mut text =
            format!("| | n | {a} | {b} | difference | 95 % interval |\n| --- | --- | --- | --- | --- | --- |\n");
        for Row { section, group, difference: d } in &self.rows {
            let section = match section {
                Section::Drawing => "drawn right",
                Section::Edit => "edited right",
                Section::Question => "answered right",
                Section::Caption => "captions naming every object",
            };
            let what = if group.is_empty() { format!("all {section}") } else { format!("{section}: {group}") };
            let [low, high] = d.interval;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {what} | {} | {:.3} | {:.3} | {:+.3} | {low:+.3} to {high:+.3} |",
                d.n, d.a, d.b, d.difference
            );
        }
        let Pixels { pairs, mean_difference, largest, identical } = self.pixels;
        let _ = writeln!(
            text,
            "\nPictures of the same prompt and seed differ by {mean_difference:.2} of 255 on average over {pairs} pairs \
             (the most by {largest:.2}); {identical} are identical."
        );
        if let [Some(a), Some(b)] = self.seconds_per_image {
            let _ = writeln!(text, "\nSeconds per image: {a:.2} and {b:.2}.");
        }
        if !self.is_complete {
            let _ = writeln!(text, "\nNot complete: some items failed. The figures are of those that both sides have.");
        }
        text
    }
}
