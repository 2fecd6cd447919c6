//! Scaled dot-product attention over packed segments, grouped-query heads included.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::cache::LayerKv;
use crate::kernels;
use crate::kernels::tensor::{is_cpu_f32, values};
use crate::{Dropout, Ops, grad};

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
    check(q, k, v, segments, layout)?;
    let past_fits = segments.iter().flat_map(|s| &s.past).all(|(k, v)| is_cpu_f32(k) && is_cpu_f32(v));
    if ops == Ops::Inference && past_fits && [q, k, v].into_iter().all(is_cpu_f32) {
        return attend_fused(q, Some([k, v]), segments, layout);
    }
    if ops == Ops::Training && grad::takes([q, k, v]) && segments.iter().all(|s| s.past.is_empty()) {
        return grad::attention::attend(q, k, v, segments, layout);
    }
    attend_segments(ops, q, Some([k, v]), segments, layout, None)
}

/// The composed form, segment after segment; `own` are keys and values of the rows themselves, if they bring any.
fn attend_segments(
    ops: Ops,
    q: &Tensor,
    own: Option<[&Tensor; 2]>,
    segments: &[AttentionSegment],
    layout: HeadLayout,
    dropout: Option<Dropout>,
) -> Result<Tensor> {
    let mut first_row = 0;
    let mut out = Vec::with_capacity(segments.len());
    for (segment, place) in segments.iter().zip(0..) {
        let rows = |t: &Tensor| t.narrow(0, first_row, segment.n_rows);
        let own = own.map(|[k, v]| Ok::<_, candle_core::Error>((rows(k)?, rows(v)?))).transpose()?;
        let weighing = Weighing { ops, layout, dropout: dropout.map(|dropout| dropout.at(place)) };
        out.push(attend_composed(weighing, &rows(q)?, own, segment)?);
        first_row += segment.n_rows;
    }
    Tensor::cat(&out, 0)
}

/// The same without a past, over queries, keys and values side by side, as one product makes them.
///
/// Shapes: `qkv` `[T, 3·n_heads·head_dim]` → `[T, n_heads·head_dim]`; `layout` has as many key-value heads as heads.
///
/// # Errors
/// As [`attend`].
pub fn attend_joint(ops: Ops, qkv: &Tensor, segments: &[AttentionSegment], layout: HeadLayout) -> Result<Tensor> {
    check_joint(qkv, segments, layout)?;
    if ops == Ops::Training && grad::takes([qkv]) && segments.iter().all(|s| s.past.is_empty()) {
        return grad::attention::attend_joint(qkv, segments, layout);
    }
    let [q, k, v] = parts(qkv, layout)?;
    attend(ops, &q, &k, &v, segments, layout)
}

/// The same for some rows, which see all rows of their segments: those rows of [`attend_joint`], without the others. On CPU
/// for inference with the same bits.
///
/// Shapes: `qkv` `[T, 3·n_heads·head_dim]`, `rows` `[ΣR]` of u32, ascending → `[ΣR, n_heads·head_dim]`; `segments` has, in
/// order, how many of a segment's rows are asked for and how many it has.
///
/// # Errors
/// As [`attend`].
pub fn attend_joint_asked(
    ops: Ops,
    qkv: &Tensor,
    rows: &Tensor,
    segments: &[(usize, usize)],
    layout: HeadLayout,
) -> Result<Tensor> {
    let whole: Vec<_> = segments.iter().map(|&(_, n)| AttentionSegment::full(n)).collect();
    check_joint(qkv, &whole, layout)?;
    let n_asked: usize = segments.iter().map(|(n_asked, _)| n_asked).sum();
    if rows.dims() != [n_asked] {
        candle_core::bail!("{:?} rows for segments that ask for {n_asked}", rows.shape());
    }
    let ([_, k, v], [q, ..]) = (parts(qkv, layout)?, parts(&qkv.index_select(rows, 0)?, layout)?);
    let mut first = 0;
    let mut asking = Vec::with_capacity(segments.len());
    for &(n_asked, n_rows) in segments {
        let past = vec![(k.narrow(0, first, n_rows)?, v.narrow(0, first, n_rows)?)];
        asking.push(AttentionSegment { n_rows: n_asked, past, mask: Mask::Full });
        first += n_rows;
    }
    // All keys and values are past ones here: the asked rows bring none of their own.
    match ops == Ops::Inference && is_cpu_f32(&q) {
        true => attend_fused(&q, None, &asking, layout),
        false => attend_segments(ops, &q, None, &asking, layout, None),
    }
}

