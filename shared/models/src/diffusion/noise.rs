//! Where randomness comes from: counters in production, recorded draws in tests of parity.

mod counter;
mod philox;
mod recorded;

pub use counter::CounterDraws;
pub use recorded::RecordedDraws;

use crate::mar::LATENT_CHANNELS;

/// A draw that a source does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no draw for {0}")]
pub struct DrawsError(pub String);

/// Standard normal values of one place.
pub type PlaceDraw = [f32; LATENT_CHANNELS];

/// A source of all random values of a generation, each a function of what it is for. So an iteration can be repeated, and
/// rows computed in any company and order, with the same result.
pub trait Draws: Send + Sync + std::fmt::Debug {
    /// A random permutation of an image's places; the places that stay unknown longest come first.
    ///
    /// # Errors
    /// When the source has none for this image or number of places.
    fn order(&self, image: u32, n_places: usize) -> Result<Vec<u32>, DrawsError>;

    /// The noise that a place's sampling starts from.
    ///
    /// # Errors
    /// When the source has none for this place.
    fn init(&self, image: u32, iteration: usize, place: u32) -> Result<PlaceDraw, DrawsError>;

    /// The noise of a place's head step, counted from 0 in the order in which steps are taken.
    ///
    /// # Errors
    /// When the source has none for this place and step.
    fn step(&self, image: u32, iteration: usize, place: u32, head_step: usize) -> Result<PlaceDraw, DrawsError>;
}
