//! What a caller hears of a synthesis while it runs.

use std::time::Duration;

use crate::image::RgbImage;
use crate::language::Traffic;

/// An event of a synthesis, in the order they come.
#[derive(Clone, Debug)]
pub enum SynthesisEvent {
    /// The loop went on: first before any iteration, then after each that revealed something.
    Progress(Progress),
    /// The images as far as they are known.
    Preview(Picture),
    /// A finished image.
    Image(Picture),
    /// The language model was lost; the loop goes on where it was, with another.
    Resumed {
        /// Number of the attempt that begins at the step that was lost; 2 is the first to be made good.
        attempt: u32,
    },
    /// Everything was sent.
    Done(Timings),
}

/// How far the loop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Iterations done.
    pub iteration: usize,
    /// Iterations in all.
    pub iterations: usize,
    /// Places known, over all images. Those that an edit keeps are known from the start.
    pub known_tokens: usize,
    /// Places in all.
    pub total_tokens: usize,
}

/// An image with its number.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its number within the request, counted from the request's first image.
    pub image: u32,
    /// The pixels.
    pub pixels: RgbImage,
}

/// Where the time went, and what was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Waiting for the device.
    pub queue: Duration,
    /// Encoding of the source image.
    pub source: Duration,
    /// Opening the language model's session.
    pub prefill: Duration,
    /// MAR's encoder and decoder.
    pub mar: Duration,
    /// Probes of the language model, with their transport.
    pub probe: Duration,
    /// The diffusion head.
    pub head: Duration,
    /// The autoencoder's decoder.
    pub vae: Duration,
    /// From the request to the end.
    pub total: Duration,
    /// Bytes of tensors moved to and from the language model.
    pub traffic: Traffic,
}
