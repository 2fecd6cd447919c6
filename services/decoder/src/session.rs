//! The prompts of one generation, prefilled, and probes behind them.

use candle_core::Tensor;
use futures::{StreamExt, TryStreamExt};
use tracing::info_span;
use unipic_api::{ApiError, FieldViolation};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_models::prompt::Prompt;
use unipic_nn::KvCache;
use unipic_telemetry::metrics::Raised;

use crate::asked::Asked;
use crate::decoder::{Decoder, bug, device_fault};
use crate::plan::{self, Stretch, Unit};
use crate::worker::{Hidden, Job, JobRun, Rows};

/// Rows of one probe job. The probes of many images are cut, so that what a pass holds in memory is bounded by the batch's
/// budget and not by the request; one branch of an image at 1024 px (4,160 rows) is one job.
const PROBE_ROWS: usize = 4352;

/// Jobs of one request that are at the device at once: as many probes as the default batch holds. All at once would fill a
/// queue with one request, which then could never be done; a queue for `n` requests has room for `n` times as many.
pub const JOBS_AT_ONCE: usize = 4;

/// Prompts that are kept. Dropping it frees their keys and values.
pub struct Session {
    decoder: Decoder,
    handover: Handover,
    prompts: Vec<Kept>,
    prefilled_tokens: usize,
    _counted: (Raised, Raised),
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
        let named = prompts.into_iter().enumerate().map(|(i, prompt)| (format!("open.prompts[{i}]"), prompt));
        let asked = decoder.asked(named.collect(), &context.tenant).await?;
        let sizes: Vec<usize> = asked.iter().map(|asked| plan::n_positions(&asked.units)).collect();
        let begun = begun(&decoder, &asked);
        let begun_positions: usize = begun.iter().flatten().map(|(cache, _)| cache.len()).sum();
        let missing: Vec<_> = (0..asked.len()).filter(|i| begun[*i].is_none()).collect();
        let missing: Vec<_> = missing.into_iter().map(|i| (i, asked[i].units.clone())).collect();
        let stretches = plan::stretches(&missing);
        let continued: usize = begun.iter().zip(&sizes).filter(|(b, _)| b.is_some()).map(|(_, n)| n).sum();
        let fresh: usize = stretches.iter().map(|s| plan::n_positions(&s.units)).sum();
        let prefilled_tokens = fresh + continued - begun_positions;
        let span = info_span!(parent: &context.span, "prefill", prompts = asked.len(), tokens = prefilled_tokens);
        let mut caches = prefill_all(&decoder, &asked, begun, stretches, &context.with_span(span)).await?;
        for (asked, cache) in asked.iter().zip(&mut caches) {
            decoder.keep(asked, cache)?;
        }
        let counted = decoder.metrics.session(KvCache::total_bytes(&caches));
        let prompts = caches.into_iter().zip(sizes).map(|(cache, n_positions)| Kept { cache, n_positions }).collect();
        Ok(Self { decoder, handover, prompts, prefilled_tokens, _counted: counted })
    }

    /// Positions of each prompt.
    pub fn prompt_tokens(&self) -> impl Iterator<Item = usize> {
        self.prompts.iter().map(|kept| kept.n_positions)
    }

    /// Positions that were computed: what prompts have in common counts once, what was computed before not at all.
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
        let done: Vec<_> = jobs.into_iter().map(|job| self.hidden(job, &context)).collect();
        join(some_at_once(JOBS_AT_ONCE, done).await?).await
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

/// Runs a request's jobs, in order, `n` of them at the device.
async fn some_at_once<T>(n: usize, jobs: Vec<impl Future<Output = Result<T, ApiError>>>) -> Result<Vec<T>, ApiError> {
    futures::stream::iter(jobs).buffered(n).try_collect().await
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

/// What is kept of each prompt's beginning, with the number of its units: nothing where the prompts of the session have more
/// in common with each other, since that is computed once anyway.
fn begun(decoder: &Decoder, asked: &[Asked]) -> Vec<Option<(KvCache, usize)>> {
    let of = |(i, one): (usize, &Asked)| {
        let others = asked.iter().enumerate().filter(|(j, _)| *j != i);
        let common = others.map(|(_, other)| plan::n_common(&one.units, &other.units)).max().unwrap_or(0);
        let (cache, n_units) = decoder.begun(one, one.units.len());
        (n_units > 0 && cache.len() >= common).then_some((cache, n_units))
    };
    asked.iter().enumerate().map(of).collect()
}

/// Caches of all prompts: those that were begun are continued, the others computed as planned.
async fn prefill_all(
    decoder: &Decoder,
    asked: &[Asked],
    begun: Vec<Option<(KvCache, usize)>>,
    stretches: Vec<Stretch>,
    context: &JobContext,
) -> Result<Vec<KvCache>, ApiError> {
    let mut caches: Vec<Option<KvCache>> = vec![None; asked.len()];
    let continued = begun.into_iter().enumerate().filter_map(|(i, begun)| {
        let (cache, n_units) = begun?;
        let rest = &asked[i].units[n_units..];
        Some(async move { Ok::<_, ApiError>((i, grow(decoder, cache, rest, context).await?)) })
    });
    let continued = some_at_once(JOBS_AT_ONCE / 2, continued.collect());
    let (continued, ()) =
        futures::future::try_join(continued, prefill(decoder, stretches, &mut caches, context)).await?;
    for (i, cache) in continued {
        caches[i] = Some(cache);
    }
    caches.into_iter().collect::<Option<_>>().ok_or_else(|| bug("a prompt was not prefilled"))
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
        let grown: Vec<_> = begun.into_iter().map(|(cache, s)| grow(decoder, cache, &s.units, context)).collect();
        for (i, cache) in layer.into_iter().zip(some_at_once(JOBS_AT_ONCE / 2, grown).await?) {
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

/// One stretch of units, chunk by chunk, cut behind its images.
async fn grow(
    decoder: &Decoder,
    mut cache: KvCache,
    units: &[Unit],
    context: &JobContext,
) -> Result<KvCache, ApiError> {
    let first = cache.len();
    for rows in decoder.chunks(units)? {
        let run = JobRun { rows, cache, keep: true, sampler: None, wanted: Vec::new() };
        let done = decoder.run(Job { runs: vec![run], hidden: Hidden::Drop }, context).await?;
        cache = done.reply.runs.into_iter().next().ok_or_else(|| bug("a prefill lost its cache"))?.cache;
    }
    let ends: Vec<usize> = plan::image_ends(units).into_iter().map(|end| first + end).collect();
    cache.freeze_at(&ends).map_err(device_fault)?;
    Ok(cache)
}
