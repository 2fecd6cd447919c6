//! The diffusion head, which samples the channels of a place given the decoder's condition for it.
//!
//! Rows are independent of each other: a row carries its own timestep, schedule, guidance and noise, so rows of different
//! places, images and requests share one product per step. Randomness comes from outside, as a function of what it is
//! for ([`noise::Draws`]), so that neither the company of a row nor the order of work can change it.

pub mod head;
pub mod noise;
pub mod sampler;
pub mod schedule;

pub use head::Head;
pub use noise::{CounterDraws, Draws, DrawsError, RecordedDraws};
pub use sampler::{HeadState, HeadStep};
pub use schedule::Schedule;