/// The same with a share of the attention's weights dropped, for training. Always composed, with all scores in memory:
/// slower than the fused form, which never has the weights as a whole.
///
/// Shapes: as [`attend_joint`].
///
/// # Errors
/// As [`attend`].
pub fn attend_joint_dropping(
    qkv: &Tensor,
    segments: &[AttentionSegment],
    layout: HeadLayout,
    dropout: Dropout,
) -> Result<Tensor> {
    check_joint(qkv, segments, layout)?;
    let [q, k, v] = parts(qkv, layout)?;
    check(&q, &k, &v, segments, layout)?;
    attend_segments(Ops::Reference, &q, Some([&k, &v]), segments, layout, Some(dropout))
}

/// Holds queries, keys and values side by side against the segments and the layout.
fn check_joint(qkv: &Tensor, segments: &[AttentionSegment], layout: HeadLayout) -> Result<()> {
    let n_rows: usize = segments.iter().map(|s| s.n_rows).sum();
    if qkv.dims() != [n_rows, 3 * layout.n_heads * layout.head_dim] || layout.n_kv_heads != layout.n_heads {
        candle_core::bail!("attention over {n_rows} rows in {layout:?} got {:?}", qkv.shape());
    }
    Ok(())
}

/// Queries, keys and values apart.
fn parts(qkv: &Tensor, layout: HeadLayout) -> Result<[Tensor; 3]> {
    let width = layout.n_heads * layout.head_dim;
    Ok([qkv.narrow(1, 0, width)?, qkv.narrow(1, width, width)?, qkv.narrow(1, 2 * width, width)?])
}

/// Holds the shapes against the segments and the layout.
fn check(q: &Tensor, k: &Tensor, v: &Tensor, segments: &[AttentionSegment], layout: HeadLayout) -> Result<()> {
    let HeadLayout { n_heads, n_kv_heads, head_dim } = layout;
    if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
        candle_core::bail!("{n_heads} query heads cannot share {n_kv_heads} key-value heads");
    }
    let (t, width) = (segments.iter().map(|s| s.n_rows).sum::<usize>(), n_kv_heads * head_dim);
    if q.dims() != [t, n_heads * head_dim] || k.dims() != [t, width] || v.dims() != [t, width] {
        let (q, k, v) = (q.shape(), k.shape(), v.shape());
        candle_core::bail!("attention over {t} rows in {layout:?} got q {q:?}, k {k:?}, v {v:?}");
    }
    for (k, v) in segments.iter().flat_map(|s| &s.past) {
        if k.dims2()?.1 != width || k.dims() != v.dims() {
            candle_core::bail!("past keys {:?} and values {:?} do not fit {layout:?}", k.shape(), v.shape());
        }
    }
    Ok(())
}

/// The tiled form on CPU in f32.
fn attend_fused(
    q: &Tensor,
    own: Option<[&Tensor; 2]>,
    segments: &[AttentionSegment],
    layout: HeadLayout,
) -> Result<Tensor> {
    let mut first_row = 0;
    let mut owned = Vec::with_capacity(segments.len());
    for segment in segments {
        let mut chunks = Vec::with_capacity(segment.past.len() + 1);
        for (k, v) in &segment.past {
            chunks.push((k.contiguous()?, v.contiguous()?));
        }
        if let Some([k, v]) = own {
            let rows = |t: &Tensor| t.narrow(0, first_row, segment.n_rows)?.contiguous();
            chunks.push((rows(k)?, rows(v)?));
        }
        owned.push((first_row, segment, chunks));
        first_row += segment.n_rows;
    }
    let guards: Vec<Vec<_>> = owned
        .iter()
        .map(|(_, _, chunks)| chunks.iter().map(|(k, v)| (k.storage_and_layout(), v.storage_and_layout())).collect())
        .collect();
    let mut operands = Vec::with_capacity(segments.len());
    for ((first_row, segment, _), guards) in owned.iter().zip(&guards) {
        let chunks = guards.iter().map(|(k, v)| Ok((values(&k.0, k.1)?, values(&v.0, v.1)?))).collect::<Result<_>>()?;
        let (n_rows, mask) = (segment.n_rows, segment.mask);
        operands.push(kernels::attention::Segment { first_row: *first_row, n_rows, chunks, mask });
    }
    let q = q.contiguous()?;
    let mut out = vec![0.0; q.elem_count()];
    let (storage, q_layout) = q.storage_and_layout();
    kernels::attention::attend(values(&storage, q_layout)?, &operands, layout, &mut out);
    Tensor::from_vec(out, q.shape(), q.device())
}

