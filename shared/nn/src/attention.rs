//! Scaled dot-product attention over packed segments, grouped-query heads included.

use candle_core::{D, DType, Result, Tensor};

use crate::Ops;
use crate::cache::LayerKv;

/// How the columns of q, k and v divide into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLayout {
    /// Query heads.
    pub n_heads: usize,
    /// Key-value heads; query head h uses key-value head h / (n_heads / n_kv_heads).
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// Which keys a row of a segment sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Everything past, and the segment's own rows up to and including itself.
    Causal,
    /// Everything past and all rows of the segment.
    Full,
}

/// One sequence of a packed batch.
#[derive(Clone, Debug)]
pub struct AttentionSegment {
    /// Rows of the packed matrix that belong to it, following those of the segment before.
    pub n_rows: usize,
    /// Keys and values from earlier passes, in order of position: `[len, n_kv_heads·head_dim]` each.
    pub past: Vec<LayerKv>,
    /// Which keys its rows see.
    pub mask: Mask,
}

impl AttentionSegment {
    /// A segment without past in which every row sees every other.
    pub fn full(n_rows: usize) -> Self {
        Self { n_rows, past: Vec::new(), mask: Mask::Full }
    }
}

/// softmax(q·kᵀ / √head_dim)·v for every segment and head; softmax in f32.
///
/// Shapes: `q` `[T, n_heads·head_dim]`, `k` and `v` `[T, n_kv_heads·head_dim]` → `[T, n_heads·head_dim]`, where T is the
/// sum of the segments' rows. Keys and values of a segment's own rows need not be in `past`.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn attend(
    ops: Ops,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &[AttentionSegment],
    layout: HeadLayout,
) -> Result<Tensor> {
    let _ = ops;
    let mut first_row = 0;
    let mut out = Vec::with_capacity(segments.len());
    for segment in segments {
        let rows = |t: &Tensor| t.narrow(0, first_row, segment.n_rows);
        out.push(attend_one(&rows(q)?, &rows(k)?, &rows(v)?, segment, layout)?);
        first_row += segment.n_rows;
    }
    Tensor::cat(&out, 0)
}

fn attend_one(q: &Tensor, k: &Tensor, v: &Tensor, segment: &AttentionSegment, layout: HeadLayout) -> Result<Tensor> {
    let HeadLayout { n_heads, n_kv_heads, head_dim } = layout;
    let keys: Vec<&Tensor> = segment.past.iter().map(|(k, _)| k).chain([k]).collect();
    let values: Vec<&Tensor> = segment.past.iter().map(|(_, v)| v).chain([v]).collect();
    let (k, v) = (Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?);
    let (t, s) = (q.dim(0)?, k.dim(0)?);
    let group = n_heads / n_kv_heads;
    // [n_kv_heads, group·t, head_dim]: the queries of a group share one product with their keys.
    let q = q.reshape((t, n_kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?;
    let q = q.reshape((n_kv_heads, group * t, head_dim))?.contiguous()?;
    let heads = |x: &Tensor| x.reshape((s, n_kv_heads, head_dim))?.transpose(0, 1)?.contiguous();
    let (k, v) = (heads(&k)?, heads(&v)?);
    let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * (head_dim as f64).powf(-0.5))?;
    let scores = match segment.mask {
        Mask::Full => scores,
        Mask::Causal => {
            let mask = causal_mask(t, s, q.device())?;
            scores.reshape((n_kv_heads, group, t, s))?.broadcast_add(&mask)?.reshape((n_kv_heads, group * t, s))?
        }
    };
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(v.dtype())?;
    let y = weights.matmul(&v)?.reshape((n_kv_heads, group, t, head_dim))?;
    y.permute((2, 0, 1, 3))?.reshape((t, n_heads * head_dim))
}

/// `[t, s]`: 0 where row i may see column j ≤ i + s − t, −∞ elsewhere.
fn causal_mask(t: usize, s: usize, device: &candle_core::Device) -> Result<Tensor> {
    let past = s - t;
    let mask: Vec<f32> =
        (0..t).flat_map(|i| (0..s).map(move |j| if j <= i + past { 0.0 } else { f32::NEG_INFINITY })).collect();
    Tensor::from_vec(mask, (t, s), device)
}
