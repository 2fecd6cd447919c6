//! A picture made ready for the judge: small, a little smoothed, and read as colours of the world.
//!
//! A colour with its second tone is a line in RGB: textures, blurred or not, lie along it. So a pixel belongs to the
//! colour whose line is nearest, and how far along the line it lies tells the texture.

use std::sync::LazyLock;

use unipic_imaging::Rgb8;

use crate::Colour;

/// Longest side that is looked at, in pixels; larger pictures are averaged down.
const SIDE_MAX: usize = 256;

/// Noise (standard deviation in grey levels) from which a picture is smoothed.
const NOISY: f32 = 5.0;

/// The pixels, channels 0 to 255.
pub(super) struct Pixels {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: Vec<[f32; 3]>,
}

impl Pixels {
    /// Averages whole blocks so that no side is longer than [`SIDE_MAX`], and 3 x 3 neighbourhoods where the picture is
    /// noisy, which takes two thirds off the noise of single pixels. Clean pictures are left sharp: a star of 16 pixels
    /// would lose its points.
    pub(super) fn read(image: &Rgb8) -> Self {
        let (width, height) = (image.width as usize, image.height as usize);
        let block = width.max(height).div_ceil(SIDE_MAX).max(1);
        let reduced = |n: usize| n.div_ceil(block);
        let get = |x: usize, y: usize| {
            let start = (y * width + x) * 3;
            std::array::from_fn(|channel| image.data.get(start + channel).copied().map_or(0.0, f32::from))
        };
        let small = Self::new(reduced(width), reduced(height), |x, y| {
            if block == 1 {
                return get(x, y);
            }
            let (columns, rows) = (x * block..((x + 1) * block).min(width), y * block..((y + 1) * block).min(height));
            mean(rows.flat_map(|y| columns.clone().map(move |x| (x, y))).map(|(x, y)| get(x, y)))
        });
        if small.noise() < NOISY { small } else { small.smoothed() }
    }

    fn smoothed(&self) -> Self {
        Self::new(self.width, self.height, |x, y| {
            let columns = x.saturating_sub(1)..(x + 2).min(self.width);
            let rows = y.saturating_sub(1)..(y + 2).min(self.height);
            mean(rows.flat_map(|y| columns.clone().map(move |x| y * self.width + x)).map(|at| self.rgb[at]))
        })
    }

    /// The noise of single pixels as a standard deviation in grey levels, from the median difference of a pixel's green to
    /// the mean of its neighbours in the row: edges are fewer than half of the pixels.
    fn noise(&self) -> f32 {
        let inner = (0..self.rgb.len()).filter(|at| (1..self.width.max(1) - 1).contains(&(at % self.width)));
        let green = |at: usize| self.rgb[at][1];
        let mut steps: Vec<f32> = inner.map(|at| (green(at) - (green(at - 1) + green(at + 1)) / 2.0).abs()).collect();
        if steps.is_empty() {
            return 0.0;
        }
        let middle = steps.len() / 2;
        let (_, median, _) = steps.select_nth_unstable_by(middle, f32::total_cmp);
        // The median of |normal| is 0.6745 deviations, and the difference has 1.5 times a pixel's variance.
        *median / 0.6745 / 1.5f32.sqrt()
    }

    fn new(width: usize, height: usize, colour: impl Fn(usize, usize) -> [f32; 3]) -> Self {
        let mut rgb = Vec::with_capacity(width * height);
        for y in 0..height {
            rgb.extend((0..width).map(|x| colour(x, y)));
        }
        Self { width, height, rgb }
    }

    /// The nearest colour of every pixel.
    pub(super) fn nearest(&self) -> Vec<Colour> {
        self.rgb.iter().map(|pixel| NEAREST[cell(*pixel)]).collect()
    }
}

/// Steps that a channel is cut into for the table of nearest colours: four grey levels each, less than any noise.
const STEPS: usize = 64;

/// The nearest colour of every cell of RGB.
static NEAREST: LazyLock<Vec<Colour>> = LazyLock::new(|| {
    let lines: Vec<(Colour, Line)> = Colour::ALL.iter().map(|&colour| (colour, Line::of(colour))).collect();
    let middle = |step: usize| (step as f32 + 0.5) * 256.0 / STEPS as f32 - 0.5;
    let nearest = |at: usize| {
        let pixel = [at / STEPS / STEPS, at / STEPS % STEPS, at % STEPS].map(middle);
        let distance = |(colour, line): &(Colour, Line)| (*colour, line.distance_squared(pixel));
        lines.iter().map(distance).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(Colour::White, |best| best.0)
    };
    (0..STEPS * STEPS * STEPS).map(nearest).collect()
});

/// The cell of a pixel.
fn cell(pixel: [f32; 3]) -> usize {
    let step = |channel: f32| ((channel * (STEPS as f32 / 256.0)) as usize).min(STEPS - 1);
    pixel.iter().fold(0, |cell, &channel| cell * STEPS + step(channel))
}

/// The mean of some colours; black where there are none.
fn mean(colours: impl Iterator<Item = [f32; 3]>) -> [f32; 3] {
    let (mut sum, mut n) = ([0f32; 3], 0f32);
    for colour in colours {
        for (total, channel) in sum.iter_mut().zip(colour) {
            *total += channel;
        }
        n += 1.0;
    }
    sum.map(|total| total / n.max(1.0))
}

/// The line in RGB from a colour to its second tone.
pub(super) struct Line {
    from: [f32; 3],
    along: [f32; 3],
    length_squared: f32,
}

impl Line {
    pub(super) fn of(colour: Colour) -> Self {
        let (from, to) = (colour.rgb().map(f32::from), colour.tone().map(f32::from));
        let along: [f32; 3] = std::array::from_fn(|channel| to[channel] - from[channel]);
        Self { from, along, length_squared: along.iter().map(|value| value * value).sum() }
    }

    /// How far along the line a pixel lies: 0 at the colour, 1 at its tone.
    pub(super) fn share(&self, pixel: [f32; 3]) -> f32 {
        let dot: f32 = (0..3).map(|channel| (pixel[channel] - self.from[channel]) * self.along[channel]).sum();
        (dot / self.length_squared).clamp(0.0, 1.0)
    }

    /// Squared distance of a pixel to the line.
    pub(super) fn distance_squared(&self, pixel: [f32; 3]) -> f32 {
        let share = self.share(pixel);
        (0..3).map(|channel| (pixel[channel] - self.from[channel] - share * self.along[channel]).powi(2)).sum()
    }
}