/// The form composed of candle's operations, one segment at a time. For inference the query rows go in blocks, so that
/// scores of [`SCORES`] values stand in memory at most; training needs them all.
fn attend_composed(weighing: Weighing, q: &Tensor, own: Option<LayerKv>, segment: &AttentionSegment) -> Result<Tensor> {
    let HeadLayout { n_heads, n_kv_heads, head_dim } = weighing.layout;
    let (keys, values): (Vec<&Tensor>, Vec<&Tensor>) = segment.past.iter().chain(&own).map(|(k, v)| (k, v)).unzip();
    let (k, v) = (Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?);
    let (t, s) = (q.dim(0)?, k.dim(0)?);
    if t == 0 {
        return Ok(q.clone());
    }
    let heads = |x: &Tensor| x.reshape((s, n_kv_heads, head_dim))?.transpose(0, 1)?.contiguous();
    let (k, v) = (heads(&k)?, heads(&v)?);
    let block = match weighing.ops {
        Ops::Reference | Ops::Training => t,
        Ops::Inference => (SCORES / (n_heads * s)).clamp(1, t),
    };
    let mut out = Vec::with_capacity(t.div_ceil(block));
    for first in (0..t).step_by(block) {
        let rows = q.narrow(0, first, block.min(t - first))?;
        let visible = match segment.mask {
            Mask::Full => None,
            Mask::Causal => Some(s - t + first + 1),
        };
        out.push(attend_rows(weighing, &rows, &k, &v, visible)?);
    }
    Tensor::cat(&out, 0)
}

/// How the composed form makes and uses its weights.
#[derive(Clone, Copy)]
struct Weighing {
    ops: Ops,
    layout: HeadLayout,
    /// Of the segment's weights.
    dropout: Option<Dropout>,
}

/// Scores that the composed form holds at once for inference: 256 MiB of f32.
const SCORES: usize = 1 << 26;

/// Query rows `[t, n_heads·head_dim]` against keys and values `[n_kv_heads, s, head_dim]`; the first row sees `visible`
/// keys and each next row one more, or all see all.
fn attend_rows(weighing: Weighing, q: &Tensor, k: &Tensor, v: &Tensor, visible: Option<usize>) -> Result<Tensor> {
    let HeadLayout { n_heads, n_kv_heads, head_dim } = weighing.layout;
    let (t, s, group) = (q.dim(0)?, k.dim(1)?, n_heads / n_kv_heads);
    // [n_kv_heads, group·t, head_dim]: the queries of a group share one product with their keys.
    let q = q.reshape((t, n_kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?;
    let q = q.reshape((n_kv_heads, group * t, head_dim))?.contiguous()?;
    let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * (head_dim as f64).powf(-0.5))?;
    let scores = match visible {
        None => scores,
        Some(visible) => {
            let hidden = hidden(t, s, visible, q.device())?.broadcast_as((n_kv_heads, group, t, s))?;
            let never = Tensor::new(f32::NEG_INFINITY, q.device())?.broadcast_as((n_kv_heads, group, t, s))?;
            let scores = hidden.where_cond(&never, &scores.reshape((n_kv_heads, group, t, s))?)?;
            scores.reshape((n_kv_heads, group * t, s))?
        }
    };
    let weights = match weighing.ops {
        Ops::Reference | Ops::Training => candle_nn::ops::softmax(&scores, D::Minus1)?,
        Ops::Inference => candle_nn::ops::softmax_last_dim(&scores)?,
    };
    let weights = match weighing.dropout {
        Some(dropout) => dropout.forward(&weights)?,
        None => weights,
    };
    let weights = weights.to_dtype(v.dtype())?;
    let y = weights.matmul(v)?.reshape((n_kv_heads, group, t, head_dim))?;
    y.permute((2, 0, 1, 3))?.reshape((t, n_heads * head_dim))
}

/// `[t, s]`: 1 where row i may not see column j, that is j ≥ visible + i. Made on the device from its two sides, since the
/// whole of it would be a large upload for every layer.
fn hidden(t: usize, s: usize, visible: usize, device: &Device) -> Result<Tensor> {
    let columns = Tensor::arange(0, s as u32, device)?.reshape((1, s))?;
    let seen = Tensor::arange(visible as u32, (visible + t) as u32, device)?.reshape((t, 1))?;
    columns.broadcast_ge(&seen)
}
