//! `x·Wᵀ + b` as one node.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::slice;
use crate::kernels;
use crate::kernels::tensor::values;

/// Shapes: `x` `[T, n_in]`, `weight` `[n_out, n_in]`, `bias` `[n_out]` → `[T, n_out]`.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ((_, n_in), (n_out, expected)) = (x.dims2()?, weight.dims2()?);
    if n_in != expected || bias.is_some_and(|bias| bias.dims() != [n_out]) {
        candle_core::bail!("a linear layer with weight {:?} got an input {:?}", weight.shape(), x.shape());
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, LinearOp),
        None => x.apply_op2(&weight, LinearOp),
    }
}

struct LinearOp;

fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: &[usize], n_out: usize) -> (CpuStorage, Shape) {
    let (rows, n_in) = (shape[0], shape[1]);
    let mut out = vec![0.0; rows * n_out];
    kernels::linear::linear(x, weight, bias, (n_in, n_out), &mut out);
    (CpuStorage::F32(out), Shape::from((rows, n_out)))
}

/// Gradients of x and the weight.
fn backward(x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    let (x, weight) = (x.detach(), weight.detach());
    Ok((grad.matmul(&weight)?, grad.t()?.matmul(&x)?))
}

/// Sums over rows: `[T, n]` → `[n]`.
fn columns(grad: &Tensor) -> Result<Tensor> {
    let grad = grad.contiguous()?;
    let (storage, layout) = grad.storage_and_layout();
    let n = grad.dim(1)?;
    let mut out = vec![0.0; n];
    kernels::backward::norm::column_sums(values(&storage, layout)?, &mut out);
    Tensor::from_vec(out, n, grad.device())
}

impl CustomOp2 for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(forward(slice(x, lx)?, slice(w, lw)?, None, lx.dims(), lw.dims()[0]))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, w) = backward(x, w, grad)?;
        Ok((Some(x), Some(w)))
    }
}

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        "linear-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(forward(slice(x, lx)?, slice(w, lw)?, Some(slice(b, lb)?), lx.dims(), lw.dims()[0]))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (x, w) = backward(x, w, grad)?;
        Ok((Some(x), Some(w), Some(columns(grad)?)))
    }
}
