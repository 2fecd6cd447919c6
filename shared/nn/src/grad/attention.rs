//! Attention over packed sequences as one node.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor};

use super::slice;
use crate::attention::HeadLayout;
use crate::kernels::attention as forward;
use crate::kernels::backward::attention::{Rows, RowsOut, Sequence, attend as backward};
use crate::kernels::tensor::{Shared, values};
use crate::{AttentionSegment, Mask};

/// softmax(q·kᵀ / √head_dim)·v for every sequence and head; no sequence has a past.
///
/// Shapes: `q` `[T, n_heads·head_dim]`, `k` and `v` `[T, n_kv_heads·head_dim]` → `[T, n_heads·head_dim]`.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &[AttentionSegment],
    layout: HeadLayout,
) -> Result<Tensor> {
    let op = AttendOp { sequences: sequences(segments), layout };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// The same over queries, keys and values side by side, as one product makes them: taken apart, each part's gradient
/// would be spread over the whole width again.
///
/// Shapes: `qkv` `[T, 3·n_heads·head_dim]` → `[T, n_heads·head_dim]`.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn attend_joint(qkv: &Tensor, segments: &[AttentionSegment], layout: HeadLayout) -> Result<Tensor> {
    qkv.contiguous()?.apply_op1(AttendOp { sequences: sequences(segments), layout })
}

struct AttendOp {
    sequences: Vec<Sequence>,
    layout: HeadLayout,
}

fn sequences(segments: &[AttentionSegment]) -> Vec<Sequence> {
    let mut first_row = 0;
    let sequence = |segment: &AttentionSegment| {
        let first = first_row;
        first_row += segment.n_rows;
        Sequence { first_row: first, n_rows: segment.n_rows, causal: segment.mask == Mask::Causal }
    };
    segments.iter().map(sequence).collect()
}

impl AttendOp {
    fn width(&self) -> usize {
        self.layout.n_heads * self.layout.head_dim
    }

    fn kv_width(&self) -> usize {
        self.layout.n_kv_heads * self.layout.head_dim
    }

    /// Over contiguous q, k and v.
    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; q.len()];
        let width = self.kv_width();
        let segment = |s: &Sequence| {
            let rows = s.first_row * width..(s.first_row + s.n_rows) * width;
            forward::Segment {
                first_row: s.first_row,
                n_rows: s.n_rows,
                chunks: vec![(&k[rows.clone()], &v[rows])],
                mask: if s.causal { Mask::Causal } else { Mask::Full },
            }
        };
        let segments: Vec<_> = self.sequences.iter().map(segment).collect();
        forward::attend(q, &segments, self.layout, &mut out);
        out
    }
}

impl CustomOp1 for AttendOp {
    fn name(&self) -> &'static str {
        "attend-joint"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (qkv, width) = (slice(qkv, layout)?, self.width());
        let part = |i: usize| -> Vec<f32> {
            qkv.chunks_exact(3 * width).flat_map(|row| &row[i * width..][..width]).copied().collect()
        };
        let out = self.forward(&part(0), &part(1), &part(2));
        let shape = Shape::from((out.len() / width, width));
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (grad, width) = (grad.contiguous()?, self.width());
        let ((storage, layout), (gs, lg)) = (qkv.storage_and_layout(), grad.storage_and_layout());
        let all = values(&storage, layout)?;
        let mut out = vec![0.0; all.len()];
        let shared = Shared::new(&mut out);
        let from = [0, 1, 2].map(|i| Rows { values: &all[i * width..], stride: 3 * width });
        let to = [0, 1, 2].map(|i| RowsOut { values: shared, column: i * width, stride: 3 * width });
        backward(from, values(&gs, lg)?, &self.sequences, self.layout, to);
        Ok(Some(Tensor::from_vec(out, qkv.shape(), qkv.device())?))
    }
}

impl CustomOp3 for AttendOp {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = self.forward(slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
        Ok((CpuStorage::F32(out), lq.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let ((qs, lq), (ks, lk)) = (q.storage_and_layout(), k.storage_and_layout());
        let ((vs, lv), (gs, lg)) = (v.storage_and_layout(), grad.storage_and_layout());
        let (q_values, k_values, v_values) = (values(&qs, lq)?, values(&ks, lk)?, values(&vs, lv)?);
        let (width, kv_width) = (self.width(), self.kv_width());
        let (mut dq, mut dk, mut dv) =
            (vec![0.0; q_values.len()], vec![0.0; k_values.len()], vec![0.0; v_values.len()]);
        let from = [
            Rows { values: q_values, stride: width },
            Rows { values: k_values, stride: kv_width },
            Rows { values: v_values, stride: kv_width },
        ];
        let to = [
            RowsOut { values: Shared::new(&mut dq), column: 0, stride: width },
            RowsOut { values: Shared::new(&mut dk), column: 0, stride: kv_width },
            RowsOut { values: Shared::new(&mut dv), column: 0, stride: kv_width },
        ];
        backward(from, values(&gs, lg)?, &self.sequences, self.layout, to);
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
