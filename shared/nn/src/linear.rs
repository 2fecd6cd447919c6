//! Linear layers, dense or quantized.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Module, Result, Tensor};

use crate::activation::{self, Function};
use crate::kernels;
use crate::kernels::packed::{Packed, Then};
use crate::kernels::tensor::{is_cpu_f32, values};
use crate::{Build, LinearFormat, Ops, grad};

/// `x·Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    ops: Ops,
}

/// What stands behind a layer.
#[derive(Clone, Copy)]
enum Next<'a> {
    Nothing,
    Function(Function),
    Onto(&'a Tensor),
}

#[derive(Clone, Debug)]
enum Weight {
    Dense(Tensor),
    /// Small and dense, for inference in f32 on the CPU; and the same as it came, for inputs of other kinds.
    Packed(Arc<Packed>, Tensor),
    /// Its input is filled up with `n_filled` zeros.
    Quantized {
        weight: QMatMul,
        n_filled: usize,
    },
}

/// Values of one scale.
const BLOCK: usize = 32;

/// candle's fast quantized product takes input widths that are multiples of this. On others (SigLIP2's 1152) its slow one
/// was measured 10 times slower.
const FAST_WIDTH: usize = 256;

/// The input width that a layer is quantized with: filled up with zeros, which add nothing, where that buys the fast
/// product; none for narrow layers that blocks do not divide.
fn quantized_width(n_in: usize) -> Option<usize> {
    match n_in {
        n if n > FAST_WIDTH => Some(n.next_multiple_of(FAST_WIDTH)),
        n if n.is_multiple_of(BLOCK) => Some(n),
        _ => None,
    }
}

