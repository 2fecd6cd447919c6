//! The language model of this process, as the generation loop wants it.

use candle_core::Tensor;
use unipic_api::ApiError;
use unipic_decoder::Decoder;
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;
use unipic_synthesis::{LanguageModel, LanguageSession, ProbeSegment};

/// The decoder of this process.
#[derive(Clone)]
pub(crate) struct LocalDecoder(pub(crate) Decoder);

/// A session of the decoder of this process.
pub(crate) struct LocalSession(unipic_decoder::Session);

impl LanguageModel for LocalDecoder {
    type Session = LocalSession;

    fn handover(&self) -> Handover {
        Handover::Device
    }

    async fn open(&self, prompts: Vec<Prompt>, context: &JobContext) -> Result<LocalSession, ApiError> {
        self.0.open(prompts, context).await.map(LocalSession)
    }
}

impl LanguageSession for LocalSession {
    async fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        let segment = |s: ProbeSegment| unipic_decoder::ProbeSegment {
            prompt: s.prompt,
            first_row: s.first_row,
            n_rows: s.n_rows,
        };
        let segments = segments.into_iter().map(segment).collect();
        self.0.probe(rows, segments, context).await
    }

    /// A full queue has taken nothing of the session.
    fn outlives(&self, error: &ApiError) -> bool {
        matches!(error, ApiError::Overloaded { .. })
    }
}
