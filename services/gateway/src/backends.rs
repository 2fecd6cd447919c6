//! What the flows need from the services behind the gateway.
//!
//! One contract with two implementations: over gRPC, and by value inside a node. Embeddings are an associated type
//! because the gateway only carries them from an encoder to the decoder: over gRPC they stay encoded frames, in a node
//! they stay tensors on the device.

use std::future::Future;

use futures::stream::BoxStream;
use unipic_api::{ApiError, pb};
use unipic_imaging::Rgb8;
use unipic_serving::CallContext;

/// Items of a backend's answer until it ends or fails. Dropping it cancels the work behind it.
pub type ReplyStream<T> = BoxStream<'static, Result<T, ApiError>>;

/// The sizes of everything loaded behind the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The SigLIP2 encoder.
    pub understanding: pb::GetUnderstandingInfoResponse,
    /// VAE, MAR and the diffusion head.
    pub synthesis: pb::GetSynthesisInfoResponse,
    /// The language model.
    pub decoder: pb::GetDecoderInfoResponse,
}

/// A backend that did not say what it holds.
#[derive(Debug, Clone)]
pub struct Missing {
    /// Which one: `understanding`, `synthesis` or `decoder`.
    pub backend: &'static str,
    /// Why.
    pub error: ApiError,
}

/// An event of a synthesis.
#[derive(Debug, Clone)]
pub enum SynthesisEvent {
    /// The loop went on.
    Progress(pb::SynthesisProgress),
    /// An image, finished or preview.
    Image(SynthesisImage),
    /// A replica behind the synthesis was lost; it goes on with another.
    Resumed(pb::Resumed),
    /// Everything was sent.
    Done(pb::SynthesisTimings),
}

/// An image made by a synthesis.
#[derive(Debug, Clone)]
pub struct SynthesisImage {
    /// Its number within the request: the first one of a call is `SynthesisParameters.first_image`.
    pub image: u32,
    /// True for a preview.
    pub preview: bool,
    /// The pixels.
    pub pixels: Rgb8,
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum PromptPiece<E> {
    /// Text of ours: control tokens count as such.
    Template(String),
    /// A user's text: never yields a control token.
    User(String),
    /// An image's embeddings.
    Embeddings(E),
}

/// What to answer and how.
#[derive(Debug, Clone)]
pub struct AnswerSpec<E> {
    /// The prompt.
    pub prompt: Vec<PromptPiece<E>>,
    /// At most this many tokens; at least 1.
    pub max_tokens: u32,
    /// 0 picks the likeliest token.
    pub temperature: f32,
    /// In (0, 1].
    pub top_p: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// The answer ends before the first of these to appear.
    pub stop: Vec<String>,
    /// Where there are any, nothing is generated: the end tells how likely each of these beginnings of an answer is.
    pub candidates: Vec<String>,
}

/// An event of an answer.
#[derive(Debug, Clone)]
pub enum AnswerEvent {
    /// More text, whole UTF-8 characters.
    Text(String),
    /// The end.
    Done(pb::AnswerDone),
}

/// The services behind the gateway.
///
/// Errors of every method are already in the terms of the API: INVALID_ARGUMENT passes to the client with its fields,
/// UNAVAILABLE and RESOURCE_EXHAUSTED make a flow try again, the rest ends it.
pub trait Backends: Clone + Send + Sync + 'static {
    /// An image's embeddings, `[n_tokens, llm_width]`; cheap to clone.
    type Embeddings: Clone + Send + Sync + 'static;

    /// What keeping embeddings takes, in bytes.
    fn embeddings_bytes(embeddings: &Self::Embeddings) -> u64;

    /// Asks every backend what it holds. An error lists all that did not answer.
    fn facts(&self) -> impl Future<Output = Result<Facts, Vec<Missing>>> + Send;

    /// Starts a synthesis. `source` is there exactly when `parameters.has_source`, and has the output's size.
    fn synthesize(
        &self,
        parameters: pb::SynthesisParameters,
        source: Option<Rgb8>,
        context: &CallContext,
    ) -> impl Future<Output = Result<ReplyStream<SynthesisEvent>, ApiError>> + Send;

    /// Encodes a square image of the understanding encoder's input size.
    fn encode_siglip(
        &self,
        image: Rgb8,
        context: &CallContext,
    ) -> impl Future<Output = Result<Self::Embeddings, ApiError>> + Send;

    /// Encodes a square image of the synthesis base size by the MAR path.
    fn encode_mar(
        &self,
        image: Rgb8,
        context: &CallContext,
    ) -> impl Future<Output = Result<Self::Embeddings, ApiError>> + Send;

    /// Starts an answer.
    fn answer(
        &self,
        spec: AnswerSpec<Self::Embeddings>,
        context: &CallContext,
    ) -> impl Future<Output = Result<ReplyStream<AnswerEvent>, ApiError>> + Send;

    /// The embeddings as frames, for clients that asked for them.
    fn frames(
        &self,
        embeddings: Self::Embeddings,
    ) -> impl Future<Output = Result<Vec<pb::TensorFrame>, ApiError>> + Send;
}
