//! The outline of every shape as a signed distance, which gives both exact-looking edges and the judge's templates.

use crate::Shape;

/// Corners of the right half of the star, from the top to the bottom centre; the left half is its mirror image. A regular
/// five-pointed star, stretched to fill [-1, 1] x [-1, 1] (y downwards).
const STAR: [(f32, f32); 6] = [
    (0.0, -1.0),
    (0.236_068, -0.236_068),
    (1.0, -0.236_068),
    (0.381_966, 0.236_068),
    (0.618_034, 1.0),
    (0.0, 0.527_864),
];

/// Half the width of a cross's arms.
const ARM: f32 = 1.0 / 3.0;

/// Distance of a point to a shape's outline in the frame where its bounding box is [-1, 1] x [-1, 1], y downwards:
/// negative inside. Exact near straight edges and circles; past convex corners it is a lower bound, which only rounds
/// the outermost half pixel.
#[must_use]
pub fn signed_distance(shape: Shape, x: f32, y: f32) -> f32 {
    let x = x.abs();
    match shape {
        // Not `hypot`, which guards against an overflow that cannot be here and costs ten times as much.
        Shape::Circle => (x * x + y * y).sqrt() - 1.0,
        Shape::Square => x.max(y.abs()) - 1.0,
        Shape::Diamond => (x + y.abs() - 1.0) * std::f32::consts::FRAC_1_SQRT_2,
        Shape::Triangle => (y - 1.0).max((2.0 * x - y - 1.0) / 5f32.sqrt()),
        Shape::Cross => {
            let y = y.abs();
            (x - 1.0).max(y - ARM).min((x - ARM).max(y - 1.0))
        }
        Shape::Star => star(x, y),
    }
}

/// Signed distance to the star for x ≥ 0: nearest edge, with the sign by counting crossings of the ray to the right.
fn star(x: f32, y: f32) -> f32 {
    let (mut nearest, mut inside) = (f32::MAX, false);
    for edge in STAR.windows(2) {
        let ((ax, ay), (bx, by)) = (edge[0], edge[1]);
        let (ex, ey, px, py) = (bx - ax, by - ay, x - ax, y - ay);
        let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        let (dx, dy) = (px - along * ex, py - along * ey);
        nearest = nearest.min(dx * dx + dy * dy);
        if (ay > y) != (by > y) && x < ex * py / ey + ax {
            inside = !inside;
        }
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_fills_its_box() {
        for &shape in Shape::ALL {
            let n = 401;
            let at = |i: i32| i as f32 / (n - 1) as f32 * 2.0 - 1.0;
            let inside: Vec<_> = (0..n * n)
                .map(|i| (at(i % n), at(i / n)))
                .filter(|&(x, y)| signed_distance(shape, x, y) <= 1e-4)
                .collect();
            let reach = |value: fn(&(f32, f32)) -> f32| inside.iter().map(value).fold(f32::MIN, f32::max);
            for side in [reach(|p| p.0), reach(|p| -p.0), reach(|p| p.1), reach(|p| -p.1)] {
                assert!((side - 1.0).abs() < 0.01, "{shape} reaches {side}");
            }
            assert!(signed_distance(shape, 0.0, 0.0) < 0.0 && signed_distance(shape, 1.2, 1.2) > 0.0);
        }
    }
}
