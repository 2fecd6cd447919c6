//! How likely given beginnings of an answer are.
//!
//! Measures such as VQAScore (Lin et al. 2024, arXiv 2404.01291) want the probability of "yes", not a "yes" that happened to be
//! picked. A candidate is run behind the prompt as if the model had said it, and its tokens' probabilities are multiplied.

use std::time::Instant;

use async_stream::try_stream;
use futures::Stream;
use tracing::info_span;
use unipic_api::{ApiError, FieldViolation, Reason};
use unipic_engine::JobContext;
use unipic_models::prompt::{Prompt, Segment};
use unipic_nn::KvCache;

use crate::answer::{AnswerDone, AnswerEvent, FinishReason};
use crate::asked::Asked;
use crate::decoder::{Decoder, bug};
use crate::plan::{self, Unit};
use crate::worker::{Hidden, Job, JobRun, Rows, RunReply, Wanted};

impl Decoder {
    /// One event: the end of an answer of no tokens, with ln P of the candidates.
    pub(crate) fn weighed(
        self,
        asked: Asked,
        candidates: Vec<String>,
        context: JobContext,
    ) -> impl Stream<Item = Result<AnswerEvent, ApiError>> + Send {
        try_stream! {
            let (started, (_answering, mut held)) = (Instant::now(), self.metrics.answer());
            let prompt_tokens = plan::n_positions(&asked.units);
            let candidates = self.candidate_ids(candidates, self.info().context_length - prompt_tokens).await?;
            let span = info_span!(parent: &context.span, "weigh", tokens = prompt_tokens, candidates = candidates.len());
            let context = context.with_span(span);
            let (cache, first) = self.first_tokens(&asked, &candidates, &context).await?;
            held.set(cache.bytes() as u64);
            let first_token = started.elapsed();
            let rest = self.other_tokens(cache, &candidates, &context).await?;
            let candidate_logprobs: Vec<f64> = first.iter().zip(&rest).map(|(first, rest)| first + rest).collect();
            // Logits that are not finite: the model is at fault, not the caller.
            if candidate_logprobs.iter().any(|logprob| !logprob.is_finite()) {
                Err(ApiError::Fault(Reason::NonFinite))?;
            }
            yield AnswerEvent::Done(AnswerDone {
                finish_reason: FinishReason::Stop,
                prompt_tokens,
                completion_tokens: 0,
                first_token,
                decode: started.elapsed() - first_token,
                candidate_logprobs,
            });
        }
    }

    /// The ids of candidates, which are a user's text; `room` positions are left behind the prompt.
    async fn candidate_ids(&self, candidates: Vec<String>, room: usize) -> Result<Vec<Vec<u32>>, ApiError> {
        let prompt = |text| Prompt { segments: vec![Segment::User(text)] };
        let named = candidates.into_iter().enumerate();
        let prompts = named.map(|(i, text)| (format!("open.candidates[{i}]"), prompt(text))).collect();
        let id = |unit: Unit| match unit {
            Unit::Id(id) => Some(id),
            Unit::Embeddings(_) => None,
        };
        let ids: Vec<Vec<u32>> =
            self.units(prompts).await?.into_iter().map(|units| units.into_iter().filter_map(id).collect()).collect();
        let too_long = |(i, ids): (usize, &Vec<u32>)| {
            let problem = format!("takes {} positions; the prompt leaves {room}", ids.len());
            (ids.len() > room).then(|| FieldViolation::new(format!("open.candidates[{i}]"), problem))
        };
        let violations: Vec<FieldViolation> = ids.iter().enumerate().filter_map(too_long).collect();
        if violations.is_empty() { Ok(ids) } else { Err(ApiError::Invalid(violations)) }
    }

    /// Runs a prompt: its cache, and ln P of every candidate's first token.
    async fn first_tokens(
        &self,
        asked: &Asked,
        candidates: &[Vec<u32>],
        context: &JobContext,
    ) -> Result<(KvCache, Vec<f64>), ApiError> {
        let (mut cache, n_units) = self.begun(asked, asked.units.len() - 1);
        let mut chunks = self.chunks(&asked.units[n_units..])?;
        let last = chunks.pop().ok_or_else(|| bug("a prompt without rows"))?;
        for rows in chunks {
            cache =
                self.reply(JobRun { rows, cache, keep: true, sampler: None, wanted: Vec::new() }, context).await?.cache;
        }
        let tokens = candidates.iter().filter_map(|ids| ids.first().copied()).collect();
        let wanted = vec![Wanted { row: last.iter().map(Rows::len).sum::<usize>() - 1, tokens }];
        let reply = self.reply(JobRun { rows: last, cache, keep: true, sampler: None, wanted }, context).await?;
        let mut cache = reply.cache;
        self.keep(asked, &mut cache)?;
        Ok((cache, reply.logprobs.concat()))
    }

    /// ln P of what follows every candidate's first token, all candidates in one pass; 0 where nothing does.
    async fn other_tokens(
        &self,
        mut cache: KvCache,
        candidates: &[Vec<u32>],
        context: &JobContext,
    ) -> Result<Vec<f64>, ApiError> {
        let mut sums = vec![0.0; candidates.len()];
        let long: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].len() > 1).collect();
        if long.is_empty() {
            return Ok(sums);
        }
        let mut run = |candidate: &usize| {
            let ids = &candidates[*candidate];
            let next = ids.iter().enumerate().skip(1);
            let wanted = next.map(|(i, id)| Wanted { row: i - 1, tokens: vec![*id] }).collect();
            let rows = vec![Rows::Ids(ids[..ids.len() - 1].to_vec())];
            JobRun { rows, cache: cache.share(), keep: false, sampler: None, wanted }
        };
        let runs: Vec<JobRun> = long.iter().map(&mut run).collect();
        for (candidate, reply) in long.iter().zip(self.replies(runs, context).await?) {
            sums[*candidate] = reply.logprobs.iter().flatten().sum();
        }
        Ok(sums)
    }

    async fn reply(&self, run: JobRun, context: &JobContext) -> Result<RunReply, ApiError> {
        self.replies(vec![run], context).await?.pop().ok_or_else(|| bug("a run was lost"))
    }

    async fn replies(&self, runs: Vec<JobRun>, context: &JobContext) -> Result<Vec<RunReply>, ApiError> {
        Ok(self.run(Job { runs, hidden: Hidden::Drop }, context).await?.reply.runs)
    }
}
