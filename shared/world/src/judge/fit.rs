//! Which shape a set of pixels has and which texture its surface.

use std::sync::LazyLock;

use super::mask::Mask;
use super::pixels::{Line, Pixels};
use crate::drawing::Pattern;
use crate::{Colour, Shape, Texture, signed_distance};

/// The best template of a mask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    pub(super) shape: Shape,
    /// Intersection over union with the template, 0 to 1.
    pub(super) overlap: f32,
    /// The template's box: left, top, right, bottom in pixels.
    pub(super) bounds: [f32; 4],
}

/// Samples along one side of a template.
const TABLE: usize = 128;

/// Every shape's signed distance over its box grown by a half, `[shape][row][column]`: looked up a hundred thousand times
/// an object, worked out once.
static TEMPLATES: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let at = |place: usize| ((place as f32 + 0.5) / TABLE as f32 * 2.0 - 1.0) * REACH;
    let table = |&shape: &Shape| (0..TABLE * TABLE).map(move |i| signed_distance(shape, at(i % TABLE), at(i / TABLE)));
    Shape::ALL.iter().flat_map(table).collect()
});

/// How far from the centre the templates reach, in halves of the box.
const REACH: f32 = 1.5;

/// The shape that overlaps a mask best. Each is stretched to the mask's bounding box and to boxes up to a quarter wider
/// and higher, since blur takes the tips off stars and triangles.
pub(super) fn fit_shape(mask: &Mask) -> Option<Fit> {
    /// What a box grows by at each edge, in shares of its side.
    const GROWN: [f32; 4] = [0.0, 0.03, 0.07, 0.12];
    /// Growth gains less overlap than that; shapes further behind are out.
    const BEHIND: f32 = 0.3;
    let [left, top, right, bottom] = mask.bounds()?.map(|edge| edge as f32);
    let grown = |shape: Shape, x: f32, y: f32| {
        let (dx, dy) = (x * (right - left), y * (bottom - top));
        let bounds = [left - dx, top - dy, right + dx, bottom + dy];
        Fit { shape, overlap: overlap(mask, shape, bounds), bounds }
    };
    let tight: Vec<Fit> = Shape::ALL.iter().map(|&shape| grown(shape, 0.0, 0.0)).collect();
    let mut best = *tight.iter().max_by(|a, b| a.overlap.total_cmp(&b.overlap))?;
    let enough = best.overlap - BEHIND;
    for fit in tight.iter().filter(|fit| fit.overlap >= enough) {
        for (x, y) in GROWN.iter().flat_map(|&x| GROWN.iter().map(move |&y| (x, y))).skip(1) {
            let other = grown(fit.shape, x, y);
            if other.overlap > best.overlap {
                best = other;
            }
        }
    }
    Some(best)
}

/// Intersection over union of a mask and a shape stretched to a box (left, top, right, bottom in pixels). Pixels within
/// half a pixel of the template's edge count as common: on which side they fall is chance, and stars of 30 pixels are
/// a third edge.
fn overlap(mask: &Mask, shape: Shape, [left, top, right, bottom]: [f32; 4]) -> f32 {
    let (width, height) = (right - left, bottom - top);
    let edge = 1.0 / width.min(height).max(2.0);
    // Large objects are looked at in every second or third pixel; thirty a side tell shapes apart.
    let step = (width.max(height) / 30.0).max(1.0) as usize;
    let table = &TEMPLATES[shape as usize * TABLE * TABLE..][..TABLE * TABLE];
    // From a pixel's centre to a place in the table.
    let place = |value: usize, from: f32, length: f32| {
        let unit = ((value as f32 + 0.5 - from) / length * 2.0 - 1.0) / REACH;
        (((unit + 1.0) / 2.0 * TABLE as f32).max(0.0) as usize).min(TABLE - 1)
    };
    let columns: Vec<(usize, usize)> = (left.max(0.0) as usize..(right.ceil() as usize).min(mask.width))
        .step_by(step)
        .map(|x| (x, place(x, left, width)))
        .collect();
    let (mut common, mut either) = (0usize, 0usize);
    for y in (top.max(0.0) as usize..(bottom.ceil() as usize).min(mask.height)).step_by(step) {
        let row = place(y, top, height) * TABLE;
        for &(x, column) in &columns {
            let distance = table[row + column];
            let (inside, covered) = (distance <= 0.0, mask.has(x, y));
            common += usize::from(inside && covered || inside != covered && distance.abs() < edge);
            either += usize::from(inside || covered);
        }
    }
    common as f32 / either.max(1) as f32
}

/// The texture of a surface of a colour, from pixels that lie wholly on it; `None` where it is uneven but like none of
/// the textures.
pub(super) fn fit_texture(pixels: &Pixels, surface: &Mask, colour: Colour) -> Option<Texture> {
    /// Spread of the tone, 0 to 0.5, from which a surface is not plain.
    const UNEVEN: f32 = 0.2;
    /// Least correlation with a pattern.
    const ALIKE: f32 = 0.5;
    /// Enough pixels to tell.
    const SAMPLES: usize = 3000;
    let line = Line::of(colour);
    let step = surface.count().div_ceil(SAMPLES).max(1);
    let tones: Vec<(usize, usize, f32)> = surface
        .pixels()
        .step_by(step)
        .map(|at| (at % pixels.width, at / pixels.width, line.share(pixels.rgb[at])))
        .collect();
    let n = tones.len().max(1) as f32;
    let mean = tones.iter().map(|tone| tone.2).sum::<f32>() / n;
    let spread = (tones.iter().map(|tone| (tone.2 - mean).powi(2)).sum::<f32>() / n).sqrt();
    if spread < UNEVEN {
        return Some(Texture::Plain);
    }
    let likeness = |&texture: &Texture| (texture, best_phase(texture, &tones, (mean, spread), pixels));
    let best = Texture::ALL[1..].iter().map(likeness).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (best.1 >= ALIKE).then_some(best.0)
}

/// The highest correlation, -1 to 1, of tones (x, y, tone) with a texture, wherever it begins.
fn best_phase(texture: Texture, tones: &[(usize, usize, f32)], (mean, spread): (f32, f32), pixels: &Pixels) -> f32 {
    let scale = pixels.width.max(pixels.height) as f32;
    let period = (texture.period() * scale).ceil() as usize;
    let columns = if texture == Texture::Striped { 1 } else { period };
    let mut best = -1f32;
    for (dx, dy) in (0..columns).flat_map(|dx| (0..period).map(move |dy| (dx as f32, dy as f32))) {
        let pattern = Pattern::new(texture, (dx, dy), (pixels.width, pixels.height), scale);
        let (mut sum, mut squares, mut product) = (0f32, 0f32, 0f32);
        for &(x, y, tone) in tones {
            let wanted = pattern.at(x, y);
            sum += wanted;
            squares += wanted * wanted;
            product += wanted * (tone - mean);
        }
        let n = tones.len().max(1) as f32;
        let wanted_spread = (squares / n - (sum / n).powi(2)).max(1e-6).sqrt();
        best = best.max(product / n / (wanted_spread * spread.max(1e-6)));
    }
    best
}
