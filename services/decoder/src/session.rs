//! The prompts of one generation, prefilled, and probes behind them.

use candle_core::Tensor;
use tracing::info_span;
use unipic_api::{ApiError, FieldViolation};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;
use unipic_nn::KvCache;

use crate::decoder::{Decoder, bug, device_fault};
use crate::kept::KeptPrompts;
use crate::plan::{self, Stretch};
use crate::worker::{Hidden, Job, JobRun, Rows};

/// Rows of one probe job. The probes of many images are cut, so that what a pass holds in memory is bounded by the batch's
/// budget and not by the request; one branch of an image at 1024 px (4,160 rows) is one job.
const PROBE_ROWS: usize = 4352;

/// Prompts that are kept. Dropping it frees their keys and values.
pub struct Session {
    decoder: Decoder,
    handover: Handover,
    prompts: Vec<Kept>,
    prefilled_tokens: usize,
}

/// A prompt in the cache.
struct Kept {
    cache: KvCache,
    n_positions: usize,
}

/// A run of rows behind one prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSegment {
    /// Position of the prompt in the order they were given.
    pub prompt: usize,
    /// First row.
    pub first_row: usize,
    /// How many rows.
    pub n_rows: usize,
}

impl Session {
    pub(crate) async fn open(
        decoder: Decoder,
        prompts: Vec<Prompt>,
        handover: Handover,
        context: &JobContext,
    ) -> Result<Self, ApiError> {
        if prompts.is_empty() {
            return Err(ApiError::invalid("open.prompts", "must not be empty"));
        }
        let n_prompts = prompts.len();
        let common: Vec<bool> = prompts.iter().map(KeptPrompts::accepts).collect();
        let named = prompts.into_iter().enumerate().map(|(i, prompt)| (format!("open.prompts[{i}]"), prompt));
        let units = decoder.units(named.collect()).await?;
        let sizes: Vec<usize> = units.iter().map(|units| plan::n_positions(units)).collect();
        let kept = &decoder.shared.kept;
        let mut caches: Vec<Option<KvCache>> =
            units.iter().zip(&common).map(|(units, common)| if *common { kept.find(units) } else { None }).collect();
        let missing: Vec<_> = units.into_iter().enumerate().filter(|(i, _)| caches[*i].is_none()).collect();
        let stretches = plan::stretches(&missing);
        let prefilled_tokens = stretches.iter().map(|s| plan::n_positions(&s.units)).sum();
        let span = info_span!(parent: &context.span, "prefill", prompts = n_prompts, tokens = prefilled_tokens);
        prefill(&decoder, stretches, &mut caches, &context.with_span(span)).await?;
        let mut caches: Vec<KvCache> =
            caches.into_iter().collect::<Option<_>>().ok_or_else(|| bug("a prompt was not prefilled"))?;
        for (i, units) in missing.iter().filter(|(i, _)| common[*i]) {
            kept.keep(units, &mut caches[*i]);
        }
        let prompts = caches.into_iter().zip(sizes).map(|(cache, n_positions)| Kept { cache, n_positions }).collect();
        Ok(Self { decoder, handover, prompts, prefilled_tokens })
    }

    /// Positions of each prompt.
    pub fn prompt_tokens(&self) -> impl Iterator<Item = usize> {
        self.prompts.iter().map(|kept| kept.n_positions)
    }

    /// Positions that were computed: what prompts have in common counts once, what all sessions share not at all.
    pub fn prefilled_tokens(&self) -> usize {
        self.prefilled_tokens
    }

    /// Hidden states, after the final norm, of rows run causally behind prompts; nothing of them is kept.
    ///
    /// Shapes: `rows` `[T, H]` → `[Σ n_rows, H]`, segment after segment.
    ///
    /// # Errors
    /// When segments name prompts or rows that do not exist or do not fit the context, or the device fails.
    pub async fn probe(
        &mut self,
        rows: Tensor,
        segments: Vec<ProbeSegment>,
        context: &JobContext,
    ) -> Result<Tensor, ApiError> {
        let violations = self.violations(&rows, &segments);
        if !violations.is_empty() {
            return Err(ApiError::Invalid(violations));
        }
        let n_rows: usize = segments.iter().map(|s| s.n_rows).sum();
        let span = info_span!(parent: &context.span, "probe", segments = segments.len(), rows = n_rows);
        let context = context.with_span(span);
        let jobs: Vec<Job> = portions(&segments).map(|portion| self.job(&rows, portion)).collect::<Result<_, _>>()?;
        let done = futures::future::try_join_all(jobs.into_iter().map(|job| self.hidden(job, &context))).await?;
        join(done).await
    }

    fn job(&self, rows: &Tensor, segments: &[ProbeSegment]) -> Result<Job, ApiError> {
        let run = |segment: &ProbeSegment| {
            let rows = rows.narrow(0, segment.first_row, segment.n_rows)?;
            let cache = self.prompts[segment.prompt].cache.clone();
            Ok(JobRun { rows: vec![Rows::Embeddings(rows)], cache, keep: false, sampler: None, wanted: Vec::new() })
        };
        let runs = segments.iter().map(run).collect::<candle_core::Result<_>>().map_err(device_fault)?;
        let hidden = match self.handover {
            Handover::Device => Hidden::OnDevice,
            Handover::Host => Hidden::OnHost,
        };
        Ok(Job { runs, hidden })
    }

