//! LayerNorm and RMSNorm over rows, each as one node.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::slice;
use crate::kernels::backward::norm::{RowGradients, row_norm};
use crate::kernels::norm::RowNorm;
use crate::kernels::tensor::values;

/// LayerNorm where it is `centred`, else RMSNorm.
///
/// Shapes: `x` `[T, width]`, `weight` and `bias` `[width]` → `[T, width]`. A bias comes with a weight only.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn norm(
    x: &Tensor,
    centred: bool,
    eps: f64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    for affine in weight.iter().chain(&bias) {
        if affine.dims() != [width] {
            candle_core::bail!("a norm over {width} values got weights {:?}", affine.shape());
        }
    }
    let op = NormOp { centred, eps: eps as f32 };
    let x = x.contiguous()?;
    match (weight, bias) {
        (Some(weight), Some(bias)) => x.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op),
        (Some(weight), None) => x.apply_op2(&weight.contiguous()?, op),
        _ => x.apply_op1(op),
    }
}

#[derive(Clone, Copy)]
struct NormOp {
    centred: bool,
    eps: f32,
}

impl NormOp {
    fn forward(self, x: &[f32], lx: &Layout, weight: Option<&[f32]>, bias: Option<&[f32]>) -> (CpuStorage, Shape) {
        let width = lx.dims().last().copied().unwrap_or(1);
        let mut out = vec![0.0; x.len()];
        RowNorm { centred: self.centred, eps: self.eps, weight, bias }.run(x, width, &mut out);
        (CpuStorage::F32(out), lx.shape().clone())
    }

    /// Gradients of x, weight and bias.
    fn backward(self, x: &Tensor, weight: Option<&Tensor>, grad: &Tensor) -> Result<[Tensor; 3]> {
        let (width, grad) = (x.dim(candle_core::D::Minus1)?, grad.contiguous()?);
        let weight = weight.map(Tensor::storage_and_layout);
        let weight = weight.as_ref().map(|(storage, layout)| values(storage, layout)).transpose()?;
        let norm = RowNorm { centred: self.centred, eps: self.eps, weight, bias: None };
        let ((xs, lx), (gs, lg)) = (x.storage_and_layout(), grad.storage_and_layout());
        let RowGradients { x: of_x, weight, bias } = row_norm(norm, values(&xs, lx)?, values(&gs, lg)?, width);
        let device = x.device();
        Ok([
            Tensor::from_vec(of_x, x.shape(), device)?,
            Tensor::from_vec(weight, width, device)?,
            Tensor::from_vec(bias, width, device)?,
        ])
    }
}

impl CustomOp1 for NormOp {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(x, lx)?, lx, None, None))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [x, ..] = self.backward(x, None, grad)?;
        Ok(Some(x))
    }
}

impl CustomOp2 for NormOp {
    fn name(&self) -> &'static str {
        "norm-weight"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(slice(x, lx)?, lx, Some(slice(w, lw)?), None))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, w, _] = self.backward(x, Some(w), grad)?;
        Ok((Some(x), Some(w)))
    }
}

impl CustomOp3 for NormOp {
    fn name(&self) -> &'static str {
        "norm-affine"
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
        Ok(self.forward(slice(x, lx)?, lx, Some(slice(w, lw)?), Some(slice(b, lb)?)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, w, b] = self.backward(x, Some(w), grad)?;
        Ok((Some(x), Some(w), Some(b)))
    }
}
