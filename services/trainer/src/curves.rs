//! Loss curves as a picture, without axes' labels: the numbers stand in the metrics.

use std::collections::BTreeMap;

use unipic_imaging::Rgb8;

use crate::report::StepReport;

const WIDTH: usize = 800;
const HEIGHT: usize = 300;
const COLOURS: [[u8; 3]; 6] =
    [[31, 119, 180], [214, 39, 40], [44, 160, 44], [148, 103, 189], [255, 127, 14], [90, 90, 90]];

/// One panel for each stage, from left to right all steps, each loss from its least to its largest value on a logarithmic
/// scale; a vertical line where a stage begins. Losses are averaged over neighbouring steps.
pub(crate) fn draw(steps: &[StepReport]) -> Rgb8 {
    let mut sheet = Rgb8::filled(WIDTH as u32, HEIGHT as u32, [255; 3]);
    let mut series: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
    for (i, report) in steps.iter().enumerate() {
        for (name, loss) in &report.losses {
            series.entry(name).or_default().push((i, *loss));
        }
        if i > 0 && steps[i - 1].stage != report.stage {
            let x = i * (WIDTH - 1) / steps.len();
            (0..HEIGHT).for_each(|y| dot(&mut sheet, x, y, [200; 3]));
        }
    }
    for ((_, points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        line(&mut sheet, points, steps.len(), *colour);
    }
    sheet
}

fn line(sheet: &mut Rgb8, points: &[(usize, f64)], n_steps: usize, colour: [u8; 3]) {
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
        let y = HEIGHT - 1 - ((value - least) / range * (HEIGHT - 1) as f64) as usize;
        let from = last.unwrap_or(y);
        (from.min(y)..=from.max(y)).for_each(|y| dot(sheet, x, y, colour));
        last = Some(y);
    }
}

fn dot(sheet: &mut Rgb8, x: usize, y: usize, colour: [u8; 3]) {
    let at = (y * WIDTH + x) * 3;
    if let Some(pixel) = sheet.data.get_mut(at..at + 3) {
        pixel.copy_from_slice(&colour);
    }
}
