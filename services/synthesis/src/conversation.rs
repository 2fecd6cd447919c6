//! The exchange with the language model, kept alive across the loss of the replica it runs on.

use std::time::{Duration, Instant};

use candle_core::Tensor;
use tracing::{Instrument, info_span};
use unipic_api::status::ApiError;
use unipic_engine::JobContext;
use unipic_models::prompt::Prompt;
use unipic_telemetry::metrics::RetryMetrics;

use crate::device::engine_error;
use crate::language::{LanguageModel, LanguageSession, ProbeSegment, Traffic};

/// Attempts at one step before its error is the request's.
const MAX_ATTEMPTS: u32 = 6;
/// Wait before the second attempt; it doubles with each one after that.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait between attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Prompts at a language model. When the session is lost, it is opened again, on whatever replica there is, and the step
/// is repeated: the language model keeps nothing of a generation but its prompts.
pub(crate) struct Conversation<L: LanguageModel> {
    language: L,
    prompts: Vec<Prompt>,
    context: JobContext,
    retries: RetryMetrics,
    session: Option<L::Session>,
    /// Moved by sessions that are lost.
    past: Traffic,
    /// Time spent on opening sessions.
    pub(crate) prefill: Duration,
}

impl<L: LanguageModel> Conversation<L> {
    pub(crate) fn new(language: L, prompts: Vec<Prompt>, context: JobContext, retries: RetryMetrics) -> Self {
        Self { language, prompts, context, retries, session: None, past: Traffic::default(), prefill: Duration::ZERO }
    }

    /// Prefills the prompts.
    pub(crate) async fn open(&mut self) -> Result<(), ApiError> {
        let mut patience = Patience::default();
        loop {
            match self.session().await {
                Ok(_) => {
                    patience.succeeded(&self.retries);
                    return Ok(());
                }
                Err(error) => patience.after(error, &self.context, &self.retries).await?,
            }
        }
    }

    /// Hidden states of `rows` behind the prompts, `[Σ n_rows, H]`.
    pub(crate) async fn probe(&mut self, rows: Tensor, segments: Vec<ProbeSegment>) -> Result<Tensor, ApiError> {
        let mut patience = Patience::default();
        loop {
            match self.attempt(&rows, &segments).await {
                Ok(hidden) => {
                    patience.succeeded(&self.retries);
                    return Ok(hidden);
                }
                Err(error) => {
                    self.forget();
                    patience.after(error, &self.context, &self.retries).await?;
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
}

/// How often and how long to try again.
#[derive(Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// Waits before the next attempt, or gives the error back when there is to be none.
    async fn after(&mut self, error: ApiError, context: &JobContext, retries: &RetryMetrics) -> Result<(), ApiError> {
        self.failures += 1;
        if !error.is_transient() || self.failures >= MAX_ATTEMPTS {
            return Err(error);
        }
        let backoff = FIRST_WAIT * 2_u32.pow(self.failures - 1);
        let asked = match &error {
            ApiError::Overloaded { retry_after, .. } => *retry_after,
            ApiError::Unavailable { retry_after: Some(after), .. } => *after,
            _ => Duration::ZERO,
        };
        let left = context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = backoff.max(asked).min(LONGEST_WAIT).min(left.unwrap_or(LONGEST_WAIT));
        tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "the language model is lost; trying again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = context.cancel.cancelled() => {}
        }
        // A deadline that passed while waiting is the request's own.
        context.check().map_err(engine_error)?;
        retries.retried("decoder");
        Ok(())
    }

    /// The step ended well: a failover where it did not at once.
    fn succeeded(&self, retries: &RetryMetrics) {
        if self.failures > 0 {
            retries.failed_over("decoder");
        }
    }
}
