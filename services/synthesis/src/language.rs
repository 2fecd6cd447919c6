//! What this service needs of the language model, wherever it runs.
//!
//! The generation loop probes a language model in every iteration. Between processes that is a gRPC stream
//! ([`crate::remote`]), inside a node a call that hands tensors over by value; the loop is the same.

use std::future::Future;

use candle_core::Tensor;
use unipic_api::status::ApiError;
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;

/// A language model that keeps prompts and is probed behind them.
pub trait LanguageModel: Clone + Send + Sync + 'static {
    /// Prompts kept for one generation.
    type Session: LanguageSession;

    /// Where embeddings are to be handed over.
    fn handover(&self) -> Handover;

    /// Prefills prompts, one per guidance branch, the conditional one first. Dropping the session frees them.
    fn open(
        &self,
        prompts: Vec<Prompt>,
        context: &JobContext,
    ) -> impl Future<Output = Result<Self::Session, ApiError>> + Send;
}

/// Prompts kept for one generation.
pub trait LanguageSession: Send + 'static {
    /// Hidden states, after the final norm, of rows run causally behind prompts; nothing of them is kept.
    ///
    /// Shapes: `rows` `[T, H]` → `[Σ n_rows, H]`, segment after segment.
    fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> impl Future<Output = Result<Tensor, ApiError>> + Send;

    /// Whether the session is as good as before a probe that failed so: then it is asked again, and no prompt prefilled again.
    fn outlives(&self, error: &ApiError) -> bool {
        let _ = error;
        false
    }

    /// What the session has moved between processes so far.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// A run of rows behind one prompt. Two segments may name the same rows: both guidance branches of an image do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSegment {
    /// Position of the prompt in the order of [`LanguageModel::open`].
    pub prompt: usize,
    /// First row.
    pub first_row: usize,
    /// How many rows.
    pub n_rows: usize,
}

/// Bytes of tensors moved between processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the language model.
    pub sent: u64,
    /// From the language model.
    pub received: u64,
}
