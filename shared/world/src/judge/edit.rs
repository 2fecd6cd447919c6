//! Judging edits: was the instruction followed, and was everything else left alone.

use serde::{Deserialize, Serialize};
use unipic_imaging::Rgb8;

use super::{Seen, SeenObject, misfits, see};
use crate::{EditKind, EditSample, Object};

/// How far an object that should stay may be from its place, in fractions of the image side.
const STAYED: f32 = 0.08;

/// Margin around touched boxes, in fractions of the image side: two pixels of 128, for blurred edges.
const MARGIN: f32 = 2.0 / 128.0;

/// Whether an edit did what was asked and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditVerdict {
    /// Whether the result shows what was asked for, with every other object at its place.
    pub right: bool,
    /// Mean absolute difference of channels, 0 to 255, over the pixels that should not have changed: those outside the
    /// boxes of what is touched, or those inside the objects when the background changes. 255 when the sizes differ, 0
    /// when every pixel is touched.
    pub untouched_mean_error: f64,
    /// Why not right, in words; empty when right.
    pub reasons: Vec<String>,
    /// What was seen in the result.
    pub seen: Seen,
}

/// Holds the result of an edit against the sample, and its pixels against those of the picture that was edited.
#[must_use]
pub fn judge_edit(before: &Rgb8, result: &Rgb8, sample: &EditSample) -> EditVerdict {
    let seen = see(result);
    let mut reasons = misfits(&seen, &sample.claim_after);
    let stays = |object: &&Object| sample.before.objects.contains(object);
    for object in sample.after.objects.iter().filter(stays) {
        let at_its_place = |other: &SeenObject| {
            let (dx, dy) = (other.centre.0 - object.centre.0, other.centre.1 - object.centre.1);
            is_kind(other, object) && dx.abs() <= STAYED && dy.abs() <= STAYED
        };
        if !seen.objects.iter().any(at_its_place) {
            reasons.push(format!("{} is not where it was", object.wanted().text()));
        }
    }
    let untouched_mean_error = untouched_error(before, result, sample, &seen);
    EditVerdict { right: reasons.is_empty(), untouched_mean_error, reasons, seen }
}

fn is_kind(seen: &SeenObject, object: &Object) -> bool {
    seen.shape == Some(object.shape) && seen.colour == Some(object.colour)
}

fn untouched_error(before: &Rgb8, result: &Rgb8, sample: &EditSample, seen: &Seen) -> f64 {
    if (before.width, before.height) != (result.width, result.height) || before.data.len() != result.data.len() {
        return 255.0;
    }
    let (mut sum, mut n) = (0u64, 0u64);
    let is_free = untouched(sample, seen);
    let (width, height) = (before.width as usize, before.height as usize);
    for (at, (old, new)) in before.data.chunks_exact(3).zip(result.data.chunks_exact(3)).enumerate() {
        let (x, y) = (at % width, at / width);
        if is_free((x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32) {
            sum += old.iter().zip(new).map(|(&old, &new)| u64::from(old.abs_diff(new))).sum::<u64>();
            n += 3;
        }
    }
    if n == 0 { 0.0 } else { sum as f64 / n as f64 }
}

/// A test for points (x, y) in fractions of the image side: whether an edit should leave them alone. What an edit adds
/// or moves may stand elsewhere than in the sample, so the box where it is seen counts as touched too.
fn untouched(sample: &EditSample, seen: &Seen) -> impl Fn(f32, f32) -> bool {
    let background = sample.kind == EditKind::Background;
    let mut boxes = sample.touched.clone();
    if matches!(sample.kind, EditKind::Add | EditKind::Move) {
        let new = sample.after.objects.iter().filter(|object| !sample.before.objects.contains(object));
        boxes.extend(new.flat_map(|object| seen.objects.iter().filter(|s| is_kind(s, object)).map(|s| s.bbox)));
    }
    let objects = sample.before.objects.clone();
    move |x, y| {
        if background {
            // Inside an object by the margin; half a side is the unit of its distance.
            return objects.iter().any(|object| {
                let half = object.side / 2.0;
                let at = ((x - object.centre.0) / half, (y - object.centre.1) / half);
                crate::signed_distance(object.shape, at.0, at.1) * half <= -MARGIN
            });
        }
        let within = |from: f32, to: f32, value: f32| value >= from - MARGIN && value <= to + MARGIN;
        !boxes.iter().any(|&[left, top, right, bottom]| within(left, right, x) && within(top, bottom, y))
    }
}
