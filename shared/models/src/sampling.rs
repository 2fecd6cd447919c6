//! From logits to text: picking a token, and letting out text that no stop string can take back.
//!
//! Draws are counter-based, as everywhere in this system: the n-th token's draw depends on the seed and on n only, so
//! an answer does not depend on what else is running.

mod draw;
mod output;
mod stop;

#[cfg(test)]
mod tests;

pub use draw::{Sampler, SamplerSettings, SamplingError};
pub use output::{AnswerText, Progress};
pub use stop::StopFilter;
