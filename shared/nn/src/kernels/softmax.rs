//! The softmax of one row of scores against one tile of keys.

use super::lanes::Lanes;
use super::pointwise::exp;

/// Turns a row's scores into weights e^(score − maximum), zero from `visible` on; gives the maximum and the sum.
#[inline(always)]
pub(crate) fn soften<L: Lanes>(scores: &mut [f32], visible: usize) -> (f32, f32) {
    scores[visible..].fill(f32::NEG_INFINITY);
    if visible == 0 {
        scores.fill(0.0);
        return (f32::NEG_INFINITY, 0.0);
    }
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in scores.chunks_exact(16) {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    let max = lanes.iter().fold(f32::NEG_INFINITY, |max, &lane| max.max(lane));
    let mut sums = [0.0_f32; 16];
    for chunk in scores.chunks_exact_mut(16) {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *score = exp::<L>(*score - max);
            *sum += *score;
        }
    }
    (max, sums.iter().sum())
}
