//! Whoever draws, edits and answers: the public API behind a trait, so that tests need no server.

use serde::Serialize;
use unipic_api::pb;

use crate::Settings;

/// Draws, edits and answers.
///
/// Every call is a pure function of its request: the same request gives the same result, whatever else is under way. The
/// evaluation relies on that to resume and to try again.
pub trait Artist: Send + Sync {
    /// What is served: name, weights, limits and defaults.
    fn model(&self) -> impl Future<Output = Result<pb::GetModelResponse, ArtistError>> + Send;

    /// Draws one image.
    fn draw(&self, request: Drawing) -> impl Future<Output = Result<Picture, ArtistError>> + Send;

    /// Changes an image.
    fn edit(&self, request: Editing) -> impl Future<Output = Result<Picture, ArtistError>> + Send;

    /// Answers a question about images.
    fn ask(&self, request: Question) -> impl Future<Output = Result<Answer, ArtistError>> + Send;

    /// The probabilities that the answer to a question begins with each of some candidates, at most 8, in their order.
    /// Nothing is drawn, so the question's `max_tokens` and `seed` mean nothing here.
    fn weigh(
        &self,
        request: Question,
        candidates: &[&str],
    ) -> impl Future<Output = Result<Vec<f64>, ArtistError>> + Send;
}

/// One image to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// What to draw.
    pub prompt: String,
    /// Seed of the image.
    pub seed: u64,
    /// How to sample.
    pub settings: Settings,
}

/// One image to change.
#[derive(Debug, Clone, PartialEq)]
pub struct Editing {
    /// The source, an image file.
    pub source: Vec<u8>,
    /// What to change.
    pub instruction: String,
    /// Seed of the image.
    pub seed: u64,
    /// How to sample.
    pub settings: Settings,
}

/// A question about images.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The images, files, shown in order before the text.
    pub images: Vec<Vec<u8>>,
    /// The question.
    pub text: String,
    /// At most this many tokens are answered.
    pub max_tokens: u32,
    /// Draws the answer with the temperature 1 and this seed; the likeliest answer when absent.
    pub seed: Option<u64>,
}

/// A finished image.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The PNG file.
    pub png: Vec<u8>,
    /// Time that the server worked on it, waiting for a place left out, in seconds; absent when it did not say.
    pub seconds: Option<f64>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Time from the request to the end, in seconds.
    pub seconds: f64,
}

/// Why nothing came of a request. Its text is what the server said.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ArtistError(pub String);
