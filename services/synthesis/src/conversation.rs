//! The exchange with the language model, kept alive across the loss of the replica it runs on.

use std::time::Duration;

use candle_core::Tensor;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{Instrument, info_span};
use unipic_api::status::ApiError;
use unipic_client::Patience;
use unipic_engine::JobContext;
use unipic_models::prompt::Prompt;
use unipic_telemetry::metrics::RetryMetrics;

use crate::device::engine_error;
use crate::event::SynthesisEvent;
use crate::language::{LanguageModel, LanguageSession, ProbeSegment, Traffic};

/// Prompts at a language model. When the session is lost, it is opened again, on whatever replica there is, and the step
/// is repeated: the language model keeps nothing of a generation but its prompts.
pub struct Conversation<L: LanguageModel> {
    language: L,
    prompts: Vec<Prompt>,
    context: JobContext,
    patience: Patience,
    retries: RetryMetrics,
    /// Who is told of a loss.
    events: mpsc::Sender<SynthesisEvent>,
    session: Option<L::Session>,
    /// Moved by sessions that are lost.
    past: Traffic,
    /// Time spent on opening sessions.
    pub(crate) prefill: Duration,
}

impl<L: LanguageModel> Conversation<L> {
    /// Nothing is sent yet. `events` is told of every loss, `retries` counts them, and `patience` is that of each step.
    pub fn new(
        language: L,
        prompts: Vec<Prompt>,
        context: JobContext,
        patience: Patience,
        retries: RetryMetrics,
        events: mpsc::Sender<SynthesisEvent>,
    ) -> Self {
        let (past, prefill) = (Traffic::default(), Duration::ZERO);
        Self { language, prompts, context, patience, retries, events, session: None, past, prefill }
    }

    /// Prefills the prompts, on as many replicas as it takes.
    ///
    /// # Errors
    /// The request is over, patience has ended, or the language model refuses the prompts.
    pub async fn open(&mut self) -> Result<(), ApiError> {
        while let Err(error) = self.session().await {
            self.lost(error).await?;
        }
        self.worked();
        Ok(())
    }

    /// Hidden states of `rows` behind the prompts.
    ///
    /// Shapes: `rows` `[T, H]` → `[Σ n_rows, H]`, segment after segment.
    ///
    /// # Errors
    /// As [`Conversation::open`].
    pub async fn probe(&mut self, rows: Tensor, segments: Vec<ProbeSegment>) -> Result<Tensor, ApiError> {
        loop {
            match self.attempt(&rows, &segments).await {
                Ok(hidden) => {
                    self.worked();
                    return Ok(hidden);
                }
                Err(error) => {
                    if !self.session.as_ref().is_some_and(|session| session.outlives(&error)) {
                        self.forget();
                    }
                    self.lost(error).await?;
                }
            }
        }
    }

    /// Bytes moved so far, lost sessions included.
    pub(crate) fn traffic(&self) -> Traffic {
        let now = self.session.as_ref().map(LanguageSession::traffic).unwrap_or_default();
        Traffic { sent: self.past.sent + now.sent, received: self.past.received + now.received }
    }

    async fn attempt(&mut self, rows: &Tensor, segments: &[ProbeSegment]) -> Result<Tensor, ApiError> {
        let context = self.context.clone();
        let session = self.session().await?;
        let span = info_span!("probe", rows = segments.iter().map(|s| s.n_rows).sum::<usize>());
        let context = context.with_span(span.clone());
        session.probe(rows.clone(), segments.to_vec(), &context).instrument(span).await
    }

    async fn session(&mut self) -> Result<&mut L::Session, ApiError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let started = Instant::now();
                let span = info_span!("prefill", prompts = self.prompts.len());
                let context = self.context.with_span(span.clone());
                let opened = self.language.open(self.prompts.clone(), &context).instrument(span).await;
                self.prefill += started.elapsed();
                opened?
            }
        };
        Ok(self.session.insert(session))
    }

    fn forget(&mut self) {
        self.past = self.traffic();
        self.session = None;
    }

    /// Waits before the next attempt, or gives the error back when there is to be none.
    async fn lost(&mut self, error: ApiError) -> Result<(), ApiError> {
        // One that is only full has lost nothing.
        let is_loss = matches!(error, ApiError::Unavailable { .. });
        let what = if is_loss { "the language model is lost" } else { "the language model has refused" };
        tracing::warn!(%error, attempt = self.patience.attempt(), "{what}");
        let retry = self.patience.note(error)?;
        if is_loss {
            // Not worth waiting for: whoever reads slowly learns of the next progress.
            let _ = self.events.try_send(SynthesisEvent::Resumed { attempt: self.patience.attempt() });
        }
        tokio::select! {
            biased;
            waited = retry.wait() => waited?,
            over = self.context.over() => return Err(engine_error(over)),
        }
        self.context.check().map_err(engine_error)?;
        self.retries.retried("decoder");
        Ok(())
    }

    /// The step ended well: a failover where it did not at once.
    fn worked(&mut self) {
        if self.patience.attempt() > 1 {
            self.retries.failed_over("decoder");
        }
        self.patience.worked();
    }
}
