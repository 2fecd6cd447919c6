//! Pictures from scenes: one pass over the background, one over each object's bounding box.
//!
//! Edges are smoothed by the signed distance at the pixel's centre, which costs one evaluation a pixel; supersampling
//! would cost 16 for a difference of less than one grey level in most edge pixels.

use unipic_imaging::Rgb8;

use crate::outline::signed_distance;
use crate::{Colour, Object, Scene, Texture};

/// Width of a stripe in fractions of the image side: 4 pixels of 128, a quarter of a latent patch.
const STRIPE: f32 = 1.0 / 32.0;
/// Side of a chessboard field, likewise.
const FIELD: f32 = 1.0 / 24.0;
/// Distance of the centres of two neighbouring dots, likewise.
const DOT_PITCH: f32 = 1.0 / 16.0;
/// Radius of a dot, likewise.
const DOT_RADIUS: f32 = 1.0 / 44.0;

impl Scene {
    /// Draws the scene as a square picture of so many pixels a side (at least 1).
    #[must_use]
    pub fn draw(&self, side: usize) -> Rgb8 {
        let side = side.max(1);
        let pixels = u32::try_from(side).unwrap_or(u32::MAX);
        let mut image = Rgb8::filled(pixels, pixels, self.background.colour.rgb());
        if self.background.texture != Texture::Plain {
            let paint = Paint::new(self.background.colour, self.background.texture, (0.0, 0.0), side);
            for (at, pixel) in image.data.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&paint.at(at % side, at / side).map(|channel| (channel + 0.5) as u8));
            }
        }
        for object in &self.objects {
            draw_object(object, &mut image, side);
        }
        image
    }
}

/// Draws one object over what is there.
fn draw_object(object: &Object, image: &mut Rgb8, side: usize) {
    let scale = side as f32;
    let [left, top, right, bottom] = object.bounds();
    let paint = Paint::new(object.colour, object.texture, (left, top), side);
    let half = (object.side / 2.0 * scale).max(f32::MIN_POSITIVE);
    let (cx, cy) = (object.centre.0 * scale, object.centre.1 * scale);
    let from = |edge: f32| ((edge * scale - 1.0).max(0.0) as usize).min(side);
    let to = |edge: f32| ((edge * scale + 2.0).max(0.0) as usize).min(side);
    for y in from(top)..to(bottom) {
        for x in from(left)..to(right) {
            let at = ((x as f32 + 0.5 - cx) / half, (y as f32 + 0.5 - cy) / half);
            let cover = (0.5 - signed_distance(object.shape, at.0, at.1) * half).clamp(0.0, 1.0);
            if cover > 0.0 {
                let start = (y * side + x) * 3;
                for (sample, new) in image.data[start..start + 3].iter_mut().zip(paint.at(x, y)) {
                    let old = f32::from(*sample);
                    *sample = (old + (new - old) * cover + 0.5) as u8;
                }
            }
        }
    }
}

/// A colour or a pattern of two tones, anchored at a corner.
struct Paint {
    base: [f32; 3],
    tone: [f32; 3],
    pattern: Pattern,
}

/// How much of the second tone each pixel has. All patterns are made of one value a column and one a row, which are
/// worked out once: a picture has a hundred times as many pixels as columns.
pub(crate) struct Pattern {
    texture: Texture,
    columns: Vec<f32>,
    rows: Vec<f32>,
    /// Radius of a dot in pixels.
    radius: f32,
}

impl Paint {
    fn new(colour: Colour, texture: Texture, origin: (f32, f32), side: usize) -> Self {
        let origin = (origin.0 * side as f32, origin.1 * side as f32);
        let pattern = Pattern::new(texture, origin, (side, side), side as f32);
        Self { base: colour.rgb().map(f32::from), tone: colour.tone().map(f32::from), pattern }
    }

    /// The colour of a pixel, 0 to 255 a channel.
    fn at(&self, x: usize, y: usize) -> [f32; 3] {
        if self.pattern.texture == Texture::Plain {
            return self.base;
        }
        let share = self.pattern.at(x, y);
        std::array::from_fn(|channel| self.base[channel] + (self.tone[channel] - self.base[channel]) * share)
    }
}

