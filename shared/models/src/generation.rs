//! The generation loop as a state machine without async, tasks or a language model in it (model page, section 7).
//!
//! A [`Generation`] knows which places of its images are known, what they hold and what comes next. The computation of an
//! iteration is four functions over packed inputs, so that a caller can run each as a device job of its own, batched with
//! those of other requests, and look for cancellation in between:
//!
//! 1. [`SynthesisModel::encode`]: the known places, once for both guidance branches;
//! 2. the language model, wherever it lives: hidden states of every image and branch, conditional images first;
//! 3. [`SynthesisModel::decode`]: conditions of the places to reveal;
//! 4. [`Head::step`](crate::diffusion::Head::step): one sampling step, as often as there are head steps.
//!
//! An iteration changes nothing until [`Generation::reveal`], so it can be repeated after a failure, with the same result.
//!
//! ```
//! use candle_core::Tensor;
//! use unipic_models::diffusion::HeadStep;
//! use unipic_models::generation::{Generation, GenerationError, SynthesisModel, probe_rows};
//!
//! /// `probe` runs the language model behind the prompts: `[branches·n·(K + V), H]` → the same shape.
//! fn run(
//!     model: &SynthesisModel,
//!     generation: &mut Generation,
//!     probe: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
//! ) -> Result<(), GenerationError> {
//!     while let Some(iteration) = generation.next() {
//!         let encoded = model.encode(&generation.encode_inputs(&iteration))?;
//!         let hidden = probe(&probe_rows(&encoded, generation.n_branches())?)?;
//!         let decoded = model.decode(&generation.decode_inputs(&iteration, &encoded, &hidden)?)?;
//!         let mut state = generation.head_state(&iteration, &decoded)?;
//!         while let Some(head_step) = state.next_step() {
//!             let noise = generation.head_noise(&iteration, head_step)?;
//!             model.head.step(&mut [HeadStep { state: &mut state, noise: &noise }])?;
//!         }
//!         generation.reveal(&iteration, state.x())?;
//!     }
//!     Ok(())
//! }
//! ```

mod head_noise;
mod iteration;
mod model;
mod settings;
mod state;

pub use head_noise::HeadNoise;
pub use iteration::{ImagePlaces, Iteration};
pub use model::{DecodeInput, Decoded, EncodeInput, Encoded, Source, SynthesisModel, probe_rows};
pub use settings::{GuidanceSchedule, Settings, redrawn_problem};
pub use state::{Generation, Progress};

pub use crate::mar::ImageGrid;

use crate::diffusion::DrawsError;

/// Why a generation cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// A setting that no image can be made with.
    #[error("{field} {problem}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Results that do not belong to the iteration they are given for.
    #[error("{0}")]
    Mismatch(String),
    /// The model computed a value that is no number.
    #[error("the model computed a latent that is not finite")]
    NotFinite,
    /// The source of randomness has no such draw.
    #[error(transparent)]
    Draws(#[from] DrawsError),
    /// The device failed, or shapes do not fit.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
