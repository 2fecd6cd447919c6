//! Text, token by token.

use std::time::{Duration, Instant};

use async_stream::try_stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tracing::field::Empty;
use tracing::{Span, info_span};
use unipic_api::{ApiError, FieldViolation, Reason, pb};
use unipic_engine::JobContext;
use unipic_models::prompt::Prompt;
use unipic_models::sampling::{AnswerText, Sampler, SamplerSettings};
use unipic_nn::KvCache;

use crate::asked::Asked;
use crate::decoder::{Decoder, bug};
use crate::plan;
use crate::worker::{Hidden, Job, JobRun, Rows};

/// Stop strings of a request.
const MAX_STOPS: usize = 8;

/// Candidates of a request, and bytes of one: every token of theirs costs a row of logits.
const MAX_CANDIDATES: usize = 8;
const MAX_CANDIDATE_BYTES: usize = 256;

/// What to answer and how.
#[derive(Clone, Debug)]
pub struct AnswerSpec {
    /// The prompt.
    pub prompt: Prompt,
    /// At most this many tokens; at least 1.
    pub max_tokens: usize,
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
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// More text, whole UTF-8 characters.
    Text(String),
    /// The end.
    Done(AnswerDone),
}

/// The end of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerDone {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Positions of the prompt.
    pub prompt_tokens: usize,
    /// Tokens picked, the one that ended the answer included.
    pub completion_tokens: usize,
    /// From the request to the first token.
    pub first_token: Duration,
    /// From the first token to the end.
    pub decode: Duration,
    /// ln P of the candidates.
    pub candidate_logprobs: Vec<f64>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, or a stop string appeared.
    Stop,
    /// The limit of tokens or of the context was reached.
    Length,
}

impl AnswerDone {
    /// As a message.
    pub fn message(&self) -> pb::AnswerDone {
        let finish_reason = match self.finish_reason {
            FinishReason::Stop => pb::FinishReason::Stop,
            FinishReason::Length => pb::FinishReason::Length,
        };
        pb::AnswerDone {
            finish_reason: finish_reason.into(),
            prompt_tokens: self.prompt_tokens as u32,
            completion_tokens: self.completion_tokens as u32,
            first_token_ms: self.first_token.as_secs_f64() * 1e3,
            decode_ms: self.decode.as_secs_f64() * 1e3,
            candidate_logprobs: self.candidate_logprobs.clone(),
        }
    }
}

impl AnswerSpec {
    fn violations(&self) -> Vec<FieldViolation> {
        let mut found = Vec::new();
        let mut require = |holds: bool, field: &str, problem: String| {
            if !holds {
                found.push(FieldViolation::new(format!("open.{field}"), problem));
            }
        };
        require(self.max_tokens > 0, "max_tokens", "must be at least 1".into());
        // NaN lies in no range.
        let temperature = self.temperature;
        require(
            (0.0..=100.0).contains(&temperature),
            "temperature",
            format!("must be from 0 to 100, not {temperature}"),
        );
        let top_p = self.top_p;
        require(top_p > 0.0 && top_p <= 1.0, "top_p", format!("must be above 0 and at most 1, not {top_p}"));
        let n = self.stop.len();
        require(n <= MAX_STOPS, "stop", format!("{n} strings; at most {MAX_STOPS} are accepted"));
        require(self.stop.iter().all(|s| !s.is_empty()), "stop", "a stop string must not be empty".into());
        let n = self.candidates.len();
        require(n <= MAX_CANDIDATES, "candidates", format!("{n} strings; at most {MAX_CANDIDATES} are accepted"));
        let problem = format!("a candidate has 1 to {MAX_CANDIDATE_BYTES} bytes");
        let fits = |s: &String| (1..=MAX_CANDIDATE_BYTES).contains(&s.len());
        require(self.candidates.iter().all(fits), "candidates", problem);
        found
    }
}

impl Decoder {
    /// Answers a prompt. Nothing runs but while the stream is polled, and dropping it ends the answer within one token.
    ///
    /// # Errors
    /// At once when the request is wrong, with every violation; later as an item, the last one.
    pub async fn answer(
        &self,
        spec: AnswerSpec,
        context: JobContext,
    ) -> Result<BoxStream<'static, Result<AnswerEvent, ApiError>>, ApiError> {
        let violations = spec.violations();
        if !violations.is_empty() {
            return Err(ApiError::Invalid(violations));
        }
        // A prompt leaves room for one token at least; beyond that the context ends the answer.
        let asked = self.asked(vec![("open.prompt".into(), spec.prompt)], &context.tenant).await?;
        let asked = asked.into_iter().next().ok_or_else(|| bug("a prompt was lost"))?;
        let prompt_tokens = plan::n_positions(&asked.units);
        if !spec.candidates.is_empty() {
            return Ok(self.clone().weighed(asked, spec.candidates, context).boxed());
        }
        let room = self.info().context_length - prompt_tokens;
        let most = spec.max_tokens.min(room);
        let text = AnswerText::new(self.shared.tokenizer.clone(), spec.stop);
        let settings = SamplerSettings { temperature: spec.temperature, top_p: spec.top_p, seed: spec.seed };
        let (sampler, spent) = (Some(Sampler::new(settings)), Spent::default());
        let writer = Writer { decoder: self.clone(), context, sampler, spent };
        Ok(events(writer, asked, text, prompt_tokens, most).boxed())
    }
}

