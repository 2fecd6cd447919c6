//! A worker at its place on the thread: batches taken, computed and answered.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{Span, info_span};

use crate::batch::Chooser;
use crate::ledger::{Ledger, Tally};
use crate::observer::{BatchReport, Observer, Waiting};
use crate::pace::Pace;
use crate::queue::{Answer, Pending, Queue};
use crate::turns::Turn;
use crate::{Clock, Computed, Done, EngineError, Exhausted, Follow, JobContext, JobError, Worker};

/// A worker, its queue and what it learnt.
pub(crate) struct Seat<W: Worker> {
    pub(crate) worker: W,
    pub(crate) queue: Arc<Queue<W::Job, W::Reply>>,
    pub(crate) budget: usize,
    pub(crate) engine: String,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long passes of each kind take.
    pub(crate) paces: HashMap<u32, Pace>,
}

/// Who waits for a job that is being computed.
struct Caller<R> {
    answer: oneshot::Sender<Answer<R>>,
    context: JobContext,
    tenant: Arc<str>,
    tokens: usize,
    /// How long the job had waited when its pass began.
    queued: Duration,
    /// How long earlier jobs of the same call waited, and their passes took.
    so_far: (Duration, Duration),
}

/// What becomes of a job.
type Step<W> = Follow<<W as Worker>::Job, <W as Worker>::Reply>;

/// Jobs of one pass and those who wait for them, in the same order.
struct Pass<W: Worker> {
    kind: u32,
    jobs: Vec<W::Job>,
    callers: Vec<Caller<W::Reply>>,
}

impl<W: Worker> Pass<W> {
    /// Tokens of all jobs; none for a job that is to run alone, whatever its size.
    fn tokens(&self) -> Option<usize> {
        let sum = self.callers.iter().fold(0usize, |sum, caller| sum.saturating_add(caller.tokens));
        (sum < usize::MAX).then_some(sum)
    }

    /// The second half of the jobs, as a pass of its own.
    fn split(&mut self) -> Self {
        let middle = self.jobs.len() / 2;
        let (jobs, callers) = (self.jobs.split_off(middle), self.callers.split_off(middle));
        Self { kind: self.kind, jobs, callers }
    }
}

impl<W: Worker> Drop for Seat<W> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl<W: Worker> Turn for Seat<W> {
    fn take_turn(&mut self, leader: &str, ledger: &mut Ledger) -> usize {
        let taken = catch_unwind(AssertUnwindSafe(|| self.take(leader, ledger)));
        // A scan that panicked lost what it held; those callers are answered `Closed` by their dropped channels.
        let Ok(batch) = taken else { return 0 };
        if batch.is_empty() { 0 } else { self.run(batch, ledger) }
    }

    fn count(&self, tally: &mut Tally) {
        self.queue.count(tally);
    }

    fn holds(&self, tenant: &str) -> bool {
        self.queue.holds(tenant)
    }

    fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl<W: Worker> Seat<W> {
    fn take(&self, leader: &str, ledger: &Ledger) -> Vec<Pending<W::Job, W::Reply>> {
        let (worker, chooser) = (&self.worker, Chooser { leader, ledger, budget: self.budget });
        let choose = |waiting: &[_]| chooser.choose(waiting, &self.paces);
        self.queue.take(|job| worker.tokens(job), |job| worker.kind(job), choose)
    }

    /// Computes a batch; how many callers were answered.
    fn run(&mut self, batch: Vec<Pending<W::Job, W::Reply>>, ledger: &mut Ledger) -> usize {
        let traced = batch.iter().find_map(|p| p.context.span.with_subscriber(|(_, dispatch)| dispatch.clone()));
        match traced {
            // The batch is recorded where its jobs are, whichever thread the subscriber was set on.
            Some(dispatch) => tracing::dispatcher::with_default(&dispatch, || {
                let (spans, pass) = self.begun(batch);
                let span = self.batch_span(&pass, &spans);
                // A request's spans end with the request, not with the batch.
                drop(spans);
                span.in_scope(|| self.compute(pass, ledger))
            }),
            None => {
                let pass = self.begun(batch).1;
                self.compute(pass, ledger)
            }
        }
    }

    /// Jobs that wait no longer, with their spans.
    fn begun(&self, batch: Vec<Pending<W::Job, W::Reply>>) -> (Vec<Span>, Pass<W>) {
        let now = self.clock.now();
        let kind = batch.first().map_or(0, |pending| self.worker.kind(&pending.job));
        let mut spans = Vec::with_capacity(batch.len());
        let mut pass = Pass { kind, jobs: Vec::with_capacity(batch.len()), callers: Vec::with_capacity(batch.len()) };
        for Pending { job, mut context, account, answer, since, so_far, waiting } in batch {
            drop(waiting);
            let (tokens, queued) = (self.worker.tokens(&job), now.saturating_duration_since(since));
            // A span for each of a hundred jobs that go on would drown a trace: the first links its batch.
            spans.push(std::mem::replace(&mut context.span, Span::none()));
            pass.jobs.push(job);
            pass.callers.push(Caller { answer, context, tenant: account, tokens, queued, so_far });
        }
        (spans, pass)
    }

    /// A span of its own trace, linked to the spans of the jobs.
    fn batch_span(&self, pass: &Pass<W>, of_jobs: &[Span]) -> Span {
        let (jobs, kind, tokens) = (pass.jobs.len(), self.worker.kind_name(pass.kind), pass.tokens());
        let span = info_span!(parent: None, "batch", engine = self.engine, kind, jobs, tokens);
        for job in of_jobs {
            span.follows_from(job.id());
        }
        span
    }

    /// Computes a pass and answers it. One that the device has no memory for is halved and tried again, down to single
    /// jobs: what was too much together is no fault of any of them.
    fn compute(&mut self, mut pass: Pass<W>, ledger: &mut Ledger) -> usize {
        let (began, jobs) = (self.clock.now(), std::mem::take(&mut pass.jobs));
        match self.guarded(jobs) {
            Ok(replies) => self.answer(pass, replies, began, ledger),
            Err(Exhausted { jobs, .. }) if jobs.len() > 1 => {
                tracing::warn!(engine = self.engine, jobs = jobs.len(), "no memory for a batch: its halves are tried");
                pass.jobs = jobs;
                let rest = pass.split();
                self.compute(pass, ledger) + self.compute(rest, ledger)
            }
            Err(Exhausted { reason, .. }) => self.answer(pass, vec![Err(JobError::exhausted(reason))], began, ledger),
        }
    }

    fn answer(
        &mut self,
        pass: Pass<W>,
        replies: Vec<Result<Step<W>, JobError>>,
        began: Instant,
        ledger: &mut Ledger,
    ) -> usize {
        let (now, tokens) = (self.clock.now(), pass.tokens());
        let ran = now.saturating_duration_since(began);
        self.paces.entry(pass.kind).or_default().learn(tokens.unwrap_or(1), ran.as_secs_f64());
        let queued: Vec<Duration> = pass.callers.iter().map(|caller| caller.queued).collect();
        self.observer.batch_ran(&BatchReport { kind: self.worker.kind_name(pass.kind), tokens, queued: &queued, ran });
        // All are charged before any is answered: whoever comes back at once is to find the books in order.
        for caller in &pass.callers {
            let share = tokens.map_or(1.0, |all| caller.tokens as f64 / all.max(1) as f64);
            ledger.charge(&caller.tenant, share * ran.as_secs_f64(), now);
        }
        let mut answered = 0;
        for (caller, reply) in pass.callers.into_iter().zip(replies) {
            let (queued, ran) = (caller.so_far.0 + caller.queued, caller.so_far.1 + ran);
            let answer = match reply {
                Ok(Follow::Again(job)) => {
                    self.go_on(job, caller, (queued, ran));
                    continue;
                }
                Ok(Follow::Answer(reply)) => Ok(Done { reply, queued, ran }),
                Err(error) => Err(EngineError::from(error)),
            };
            // A caller that has gone does not read its answer.
            let _ = caller.answer.send(answer);
            answered += 1;
        }
        answered
    }

    /// Puts what follows on a job where jobs wait.
    fn go_on(&self, job: W::Job, caller: Caller<W::Reply>, so_far: (Duration, Duration)) {
        let Caller { answer, context, tenant: account, .. } = caller;
        let (since, waiting) = (self.clock.now(), Waiting::new(Span::none(), &self.observer));
        self.queue.put_back(Pending { job, context, account, answer, since, so_far, waiting });
    }

    /// A result for every job, or all jobs back, whatever the worker does.
    fn guarded(&mut self, jobs: Vec<W::Job>) -> Computed<W::Job, Step<W>> {
        let n = jobs.len();
        let worker = &mut self.worker;
        let followed = move || {
            let replies = worker.run(jobs)?;
            Ok(replies.into_iter().map(|reply| reply.map(|reply| worker.follow(reply))).collect::<Vec<_>>())
        };
        let fault = |reason: String| Ok((0..n).map(|_| Err(JobError::new(&reason))).collect());
        match catch_unwind(AssertUnwindSafe(followed)) {
            Ok(Ok(replies)) if replies.len() == n => Ok(replies),
            Ok(Ok(replies)) => fault(format!("the worker answered {} of {n} jobs", replies.len())),
            Ok(Err::<_, Exhausted<W::Job>>(exhausted)) if exhausted.jobs.len() == n => Err(exhausted),
            Ok(Err(exhausted)) => fault(format!("the worker gave {} of {n} jobs back", exhausted.jobs.len())),
            Err(payload) => fault(format!("the worker panicked: {}", panic_message(payload.as_ref()))),
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