    async fn hidden(&self, job: Job, context: &JobContext) -> Result<Tensor, ApiError> {
        let done = self.decoder.run(job, context).await?;
        done.reply.hidden.ok_or_else(|| bug("a probe came back without hidden states"))
    }

    fn violations(&self, rows: &Tensor, segments: &[ProbeSegment]) -> Vec<FieldViolation> {
        let (info, mut found) = (self.decoder.info(), Vec::new());
        let n_rows = match rows.dims() {
            [n, width] if *width == info.llm_width => *n,
            other => {
                let problem = format!("rows of shape {other:?}; [n, {}] are wanted", info.llm_width);
                return vec![FieldViolation::new("frame", problem)];
            }
        };
        if segments.is_empty() {
            found.push(FieldViolation::new("probe.segments", "must not be empty"));
        }
        for (i, segment) in segments.iter().enumerate() {
            let field = |name: &str| format!("probe.segments[{i}].{name}");
            let end = segment.first_row.checked_add(segment.n_rows);
            if segment.n_rows == 0 || end.is_none_or(|end| end > n_rows) {
                let problem = format!("{} rows from row {} of {n_rows}", segment.n_rows, segment.first_row);
                found.push(FieldViolation::new(field("n_rows"), problem));
            }
            match self.prompts.get(segment.prompt) {
                None => {
                    let problem = format!("{}; the session has {} prompts", segment.prompt, self.prompts.len());
                    found.push(FieldViolation::new(field("prompt"), problem));
                }
                Some(kept) if kept.n_positions.saturating_add(segment.n_rows) > info.context_length => {
                    let problem = format!("{} rows behind {} positions", segment.n_rows, kept.n_positions);
                    let problem = format!("{problem} are more than the context of {}", info.context_length);
                    found.push(FieldViolation::new(field("n_rows"), problem));
                }
                Some(_) => {}
            }
        }
        found
    }
}

/// Whole segments, as many as a job's rows allow and at least one.
fn portions(segments: &[ProbeSegment]) -> impl Iterator<Item = &[ProbeSegment]> {
    let mut rest = segments;
    std::iter::from_fn(move || {
        let mut n_rows = 0;
        let fits = |segment: &&ProbeSegment| {
            n_rows += segment.n_rows;
            n_rows <= PROBE_ROWS
        };
        let n = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (portion, behind) = rest.split_at(n);
        rest = behind;
        (n > 0).then_some(portion)
    })
}

/// One matrix of several, in order.
async fn join(mut parts: Vec<Tensor>) -> Result<Tensor, ApiError> {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => Ok(only),
        (_, last) => {
            parts.extend(last);
            // Hundreds of megabytes are copied: not on a thread that serves connections.
            let joined = tokio::task::spawn_blocking(move || Tensor::cat(&parts, 0)).await;
            joined.map_err(|_| bug("joining a probe panicked"))?.map_err(device_fault)
        }
    }
}

/// Runs every stretch behind its parent's cache, those of equal depth at once, and puts the caches of the prompts that end
/// there into `of_prompts`.
async fn prefill(
    decoder: &Decoder,
    stretches: Vec<Stretch>,
    of_prompts: &mut [Option<KvCache>],
    context: &JobContext,
) -> Result<(), ApiError> {
    let mut caches: Vec<Option<KvCache>> = vec![None; stretches.len()];
    let deepest = stretches.iter().map(|s| s.depth).max().unwrap_or(0);
    for depth in 0..=deepest {
        let layer: Vec<usize> = (0..stretches.len()).filter(|&i| stretches[i].depth == depth).collect();
        let begun = layer.iter().map(|&i| {
            let parent = stretches[i].parent.and_then(|p| caches[p].as_mut()).map(KvCache::share);
            (parent.unwrap_or_else(|| decoder.new_cache()), &stretches[i])
        });
        let begun: Vec<_> = begun.collect();
        let grown = futures::future::try_join_all(begun.into_iter().map(|(cache, s)| grow(decoder, cache, s, context)));
        for (i, cache) in layer.into_iter().zip(grown.await?) {
            caches[i] = Some(cache);
        }
    }
    for (stretch, cache) in stretches.iter().zip(&mut caches) {
        for &prompt in &stretch.prompts {
            of_prompts[prompt] = cache.as_mut().map(KvCache::share);
        }
    }
    Ok(())
}

/// One stretch, chunk by chunk.
async fn grow(
    decoder: &Decoder,
    mut cache: KvCache,
    stretch: &Stretch,
    context: &JobContext,
) -> Result<KvCache, ApiError> {
    for rows in decoder.chunks(&stretch.units)? {
        let run = JobRun { rows, cache, keep: true, sampler: None, wanted: Vec::new() };
        let done = decoder.run(Job { runs: vec![run], hidden: Hidden::Drop }, context).await?;
        cache = done.reply.runs.into_iter().next().ok_or_else(|| bug("a prefill lost its cache"))?.cache;
    }
    Ok(cache)
}