/// Picks one token after the other behind a growing cache.
struct Writer {
    decoder: Decoder,
    context: JobContext,
    sampler: Option<Sampler>,
    spent: Spent,
}

/// Where the time of the device's jobs went.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    queued: Duration,
    ran: Duration,
}

impl Writer {
    /// Runs a prompt and picks the token behind it.
    async fn begin(&mut self, asked: Asked) -> Result<(u32, KvCache), ApiError> {
        // The last position is computed in any case: the first token is picked behind it.
        let (mut cache, n_units) = self.decoder.begun(&asked, asked.units.len() - 1);
        let units = &asked.units[n_units..];
        let span = info_span!(parent: &self.context.span, "prefill", prompts = 1, tokens = plan::n_positions(units));
        let context = self.context.with_span(span);
        let mut chunks = self.decoder.chunks(units)?;
        let last = chunks.pop().ok_or_else(|| bug("a prompt without rows"))?;
        for rows in chunks {
            cache = self.run(rows, cache, false, &context).await?.1;
        }
        let (token, mut cache) = self.pick(last, cache, &context).await?;
        self.decoder.keep(&asked, &mut cache)?;
        Ok((token, cache))
    }

    /// Runs a token and picks the next.
    async fn go_on(&mut self, token: u32, cache: KvCache, context: &JobContext) -> Result<(u32, KvCache), ApiError> {
        self.pick(vec![Rows::Ids(vec![token])], cache, context).await
    }

    async fn pick(
        &mut self,
        rows: Vec<Rows>,
        cache: KvCache,
        context: &JobContext,
    ) -> Result<(u32, KvCache), ApiError> {
        let (picked, cache) = self.run(rows, cache, true, context).await?;
        Ok((picked.ok_or_else(|| bug("no token was picked"))?, cache))
    }

    async fn run(
        &mut self,
        rows: Vec<Rows>,
        cache: KvCache,
        pick: bool,
        context: &JobContext,
    ) -> Result<(Option<u32>, KvCache), ApiError> {
        let sampler = if pick { self.sampler.take() } else { None };
        let run = JobRun { rows, cache, keep: true, sampler, wanted: Vec::new() };
        let done = self.decoder.run(Job { runs: vec![run], hidden: Hidden::Drop }, context).await?;
        self.spent.queued += done.queued;
        self.spent.ran += done.ran;
        let run = done.reply.runs.into_iter().next().ok_or_else(|| bug("a run was lost"))?;
        let Some((picked, sampler)) = run.picked else { return Ok((None, run.cache)) };
        self.sampler = Some(sampler);
        // Logits that are not finite, or none: the model is at fault, not the caller.
        let picked = picked.map_err(|_| ApiError::Fault(Reason::NonFinite))?;
        Ok((Some(picked), run.cache))
    }
}

fn events(
    mut writer: Writer,
    asked: Asked,
    mut text: AnswerText,
    prompt_tokens: usize,
    most: usize,
) -> impl Stream<Item = Result<AnswerEvent, ApiError>> + Send {
    try_stream! {
        let (started, (_answering, mut held)) = (Instant::now(), writer.decoder.metrics.answer());
        let (mut token, mut cache) = writer.begin(asked).await?;
        held.set(cache.bytes() as u64);
        let first_token = started.elapsed();
        let decoding = Instant::now();
        writer.spent = Spent::default();
        let span = decode_span(&writer.context.span, most);
        // A queue span and a batch for each of a thousand tokens would drown the trace: the decode span has their sums.
        let context = writer.context.with_span(Span::none());
        let mut n = 1;
        let finish_reason = loop {
            let progress = text.push(token);
            if !progress.delta.is_empty() {
                yield AnswerEvent::Text(progress.delta);
            }
            if progress.ended {
                break FinishReason::Stop;
            }
            if n == most {
                let rest = text.finish();
                if !rest.is_empty() {
                    yield AnswerEvent::Text(rest);
                }
                break FinishReason::Length;
            }
            (token, cache) = writer.go_on(token, cache, &context).await?;
            held.set(cache.bytes() as u64);
            n += 1;
        };
        span.record("tokens", n);
        span.record("queue_ms", writer.spent.queued.as_secs_f64() * 1e3);
        span.record("run_ms", writer.spent.ran.as_secs_f64() * 1e3);
        yield AnswerEvent::Done(AnswerDone {
            finish_reason,
            prompt_tokens,
            completion_tokens: n,
            first_token,
            decode: decoding.elapsed(),
            candidate_logprobs: Vec::new(),
        });
    }
}

fn decode_span(parent: &Span, max_tokens: usize) -> Span {
    info_span!(parent: parent, "decode", max_tokens, tokens = Empty, queue_ms = Empty, run_ms = Empty)
}
