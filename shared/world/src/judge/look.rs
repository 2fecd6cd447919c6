//! What is in a picture: its background and its objects.

use serde::{Deserialize, Serialize};
use unipic_imaging::Rgb8;

use super::fit::{fit_shape, fit_texture};
use super::mask::Mask;
use super::pixels::{Line, Pixels};
use crate::{Colour, Shape, Texture, Thing};

/// Least overlap (intersection over union) with a template at which a shape counts as known.
pub const MIN_CONFIDENCE: f32 = 0.75;

/// Share of the image below which a spot is a speck and no object: a quarter of the smallest star.
const SPECK: f32 = 0.005;

/// Mean distance in RGB to the nearest colour above which an object has no colour of this world.
const OFF_COLOUR: f32 = 60.0;

/// Ratio of a box's sides above which the object is none of the shapes, which are all as wide as high.
const ASPECT_MAX: f32 = 1.4;

/// What was seen in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Colour of the background; `None` where less than half of the border has one colour.
    pub background: Option<Colour>,
    /// Texture of the background; `None` where it is uneven but like none.
    pub background_texture: Option<Texture>,
    /// The objects, largest first.
    pub objects: Vec<SeenObject>,
}

/// An object that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SeenObject {
    /// Its shape; `None` where no template overlaps it by [`MIN_CONFIDENCE`].
    pub shape: Option<Shape>,
    /// Its colour; `None` where it is far from all.
    pub colour: Option<Colour>,
    /// Its texture; `None` where it is uneven but like none.
    pub texture: Option<Texture>,
    /// Centre (x, y) of the bounding box in fractions of width and height.
    pub centre: (f32, f32),
    /// Left, top, right and bottom of the best template's box, likewise.
    pub bbox: [f32; 4],
    /// Overlap (intersection over union, 0 to 1) with the best template.
    pub confidence: f32,
}

impl From<&SeenObject> for Thing {
    fn from(object: &SeenObject) -> Self {
        let [left, top, right, bottom] = object.bbox;
        let side = (right - left + bottom - top) / 2.0;
        Self { shape: object.shape, colour: object.colour, texture: object.texture, side, centre: object.centre }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for object in &self.objects {
            let texture = object.texture.map_or("uneven", Texture::word);
            let colour = object.colour.map_or("odd", Colour::word);
            let (x, y) = object.centre;
            write!(f, "{texture} {colour} {} at ({x:.2}, {y:.2}), ", object.shape.map_or("something", Shape::word))?;
        }
        let texture = self.background_texture.map_or("uneven", Texture::word);
        write!(f, "{texture} {} background", self.background.map_or("mixed", Colour::word))
    }
}

/// Looks at a picture of any size. Blur of a few pixels, noise and specks are put up with; two objects of one colour
/// that touch are seen as one of no shape.
#[must_use]
pub fn see(image: &Rgb8) -> Seen {
    let pixels = Pixels::read(image);
    let (width, height) = (pixels.width, pixels.height);
    let colours = pixels.nearest();
    let (background, is_clear) = border_colour(&colours, width, height);
    let foreground = Mask::new(width, height, |x, y| colours[y * width + x] != background);
    let least = ((SPECK * (width * height) as f32) as usize).max(4);
    // A closing by one pixel heals what blur cut; specks go with the small components.
    let whole = foreground.dilated(1).eroded(1).components(least);
    let parts = whole.iter().flat_map(|part| split(part, &colours, least));
    let objects: Vec<SeenObject> = parts.filter_map(|part| describe(&part, &pixels, &colours, background)).collect();
    let behind = foreground.dilated(2).inverted();
    let background_texture = fit_texture(&pixels, &behind, background);
    Seen { background: is_clear.then_some(background), background_texture, objects }
}

/// The most frequent colour of the image's frame, and whether half of the frame has it. Objects of this world cover at
/// most two fifths of the frame.
fn border_colour(colours: &[Colour], width: usize, height: usize) -> (Colour, bool) {
    let frame = (width.max(height) / 40).max(1);
    let is_frame = |x: usize, y: usize| x.min(y) < frame || x + frame >= width || y + frame >= height;
    let votes = Mask::new(width, height, is_frame);
    let (colour, share) = most_frequent(votes.pixels().map(|at| colours[at]));
    (colour, share >= 0.5)
}

/// The most frequent colour and its share; white where there are none.
fn most_frequent(colours: impl Iterator<Item = Colour>) -> (Colour, f32) {
    let mut counts = [0usize; 11];
    colours.for_each(|colour| counts[colour as usize] += 1);
    let all = counts.iter().sum::<usize>().max(1) as f32;
    let best = (0..counts.len()).max_by_key(|&at| counts[at]).unwrap_or_default();
    let colour = if counts[best] == 0 { Colour::White } else { Colour::ALL[best] };
    (colour, counts[best] as f32 / all)
}

/// Parts of one colour each, where a component has several that are too thick to be blurred edges: objects that touch.
fn split(component: &Mask, colours: &[Colour], least: usize) -> Vec<Mask> {
    let (width, height) = (component.width, component.height);
    let of = |colour: Colour| Mask::new(width, height, |x, y| component.has(x, y) && colours[y * width + x] == colour);
    let is_thick = |part: &Mask| part.eroded(2).count() * 3 >= least;
    let mut counts = [0usize; 11];
    component.pixels().for_each(|at| counts[colours[at] as usize] += 1);
    let frequent = Colour::ALL.iter().filter(|&&colour| counts[colour as usize] >= least);
    let parts: Vec<Mask> = frequent.flat_map(|&colour| of(colour).components(least)).filter(is_thick).collect();
    if parts.len() < 2 { vec![component.clone()] } else { parts }
}

/// Reads one component as an object.
fn describe(component: &Mask, pixels: &Pixels, colours: &[Colour], background: Colour) -> Option<SeenObject> {
    let inside = [2, 1].map(|steps| component.eroded(steps)).into_iter().find(|inside| inside.count() >= 16);
    let inside = inside.unwrap_or_else(|| component.clone());
    let (colour, _) = most_frequent(inside.pixels().map(|at| colours[at]));
    let (mine, behind) = (Line::of(colour), Line::of(background));
    // Blurred edges pass through other colours: the edge is where the object becomes more likely than the background.
    let (width, height, near) = (pixels.width, pixels.height, component.dilated(2));
    let is_mine = |x: usize, y: usize| {
        let pixel = pixels.rgb[y * width + x];
        near.has(x, y) && mine.distance_squared(pixel) < behind.distance_squared(pixel)
    };
    let edged = Mask::new(width, height, is_mine).components(4).into_iter().next().unwrap_or_else(|| component.clone());
    let fit = fit_shape(&edged)?;
    let [left, top, right, bottom] = fit.bounds;
    let aspect = (right - left) / (bottom - top);
    let is_known = fit.overlap >= MIN_CONFIDENCE && (1.0 / ASPECT_MAX..=ASPECT_MAX).contains(&aspect);
    let off = inside.pixels().map(|at| mine.distance_squared(pixels.rgb[at]).sqrt()).sum::<f32>();
    let is_coloured = off / inside.count().max(1) as f32 <= OFF_COLOUR;
    let (w, h) = (width as f32, height as f32);
    Some(SeenObject {
        shape: is_known.then_some(fit.shape),
        colour: is_coloured.then_some(colour),
        texture: fit_texture(pixels, &inside, colour),
        centre: ((left + right) / 2.0 / w, (top + bottom) / 2.0 / h),
        bbox: [left / w, top / h, right / w, bottom / h],
        confidence: fit.overlap,
    })
}