impl Pattern {
    /// The pattern of a texture that begins at `origin` (in pixels, may be a fraction) over so many columns and rows;
    /// `scale` is the image side in pixels.
    pub(crate) fn new(texture: Texture, origin: (f32, f32), size: (usize, usize), scale: f32) -> Self {
        let value = |at: f32| match texture {
            Texture::Plain => 0.0,
            Texture::Striped => band(at, STRIPE * scale),
            Texture::Checked => band(at, FIELD * scale),
            Texture::Dotted => (at.rem_euclid(DOT_PITCH * scale) - DOT_PITCH * scale / 2.0).powi(2),
        };
        let values = |n: usize, from: f32| -> Vec<f32> {
            let n = if texture == Texture::Plain { 0 } else { n };
            (0..n).map(|at| value(at as f32 + 0.5 - from)).collect()
        };
        let (columns, rows) = (values(size.0, origin.0), values(size.1, origin.1));
        Self { texture, columns, rows, radius: DOT_RADIUS * scale }
    }

    /// How much of the second tone a pixel has, 0 to 1.
    pub(crate) fn at(&self, x: usize, y: usize) -> f32 {
        match self.texture {
            Texture::Plain => 0.0,
            Texture::Striped => self.rows[y],
            Texture::Checked => {
                let (a, b) = (self.columns[x], self.rows[y]);
                a + b - 2.0 * a * b
            }
            Texture::Dotted => (0.5 + self.radius - (self.columns[x] + self.rows[y]).sqrt()).clamp(0.0, 1.0),
        }
    }
}

impl Texture {
    /// After how much of the image side it repeats, along rows and columns alike; 0 for plain.
    pub(crate) fn period(self) -> f32 {
        match self {
            Self::Plain => 0.0,
            Self::Striped => 2.0 * STRIPE,
            Self::Checked => 2.0 * FIELD,
            Self::Dotted => DOT_PITCH,
        }
    }
}

/// A square wave of 0 and 1, each `width` pixels long, with its edges smoothed over one pixel.
fn band(value: f32, width: f32) -> f32 {
    let at = value.rem_euclid(2.0 * width);
    // Distance into the second band, positive inside it.
    let inside = (at - width).min(2.0 * width - at).max(-at);
    (0.5 + inside).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Background, Shape};

    fn scene(shape: Shape, texture: Texture) -> Scene {
        let object = Object { shape, colour: Colour::Red, texture, centre: (0.5, 0.5), side: 0.5 };
        Scene { background: Background::WHITE, objects: vec![object] }
    }

    #[test]
    fn a_square_covers_exactly_its_box() {
        let image = scene(Shape::Square, Texture::Plain).draw(128);
        for (at, pixel) in image.data.chunks_exact(3).enumerate() {
            let inside = (32..96).contains(&(at % 128)) && (32..96).contains(&(at / 128));
            assert_eq!(pixel, if inside { Colour::Red.rgb() } else { Colour::White.rgb() });
        }
    }

    #[test]
    fn areas_are_right_to_half_a_percent() {
        let area = |shape| {
            let image = scene(shape, Texture::Plain).draw(128);
            let blue = image.data.chunks_exact(3).map(|pixel| f64::from(255 - pixel[2])).sum::<f64>();
            blue / 215.0 / (64.0 * 64.0)
        };
        for (shape, wanted) in [
            (Shape::Circle, std::f64::consts::FRAC_PI_4),
            (Shape::Square, 1.0),
            (Shape::Triangle, 0.5),
            (Shape::Diamond, 0.5),
            (Shape::Cross, 5.0 / 9.0),
            (Shape::Star, 0.326_238),
        ] {
            assert!((area(shape) - wanted).abs() < 0.005, "{shape}: {}", area(shape));
        }
    }

    #[test]
    fn textures_mix_both_tones() {
        for &texture in &Texture::ALL[1..] {
            let image = scene(Shape::Square, texture).draw(128);
            let tone = image.data.chunks_exact(3).filter(|pixel| *pixel == Colour::Red.tone()).count();
            assert!((600..2600).contains(&tone), "{texture}: {tone} of 4096 pixels");
        }
    }

    #[test]
    fn any_side_is_drawn() {
        for side in [0, 1, 7, 64, 200] {
            let image = scene(Shape::Star, Texture::Checked).draw(side);
            assert_eq!(image.data.len(), side.max(1) * side.max(1) * 3);
        }
    }
}
