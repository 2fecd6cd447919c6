//! Loss curves as a picture, with the losses' names and last values above; all other numbers stand in the metrics.

use std::collections::BTreeMap;

use unipic_imaging::{LETTER, Rgb8, dot, write};

use crate::report::StepReport;

const WIDTH: usize = 800;
/// Height of the curves, in pixels.
const HEIGHT: usize = 300;
/// Entries of the legend side by side: room for a name of 13 letters and its value.
const COLUMNS: usize = 4;
/// Height of a line of the legend, in pixels.
const LINE: usize = 14;
/// As many as there are losses of all kinds of stages.
const COLOURS: [[u8; 3]; 10] = [
    [31, 119, 180],
    [214, 39, 40],
    [44, 160, 44],
    [148, 103, 189],
    [255, 127, 14],
    [90, 90, 90],
    [140, 86, 75],
    [227, 119, 194],
    [188, 189, 34],
    [23, 190, 207],
];

/// What a loss was, step by step.
type Series<'a> = BTreeMap<&'a str, Vec<(usize, f64)>>;

/// From left to right all steps, each loss from its least value at the bottom to its largest at the top, on a logarithmic
/// scale; a vertical line where a stage begins. Losses are averaged over neighbouring steps.
pub(crate) fn draw(steps: &[StepReport]) -> Rgb8 {
    let mut series = Series::new();
    for (i, report) in steps.iter().enumerate() {
        for (name, loss) in &report.losses {
            series.entry(name).or_default().push((i, *loss));
        }
    }
    let top = series.len().div_ceil(COLUMNS) * LINE;
    let mut sheet = Rgb8::filled(WIDTH as u32, (top + HEIGHT) as u32, [255; 3]);
    for i in (1..steps.len()).filter(|&i| steps[i - 1].stage != steps[i].stage) {
        let x = i * (WIDTH - 1) / steps.len();
        (top..top + HEIGHT).for_each(|y| dot(&mut sheet, (x, y), [200; 3]));
    }
    for (i, (name, points)) in series.iter().enumerate() {
        entry(&mut sheet, i, name, points.last().map_or(f64::NAN, |(_, loss)| *loss));
        line(&mut sheet, top, points, steps.len(), colour(i));
    }
    sheet
}

/// A colour of its own for each series: where there are more than colours, darker ones.
fn colour(series: usize) -> [u8; 3] {
    let darker = (series / COLOURS.len()) as u32;
    COLOURS[series % COLOURS.len()].map(|value| value.checked_shr(darker).unwrap_or(0))
}

/// A loss in the legend: its colour, its name, and its last value.
fn entry(sheet: &mut Rgb8, series: usize, name: &str, last: f64) {
    let (left, top) = (series % COLUMNS * (WIDTH / COLUMNS) + 3, series / COLUMNS * LINE + 3);
    for pixel in 0..LETTER * LETTER {
        dot(sheet, (left + pixel % LETTER, top + pixel / LETTER), colour(series));
    }
    write(sheet, (left + 2 * LETTER, top), &format!("{name} {last:.4}"), [0; 3]);
}

fn line(sheet: &mut Rgb8, top: usize, points: &[(usize, f64)], n_steps: usize, colour: [u8; 3]) {
    let mut columns: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for (step, loss) in points {
        let column = columns.entry(step * (WIDTH - 1) / n_steps.max(1)).or_default();
        *column = (column.0 + loss, column.1 + 1);
    }
    let means: Vec<(usize, f64)> =
        columns.into_iter().map(|(x, (sum, n))| (x, (sum / n as f64).max(1e-9).ln())).collect();
    let least = means.iter().fold(f64::INFINITY, |least, (_, y)| least.min(*y));
    let range = (means.iter().fold(f64::NEG_INFINITY, |most, (_, y)| most.max(*y)) - least).max(1e-9);
    let mut last: Option<usize> = None;
    for (x, value) in means {
        let y = top + HEIGHT - 1 - ((value - least) / range * (HEIGHT - 1) as f64) as usize;
        let from = last.unwrap_or(y);
        (from.min(y)..=from.max(y)).for_each(|y| dot(sheet, (x, y), colour));
        last = Some(y);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn report(stage: usize, step: usize, losses: &[&str]) -> StepReport {
        StepReport {
            stage,
            name: String::new(),
            step,
            n_steps: 50,
            losses: losses.iter().zip(1..).map(|(name, i)| ((*name).to_owned(), 1.0 / (step + 9 * i) as f64)).collect(),
            gradient_norm: 1.0,
            learning_rate: 1.0,
            samples_per_s: 1.0,
            seconds: 1.0,
            bad_rows: BTreeMap::new(),
        }
    }

    #[test]
    fn every_loss_has_a_colour_of_its_own() {
        assert_eq!((0..40).map(colour).collect::<BTreeSet<_>>().len(), 40);
    }

    #[test]
    fn the_legend_names_every_loss_in_its_colour() {
        let autoencoder = ["absolute", "kl", "square"];
        let joint = ["drawn", "editing", "generation", "named", "seen", "source", "understanding"];
        let first = (1..=50).map(|step| report(0, step, &autoencoder));
        let steps: Vec<StepReport> = first.chain((1..=50).map(|step| report(1, step, &joint))).collect();
        let sheet = draw(&steps);
        let top = 3 * LINE;
        assert_eq!((sheet.width as usize, sheet.height as usize), (WIDTH, top + HEIGHT));
        let counted = |rows: std::ops::Range<usize>, colour: [u8; 3]| {
            sheet.data[rows.start * WIDTH * 3..rows.end * WIDTH * 3].chunks(3).filter(|pixel| **pixel == colour).count()
        };
        for i in 0..10 {
            assert_eq!(counted(0..top, colour(i)), LETTER * LETTER, "series {i} in the legend");
            assert!(counted(top..top + HEIGHT, colour(i)) > 50, "series {i} as a curve");
        }
        // A name and a value are some dozens of dots each.
        assert!(counted(0..top, [0; 3]) > 10 * 100);
    }
}
