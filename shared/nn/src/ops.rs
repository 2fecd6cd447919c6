//! The choice between the two implementations of every operation.

/// Which implementation of the operations a model runs on. A value, so that one model serves training and inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ops {
    /// Differentiable: composed of candle's primitive operations only, each of which has a backward pass.
    Reference,
    /// For serving: fused, tiled and bounded in memory, without a backward pass.
    #[default]
    Inference,
}
