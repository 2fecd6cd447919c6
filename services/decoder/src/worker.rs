//! The language model on the device thread.
//!
//! Prefill, probe and token-by-token decoding are one kind of job: runs of rows behind caches. So whatever waits,
//! of whichever request, shares one packed pass. Caches travel with the jobs and come back in the replies, which is why
//! no lock guards them and why dropping a request's future frees them.

use candle_core::{Device, Error, Result, Tensor};
use unipic_engine::{Computed, Exhausted, JobError, Worker};
use unipic_models::qwen2::{CacheUse, Model, Run};
use unipic_models::sampling::{Sampler, SamplingError};
use unipic_nn::{KvCache, is_out_of_memory};

/// Input of some positions.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// Token ids.
    Ids(Vec<u32>),
    /// Embeddings `[n, H]`, on any device.
    Embeddings(Tensor),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Embeddings(x) => x.dims().first().copied().unwrap_or(0),
        }
    }
}

/// Rows behind one cache.
#[derive(Debug)]
pub(crate) struct JobRun {
    pub(crate) rows: Vec<Rows>,
    pub(crate) cache: KvCache,
    /// Whether the rows' keys and values stay in the cache.
    pub(crate) keep: bool,
    /// Picks a token behind the last row.
    pub(crate) sampler: Option<Sampler>,
    /// Tokens whose likelihood behind some of the rows is wanted.
    pub(crate) wanted: Vec<Wanted>,
}

/// Tokens that may come behind a row of a run.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The row, within the run.
    pub(crate) row: usize,
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
}

impl JobRun {
    fn n_rows(&self) -> usize {
        self.rows.iter().map(Rows::len).sum()
    }
}

/// What to do with the hidden states of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// They are of no interest.
    Drop,
    /// Return them where they are.
    OnDevice,
    /// Return them as f32 in the host's memory.
    OnHost,
}

/// Runs that are computed in one pass.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) runs: Vec<JobRun>,
    pub(crate) hidden: Hidden,
}

/// What became of a job.
pub(crate) struct Reply {
    /// The runs' caches and samplers, in order.
    pub(crate) runs: Vec<RunReply>,
    /// `[rows of the job, H]`, where asked for.
    pub(crate) hidden: Option<Tensor>,
    /// Whether `hidden` holds only numbers.
    pub(crate) finite: bool,
}

pub(crate) struct RunReply {
    pub(crate) cache: KvCache,
    /// What the sampler picked, and the sampler after it.
    pub(crate) picked: Option<(std::result::Result<u32, SamplingError>, Sampler)>,
    /// ln P of the wanted tokens, row after row.
    pub(crate) logprobs: Vec<Vec<f64>>,
}

/// Owns the model.
pub(crate) struct DecoderWorker {
    pub(crate) model: Model,
}

impl Worker for DecoderWorker {
    type Job = Job;
    type Reply = Reply;

    fn tokens(&self, job: &Job) -> usize {
        job.runs.iter().map(JobRun::n_rows).sum()
    }

    fn kind(&self, _: &Job) -> u32 {
        0
    }

    fn kind_name(&self, _: u32) -> &'static str {
        "language"
    }

    fn run(&mut self, mut jobs: Vec<Job>) -> Computed<Job, Reply> {
        let lengths: Vec<usize> = jobs.iter().flat_map(|job| &job.runs).map(|run| run.cache.len()).collect();
        let computed = self.pass(&mut jobs).and_then(|hidden| Ok((self.logits(&jobs, &hidden)?, hidden)));
        match computed {
            Ok((logits, hidden)) => Ok(self.replies(jobs, &hidden, logits)),
            Err(error) if is_out_of_memory(&error) && restore(&mut jobs, &lengths).is_ok() => {
                Err(Exhausted { jobs, reason: error.to_string() })
            }
            Err(error) => Ok(jobs.iter().map(|_| Err(failed(&error))).collect()),
        }
    }
}

fn failed(error: &Error) -> JobError {
    if is_out_of_memory(error) { JobError::exhausted(error) } else { JobError::new(error) }
}

/// Takes back what a pass that broke off had appended: some layers have more than others then.
fn restore(jobs: &mut [Job], lengths: &[usize]) -> Result<()> {
    let runs = jobs.iter_mut().flat_map(|job| &mut job.runs);
    runs.zip(lengths).filter(|(run, _)| run.keep).try_for_each(|(run, len)| run.cache.truncate(*len))
}

impl DecoderWorker {
    /// One packed pass over all runs of all jobs: `[T, H]`.
    fn pass(&self, jobs: &mut [Job]) -> Result<Tensor> {
        let runs = || jobs.iter().flat_map(|job| &job.runs);
        let parts: Vec<Tensor> =
            runs().flat_map(|run| &run.rows).map(|rows| self.embed(rows)).collect::<Result<_>>()?;
        let x = Tensor::cat(&parts, 0)?;
        let mut runs: Vec<Run<'_>> = jobs.iter_mut().flat_map(|job| &mut job.runs).map(as_run).collect();
        self.model.forward(&x, &mut runs)
    }