impl Linear {
    /// Loads `weight` `[n_out, n_in]` and `bias` `[n_out]` at this place of the checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(build: &Build, n_in: usize, n_out: usize) -> Result<Self> {
        Self::from_weight(build, build.get((n_out, n_in), "weight")?, Some(build.get(n_out, "bias")?))
    }

    /// Loads `weight` `[n_out, n_in]` alone.
    ///
    /// # Errors
    /// When the tensor is missing or misshapen.
    pub fn load_without_bias(build: &Build, n_in: usize, n_out: usize) -> Result<Self> {
        Self::from_weight(build, build.get((n_out, n_in), "weight")?, None)
    }

    /// A layer over tensors at hand, held in the builder's linear format.
    ///
    /// Shapes: `weight` `[n_out, n_in]`, `bias` `[n_out]`.
    ///
    /// # Errors
    /// When quantization fails.
    pub fn from_weight(build: &Build, weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (_, n_in) = weight.dims2()?;
        let width = quantized_width(n_in).filter(|_| build.linear_format == LinearFormat::Q8_0);
        let weight = match width {
            Some(width) => {
                let filled = filled(&weight, width - n_in)?;
                let weight = QMatMul::from_qtensor(QTensor::quantize(&filled, GgmlDType::Q8_0)?)?;
                Weight::Quantized { weight, n_filled: width - n_in }
            }
            None if build.ops == Ops::Inference && is_cpu_f32(&weight) => packed(weight)?,
            None => Weight::Dense(weight),
        };
        Ok(Self { weight, bias, ops: build.ops })
    }

    /// Applies the layer. On CPU for inference a row's result does not depend on the other rows.
    ///
    /// Shapes: `[T, n_in]` → `[T, n_out]`, in the dtype of `x`.
    ///
    /// # Errors
    /// When shapes, dtypes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_next(x, Next::Nothing)
    }

    /// [`Linear::forward`], then a function of every result: the same bits as one after the other, in one pass over memory
    /// where the layer is small.
    ///
    /// Shapes: `[T, n_in]` → `[T, n_out]`, in the dtype of `x`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn forward_then(&self, x: &Tensor, function: Function) -> Result<Tensor> {
        self.forward_next(x, Next::Function(function))
    }

    /// `onto` + [`Linear::forward`], the end of a residual branch, likewise.
    ///
    /// Shapes: `x` `[T, n_in]`, `onto` `[T, n_out]` → `[T, n_out]`.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn forward_onto(&self, x: &Tensor, onto: &Tensor) -> Result<Tensor> {
        self.forward_next(x, Next::Onto(onto))
    }

    fn forward_next(&self, x: &Tensor, next: Next<'_>) -> Result<Tensor> {
        if let Weight::Packed(weight, _) = &self.weight
            && is_cpu_f32(x)
            && self.bias.as_ref().is_none_or(is_cpu_f32)
            && !matches!(next, Next::Onto(onto) if !is_cpu_f32(onto))
        {
            return rows_by_packed(x, weight, self.bias.as_ref(), next);
        }
        let y = self.product(x)?;
        match next {
            Next::Nothing => Ok(y),
            Next::Function(function) => activation::map(function, &y),
            Next::Onto(onto) => onto + y,
        }
    }

    fn product(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Weight::Dense(weight) if self.ops == Ops::Inference && is_cpu_f32(x) && is_cpu_f32(weight) => {
                return rows_by_weight(x, weight, self.bias.as_ref());
            }
            Weight::Dense(weight) if self.ops == Ops::Training && grad::takes([x, weight]) => {
                return grad::linear::linear(x, weight, self.bias.as_ref());
            }
            Weight::Dense(weight) | Weight::Packed(_, weight) => x.matmul(&weight.t()?)?,
            Weight::Quantized { weight, n_filled } => {
                weight.forward(&filled(&x.to_dtype(DType::F32)?, *n_filled)?)?.to_dtype(x.dtype())?
            }
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Weights `[n_out, n_in]` of f32 on the CPU, packed where the layer is small.
fn packed(weight: Tensor) -> Result<Weight> {
    let (n_out, n_in) = weight.dims2()?;
    let packed = {
        let weight = weight.contiguous()?;
        let (storage, layout) = weight.storage_and_layout();
        Packed::new(values(&storage, layout)?, (n_in, n_out))
    };
    Ok(match packed {
        Some(packed) => Weight::Packed(Arc::new(packed), weight),
        None => Weight::Dense(weight),
    })
}

/// `[n, width]` → `[n, width + n_filled]`, zeros behind every row.
fn filled(x: &Tensor, n_filled: usize) -> Result<Tensor> {
    if n_filled == 0 { Ok(x.clone()) } else { x.pad_with_zeros(1, 0, n_filled) }
}

/// `x·w`, where for inference on CPU the result of a row does not depend on the number of rows.
///
/// candle's CPU product sums in another order for one row, for few results and for small sizes. So a `w` that is the
/// transposed view of row-major f32 weights goes the way of [`Linear`], unless gradients are to flow; what remains takes
/// candle's product as it is.
///
/// Shapes: `[T, n_in]`, `[n_in, n_out]` → `[T, n_out]`.
///
/// # Errors
/// When shapes, dtypes or devices do not fit.
pub fn matmul_rows(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    if is_cpu_f32(x) && is_cpu_f32(w) && !x.track_op() && !w.track_op() {
        return rows_by_weight(x, &w.t()?, None);
    }
    x.matmul(w)
}

/// `x·Wᵀ + bias` and what stands behind it.
///
/// Shapes: `x` `[T, n_in]`, `bias` `[n_out]` → `[T, n_out]`.
fn rows_by_packed(x: &Tensor, weight: &Packed, bias: Option<&Tensor>, next: Next<'_>) -> Result<Tensor> {
    let (n_in, n_out) = weight.sizes();
    let rows = x.dims2()?.0;
    let onto = match next {
        Next::Onto(onto) => Some(onto),
        _ => None,
    };
    let misfits = bias.is_some_and(|bias| bias.dims() != [n_out]) || onto.is_some_and(|o| o.dims() != [rows, n_out]);
    if x.dim(1)? != n_in || misfits {
        candle_core::bail!("a linear layer with weight [{n_out}, {n_in}] got an input {:?}", x.shape());
    }
    let (x, onto) = (x.contiguous()?, onto.map(Tensor::contiguous).transpose()?);
    let (x_storage, x_layout) = x.storage_and_layout();
    let (bias, onto) = (bias.map(Tensor::storage_and_layout), onto.as_ref().map(Tensor::storage_and_layout));
    let bias = bias.as_ref().map(|(storage, layout)| values(storage, layout)).transpose()?;
    let then = match (next, &onto) {
        (Next::Function(function), _) => Then::Function(function),
        (_, Some((storage, layout))) => Then::Onto(values(storage, layout)?),
        _ => Then::Nothing,
    };
    let out = weight.linear(values(&x_storage, x_layout)?, bias, then);
    Tensor::from_vec(out, (rows, n_out), x.device())
}

/// `x·Wᵀ + bias` with the weights read where they lie.
///
/// Shapes: `x` `[T, n_in]`, `weight` `[n_out, n_in]`, `bias` `[n_out]` → `[T, n_out]`.
fn rows_by_weight(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ((rows, n_in), (n_out, expected)) = (x.dims2()?, weight.dims2()?);
    if n_in != expected || bias.is_some_and(|bias| bias.dims() != [n_out]) {
        candle_core::bail!("a linear layer with weight {:?} got an input {:?}", weight.shape(), x.shape());
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let ((x_storage, x_layout), (w_storage, w_layout)) = (x.storage_and_layout(), weight.storage_and_layout());
    let bias = bias.map(Tensor::storage_and_layout);
    let bias = bias.as_ref().map(|(storage, layout)| values(storage, layout)).transpose()?;
    let mut out = vec![0.0; rows * n_out];
    let (x_values, w_values) = (values(&x_storage, x_layout)?, values(&w_storage, w_layout)?);
    kernels::linear::linear(x_values, w_values, bias, (n_in, n_out), &mut out);
    Tensor::from_vec(out, (rows, n_out), x.device())
}
