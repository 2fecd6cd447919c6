//! Activations, gates and rotations, each as one node.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

use super::slice;
use crate::kernels::backward::pointwise as backward;
use crate::kernels::pointwise::{self, Function};
use crate::kernels::tensor::values;

/// A function of every value.
///
/// # Errors
/// When the tensor is not f32 on the CPU.
pub(crate) fn map(function: Function, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(MapOp(function))
}

/// silu(gate)·up.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwigluOp)
}

/// Rotates the halves of every head by angles whose cosines and sines `[T, half]` are given.
///
/// # Errors
/// When the tensor is not f32 on the CPU.
pub(crate) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = cos.dim(1)?;
    let (cos, sin) = (cos.flatten_all()?.to_vec1()?, sin.flatten_all()?.to_vec1()?);
    x.contiguous()?.apply_op1(RotateOp { cos, sin, half })
}

/// x·(1 + scale) + shift with the shift and scale at the beginning of each row of `modulation`.
///
/// Shapes: `x` `[T, width]`, `modulation` `[T, at least 2·width]` → `[T, width]`.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn modulate(x: &Tensor, modulation: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&modulation.contiguous()?, ModulateOp)
}

/// x + gate·h with the gate in the third part of each row of `modulation`.
///
/// Shapes: `x` and `h` `[T, width]`, `modulation` `[T, 3·width]` → `[T, width]`.
///
/// # Errors
/// When shapes do not fit.
pub(crate) fn gate(x: &Tensor, h: &Tensor, modulation: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&h.contiguous()?, &modulation.contiguous()?, GateOp)
}

struct MapOp(Function);

impl CustomOp1 for MapOp {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0.0; x.len()];
        pointwise::map(self.0, x, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let ((xs, lx), (gs, lg)) = (x.storage_and_layout(), grad.storage_and_layout());
        let mut out = vec![0.0; x.elem_count()];
        backward::map(self.0, values(&xs, lx)?, values(&gs, lg)?, &mut out);
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

struct SwigluOp;

impl CustomOp2 for SwigluOp {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, gate: &CpuStorage, lg: &Layout, up: &CpuStorage, lu: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(gate, lg)?, slice(up, lu)?);
        let mut out = vec![0.0; gate.len()];
        pointwise::swiglu(gate, up, &mut out);
        Ok((CpuStorage::F32(out), lg.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let ((gs, lg), (us, lu)) = (gate.storage_and_layout(), up.storage_and_layout());
        let (ds, ld) = grad.storage_and_layout();
        let (mut of_gate, mut of_up) = (vec![0.0; gate.elem_count()], vec![0.0; gate.elem_count()]);
        backward::swiglu(values(&gs, lg)?, values(&us, lu)?, values(&ds, ld)?, (&mut of_gate, &mut of_up));
        let tensor = |values| Tensor::from_vec(values, gate.shape(), gate.device()).map(Some);
        Ok((tensor(of_gate)?, tensor(of_up)?))
    }
}

struct RotateOp {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl CustomOp1 for RotateOp {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, width) = (slice(x, layout)?, layout.dims().last().copied().unwrap_or(1));
        let mut out = vec![0.0; x.len()];
        pointwise::rotate(x, (&self.cos, &self.sin), (width, self.half), &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    /// The rotation back.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (grad, width) = (grad.contiguous()?, x.dim(candle_core::D::Minus1)?);
        let (gs, lg) = grad.storage_and_layout();
        let back: Vec<f32> = self.sin.iter().map(|sin| -sin).collect();
        let mut out = vec![0.0; grad.elem_count()];
        pointwise::rotate(values(&gs, lg)?, (&self.cos, &back), (width, self.half), &mut out);
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

struct ModulateOp;

impl CustomOp2 for ModulateOp {
    fn name(&self) -> &'static str {
        "modulate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, m: &CpuStorage, lm: &Layout) -> Result<(CpuStorage, Shape)> {
        let (sizes, rows) = ((lx.dims()[1], lm.dims()[1]), lx.dims()[0]);
        if rows != lm.dims()[0] || sizes.1 < 2 * sizes.0 {
            candle_core::bail!("rows {:?} cannot be modulated by {:?}", lx.shape(), lm.shape());
        }
        let x = slice(x, lx)?;
        let mut out = vec![0.0; x.len()];
        backward::modulate(x, slice(m, lm)?, sizes, &mut out);
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, m: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad, sizes) = (grad.contiguous()?, (x.dim(1)?, m.dim(1)?));
        let ((xs, lx), (ms, lm)) = (x.storage_and_layout(), m.storage_and_layout());
        let (gs, lg) = grad.storage_and_layout();
        let (mut of_x, mut of_m) = (vec![0.0; x.elem_count()], vec![0.0; m.elem_count()]);
        let inputs = (values(&xs, lx)?, values(&ms, lm)?, values(&gs, lg)?);
        backward::modulate_backward(inputs, sizes, (&mut of_x, &mut of_m));
        let (of_x, of_m) =
            (Tensor::from_vec(of_x, x.shape(), x.device())?, Tensor::from_vec(of_m, m.shape(), m.device())?);
        Ok((Some(of_x), Some(of_m)))
    }
}

struct GateOp;

impl CustomOp3 for GateOp {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        h: &CpuStorage,
        lh: &Layout,
        m: &CpuStorage,
        lm: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = (lx.dims()[0], lx.dims()[1]);
        if lh.dims() != lx.dims() || lm.dims() != [rows, 3 * width] {
            candle_core::bail!("rows {:?} cannot be gated by {:?}", lx.shape(), lm.shape());
        }
        let x = slice(x, lx)?;
        let mut out = vec![0.0; x.len()];
        backward::gate(x, slice(h, lh)?, slice(m, lm)?, width, &mut out);
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        h: &Tensor,
        m: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (grad, width) = (grad.contiguous()?, h.dim(1)?);
        let ((hs, lh), (ms, lm)) = (h.storage_and_layout(), m.storage_and_layout());
        let (mut of_h, mut of_m) = (vec![0.0; h.elem_count()], vec![0.0; m.elem_count()]);
        {
            let (gs, lg) = grad.storage_and_layout();
            let inputs = (values(&hs, lh)?, values(&ms, lm)?, values(&gs, lg)?);
            backward::gate_backward(inputs, width, (&mut of_h, &mut of_m));
        }
        let (of_h, of_m) =
            (Tensor::from_vec(of_h, h.shape(), h.device())?, Tensor::from_vec(of_m, m.shape(), m.device())?);
        Ok((Some(grad), Some(of_h), Some(of_m)))
    }
}