    fn embed(&self, rows: &Rows) -> Result<Tensor> {
        match rows {
            Rows::Ids(ids) => self.model.embed(ids),
            Rows::Embeddings(x) => x.to_device(self.model.device())?.to_dtype(self.model.dtype()),
        }
    }

    fn replies(
        &self,
        jobs: Vec<Job>,
        hidden: &Tensor,
        logits: Vec<Vec<f32>>,
    ) -> Vec<std::result::Result<Reply, JobError>> {
        let (mut first, mut logits) = (0, logits.into_iter());
        let mut replies = Vec::with_capacity(jobs.len());
        for job in jobs {
            let n_rows = self.tokens(&job);
            let out = hidden.narrow(0, first, n_rows).and_then(|rows| output(&rows, job.hidden));
            first += n_rows;
            let runs = job.runs.into_iter().map(|run| finish(run, &mut logits)).collect();
            replies.push(match out {
                Ok((hidden, finite)) => Ok(Reply { runs, hidden, finite }),
                Err(error) => Err(failed(&error)),
            });
        }
        replies
    }

    /// Logits behind the rows of every run whose tokens are wanted, and behind the last row where it picks one, in this order;
    /// one product for all of them.
    fn logits(&self, jobs: &[Job], hidden: &Tensor) -> Result<Vec<Vec<f32>>> {
        let (mut first, mut rows) = (0u32, Vec::new());
        for run in jobs.iter().flat_map(|job| &job.runs) {
            rows.extend(run.wanted.iter().map(|wanted| first + wanted.row as u32));
            first += run.n_rows() as u32;
            if run.sampler.is_some() {
                rows.push(first - 1);
            }
        }
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let rows = Tensor::new(rows, hidden.device())?;
        self.model.logits(&hidden.index_select(&rows, 0)?)?.to_vec2()
    }
}

fn as_run(run: &mut JobRun) -> Run<'_> {
    let n_rows = run.n_rows();
    let cache = if run.keep { CacheUse::Append(&mut run.cache) } else { CacheUse::Read(&run.cache) };
    Run { n_rows, cache }
}

fn finish(run: JobRun, logits: &mut impl Iterator<Item = Vec<f32>>) -> RunReply {
    let wanted = run.wanted.iter();
    let logprobs = wanted.map(|wanted| logprobs(&logits.next().unwrap_or_default(), &wanted.tokens)).collect();
    let picked = run.sampler.map(|mut sampler| {
        let picked = sampler.pick(&logits.next().unwrap_or_default());
        (picked, sampler)
    });
    RunReply { cache: run.cache, picked, logprobs }
}

/// ln P of some tokens under a row of logits, summed in f64: a vocabulary has 10^5 terms. Not a number where the logits are
/// none, or the token is beyond them.
fn logprobs(logits: &[f32], tokens: &[u32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    let of = |token: &u32| logits.get(*token as usize).map_or(f64::NAN, |x| f64::from(x - most) - sum.ln());
    tokens.iter().map(of).collect()
}

/// The hidden states where they are wanted, and whether they are all numbers.
fn output(rows: &Tensor, hidden: Hidden) -> Result<(Option<Tensor>, bool)> {
    if hidden == Hidden::Drop {
        return Ok((None, true));
    }
    // A sum is a number only if all terms are: hidden states are far too small to overflow it.
    let wide = rows.to_dtype(candle_core::DType::F32)?;
    let finite = wide.sum_all()?.to_scalar::<f32>()?.is_finite();
    let out = match hidden {
        Hidden::OnHost => wide.to_device(&Device::Cpu)?,
        // A copy of its own: a view would keep the whole batch's matrix alive.
        _ => rows.copy()?,
    };
    Ok((Some(out), finite))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    const LAYERS: usize = 3;

    fn append(cache: &mut KvCache, layers: usize, n: usize) {
        let rows = Tensor::ones((n, 2), DType::F32, &Device::Cpu).unwrap();
        (0..layers).for_each(|layer| cache.append(layer, &rows, &rows).unwrap());
    }

    fn lengths(cache: &KvCache) -> Vec<usize> {
        let length = |layer| cache.layer(layer).iter().map(|(k, _)| k.dims()[0]).sum();
        (0..LAYERS).map(length).collect()
    }

    #[test]
    fn a_pass_that_broke_off_leaves_caches_as_they_were() {
        for (before, is_shared, ran) in [(0, false, 2), (3, false, 2), (3, true, 2), (3, false, 3), (3, true, 3)] {
            let mut cache = KvCache::new(LAYERS);
            if before > 0 {
                append(&mut cache, LAYERS, before);
            }
            if is_shared {
                drop(cache.share());
            }
            append(&mut cache, ran, 2);
            let rows = vec![Rows::Ids(vec![1, 2])];
            let run = JobRun { rows, cache, keep: true, sampler: None, wanted: Vec::new() };
            let mut jobs = [Job { runs: vec![run], hidden: Hidden::Drop }];
            restore(&mut jobs, &[before]).unwrap();
            assert_eq!(lengths(&jobs[0].runs[0].cache), [before; LAYERS], "{before} {is_shared} {ran}");
        }
    }
}
