//! Where the things of a scene stand: by drawing places until all rules hold.
//!
//! Rejection keeps every allowed arrangement equally likely, and costs microseconds at this number of objects.

use crate::{Draws, Place, Relation};

/// Least free space between two bounding boxes in fractions of the image side: 6 pixels of 128, so that blurred
/// objects stay two.
const GAP_MIN: f32 = 0.045;

/// Most of the image's border that bounding boxes may touch, as a share: the border is where a background is read.
const BORDER_MAX: f32 = 0.4;

/// What a layout must keep to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Top left corners stand on multiples of this fraction of the image side; 0 is anywhere.
    pub(crate) lattice: f32,
    /// Centres stand on the quarters of the image instead, where [`suggested`] puts them.
    pub(crate) on_quarters: bool,
    /// Where the first object is.
    pub(crate) place: Option<Place>,
    /// How the first object stands to the second.
    pub(crate) relation: Option<Relation>,
}

/// Centres for boxes of the given sides, all in fractions of the image side; `None` when no try succeeded. `fixed` are
/// boxes (centre, side) that stand already.
pub(crate) fn arrange(
    draws: &mut Draws,
    sides: &[f32],
    fixed: &[((f32, f32), f32)],
    rules: Rules,
) -> Option<Vec<(f32, f32)>> {
    const TRIES: usize = 60;
    (0..TRIES).find_map(|_| try_once(draws, sides, fixed, rules))
}

/// The one arrangement that a prompt's number of objects, place and relation suggest; `None` beyond four objects.
pub(crate) fn suggested(n_objects: usize, place: Option<Place>, relation: Option<Relation>) -> Option<Vec<(f32, f32)>> {
    // Medium boxes, jittered, stay clear of each other and of the border.
    const LOW: f32 = 0.25;
    const MIDDLE: f32 = 0.5;
    const HIGH: f32 = 0.75;
    let across = [(LOW, MIDDLE), (HIGH, MIDDLE)];
    let down = [(MIDDLE, LOW), (MIDDLE, HIGH)];
    let centres = match (n_objects, place, relation) {
        (1, Some(Place::Left), _) => vec![across[0]],
        (1, Some(Place::Right), _) => vec![across[1]],
        (1, Some(Place::Top), _) => vec![down[0]],
        (1, Some(Place::Bottom), _) => vec![down[1]],
        (1, ..) => vec![(MIDDLE, MIDDLE)],
        (2, _, Some(Relation::Above)) => down.to_vec(),
        (2, _, Some(Relation::Below)) => vec![down[1], down[0]],
        (2, _, Some(Relation::RightOf)) => vec![across[1], across[0]],
        (2, ..) => across.to_vec(),
        (3, ..) => vec![(LOW, LOW), (HIGH, LOW), (MIDDLE, HIGH)],
        (4, ..) => vec![(LOW, LOW), (HIGH, LOW), (LOW, HIGH), (HIGH, HIGH)],
        _ => return None,
    };
    Some(centres)
}

/// Whether all centres stand on quarters of the image.
pub(crate) fn is_on_quarters(mut centres: impl Iterator<Item = (f32, f32)>) -> bool {
    let is_quarter = |x: f32| (x * 4.0).fract().abs() < 1e-6;
    centres.all(|(x, y)| is_quarter(x) && is_quarter(y))
}

fn try_once(draws: &mut Draws, sides: &[f32], fixed: &[((f32, f32), f32)], rules: Rules) -> Option<Vec<(f32, f32)>> {
    const TRIES: usize = 12;
    let mut boxes = fixed.to_vec();
    for (at, &side) in sides.iter().enumerate() {
        let centre = (0..TRIES).find_map(|_| {
            let centre = (coordinate(draws, side, rules), coordinate(draws, side, rules));
            let placed = at != 0 || rules.place.is_none_or(|place| place.clearly_holds(centre));
            let apart = boxes.iter().all(|&other| gap((centre, side), other) >= GAP_MIN);
            (placed && apart).then_some(centre)
        })?;
        boxes.push((centre, side));
    }
    let new = &boxes[fixed.len()..];
    let related = rules.relation.is_none_or(|relation| new.len() < 2 || relation.clearly_holds(new[0].0, new[1].0));
    (related && border_share(&boxes) <= BORDER_MAX).then(|| new.iter().map(|&(centre, _)| centre).collect())
}

/// A random centre along one axis for a box of a side, in fractions of the image side.
fn coordinate(draws: &mut Draws, side: f32, rules: Rules) -> f32 {
    if rules.on_quarters {
        return (1 + draws.below(3)) as f32 * 0.25;
    }
    let (room, lattice) = ((1.0 - side).max(0.0), rules.lattice);
    let corner = if lattice > 0.0 {
        // Sides and lattices are rounded: a box that fits but for 1e-5 of a step fits.
        let n_steps = (room / lattice + 1e-5) as usize + 1;
        draws.below(n_steps) as f32 * lattice
    } else {
        draws.between(0.0, room)
    };
    corner + side / 2.0
}

/// Free space between two boxes along the axis that has more of it.
fn gap(a: ((f32, f32), f32), b: ((f32, f32), f32)) -> f32 {
    let reach = (a.1 + b.1) / 2.0;
    ((a.0.0 - b.0.0).abs() - reach).max((a.0.1 - b.0.1).abs() - reach)
}

/// Share of the image's border that boxes touch, within a pixel and a half of 128.
fn border_share(boxes: &[((f32, f32), f32)]) -> f32 {
    const NEAR: f32 = 1.5 / 128.0;
    let touched = |&((x, y), side): &((f32, f32), f32)| {
        let half = side / 2.0;
        let sides = [x - half, y - half, 1.0 - x - half, 1.0 - y - half];
        sides.iter().filter(|&&free| free < NEAR).count() as f32 * side / 4.0
    };
    boxes.iter().map(touched).sum()
}
