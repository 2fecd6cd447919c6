//! The choice between the implementations of every operation.

/// Which implementation of the operations a model runs on. A value, so that one model serves training and inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ops {
    /// Differentiable: composed of candle's primitive operations only, each of which has a backward pass. What the other
    /// two are held against.
    Reference,
    /// Differentiable: fused, with a backward pass of our own, for f32 on the CPU; anything else as in the reference.
    Training,
    /// For serving: fused, tiled and bounded in memory, without a backward pass.
    #[default]
    Inference,
}

impl Ops {
    /// Whether gradients pass.
    pub fn is_differentiable(self) -> bool {
        self != Self::Inference
    }
}
