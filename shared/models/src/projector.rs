//! The projectors between the parts: from MAR and SigLIP2 into the language model, and back to MAR (model page,
//! section 1).

use candle_core::{DType, Result, Tensor};
use unipic_nn::activation::Function;
use unipic_nn::{Build, Linear};
use unipic_weights::config::ModelConfig;

/// Linear → SiLU → Linear.
#[derive(Clone, Debug)]
pub struct Projector {
    first: Linear,
    second: Linear,
    dtype: DType,
}

impl Projector {
    /// `proj_in`: MAR's encodings into the language model, D → H → H.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load_in(build: &Build, config: &ModelConfig) -> Result<Self> {
        let h = config.llm.hidden_size;
        Self::load(&build.pp("proj_in"), config.mar.embed_dim, h, h)
    }

    /// `proj_out`: the language model's hidden states back to MAR, H → H → D.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load_out(build: &Build, config: &ModelConfig) -> Result<Self> {
        let h = config.llm.hidden_size;
        Self::load(&build.pp("proj_out"), h, h, config.mar.embed_dim)
    }

    /// `siglip2_proj`: SigLIP2's hidden states into the language model, width → H → H.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load_siglip(build: &Build, config: &ModelConfig) -> Result<Self> {
        let h = config.llm.hidden_size;
        Self::load(&build.pp("siglip2_proj"), config.siglip.hidden_size, h, h)
    }

    /// Loads the layers `0` and `2` at this place of the checkpoint.
    fn load(build: &Build, n_in: usize, n_hidden: usize, n_out: usize) -> Result<Self> {
        Ok(Self {
            first: Linear::load(&build.pp(0), n_in, n_hidden)?,
            second: Linear::load(&build.pp(2), n_hidden, n_out)?,
            dtype: build.tensors.dtype(),
        })
    }

    /// Shapes: `[T, n_in]` → `[T, n_out]`, in the weights' dtype.
    ///
    /// # Errors
    /// When shapes or devices do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward_then(&x.to_dtype(self.dtype)?, Function::Silu)?)
    }
}
