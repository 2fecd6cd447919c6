//! What became of the requests, and the report of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use tonic::Code;

use crate::faults::{Fault, Kind};
use crate::load::{TASKS, is_typed};
use crate::recovery::{self, Recovery};
use crate::{Plan, Section};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the bytes that its seed makes.
    Same,
    /// With a status.
    Status(Code),
    /// With other bytes.
    Different,
    /// With something delivered twice, or not at all.
    Duplicate,
    /// Without a final event or status.
    NoEnd,
}

impl Outcome {
    /// True for an end that no client could be content with.
    pub fn is_miss(self) -> bool {
        match self {
            Self::Same => false,
            Self::Status(code) => !is_typed(code),
            Self::Different | Self::Duplicate | Self::NoEnd => true,
        }
    }
}

/// A request that ended.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) task: usize,
    pub(crate) outcome: Outcome,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) resumed: u32,
    /// When it was seen to go on.
    pub(crate) heard: Vec<Instant>,
    /// When its caller was told that work was lost and is made good.
    pub(crate) losses: Vec<Instant>,
}

impl Request {
    fn took(&self) -> Duration {
        self.ended - self.began
    }
}

/// Everything that happened.
#[derive(Debug)]
pub struct Account {
    plan: Plan,
    requests: Vec<Request>,
    /// What was done to the processes.
    pub faults: Vec<Fault>,
}

impl Account {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { plan: plan.clone(), requests: Vec::new(), faults: Vec::new() }
    }

    pub(crate) fn take(&mut self, requests: Vec<Request>) {
        self.requests.extend(requests);
    }

    /// Requests in all.
    pub fn n_requests(&self) -> usize {
        self.requests.len()
    }

    /// Requests that ended with the right bytes.
    pub fn n_same(&self) -> usize {
        self.requests.iter().filter(|request| request.outcome == Outcome::Same).count()
    }

    /// The requests that ended as none should, each in a line.
    pub fn misses(&self) -> Vec<String> {
        let missed = self.requests.iter().filter(|request| request.outcome.is_miss());
        missed.map(|r| format!("{}: {:?} after {:.1} s", TASKS[r.task], r.outcome, r.took().as_secs_f64())).collect()
    }

    /// The numbers, as a section of the report.
    pub fn section(&self) -> Section {
        let (plan, sizes) = (&self.plan, &self.plan.sizes);
        let mut text = format!(
            "Faults of seed {}, one after another, over {} requests of {} clients; {} gateways, {} understanding, {} synthesis, \
             {} decoders on `{}`.\n\n",
            plan.seed,
            self.n_requests(),
            plan.clients,
            sizes.gateways,
            sizes.understanding,
            sizes.synthesis,
            sizes.decoders,
            plan.model,
        );
        self.write_requests(&mut text);
        let kinds = [Kind::Kill, Kind::Restart, Kind::Freeze];
        let recoveries = kinds.map(|kind| Recovery::of(kind, &self.faults, &self.requests));
        recovery::write(&mut text, &recoveries, &self.requests, &self.faults);
        let mut misses = self.misses();
        misses.extend(recoveries.iter().flat_map(Recovery::misses));
        Section { name: "faults", title: "Faults", text, misses }
    }

    fn write_requests(&self, text: &mut String) {
        text.push_str("| task | asked | same bytes | resumed | p50 s | p99 s | longest s | statuses |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
        for (task, name) in TASKS.iter().enumerate() {
            let of: Vec<&Request> = self.requests.iter().filter(|request| request.task == task).collect();
            let same = of.iter().filter(|request| request.outcome == Outcome::Same).count();
            let resumed = of.iter().filter(|request| request.resumed > 0).count();
            let mut took: Vec<f64> = of.iter().map(|request| request.took().as_secs_f64()).collect();
            took.sort_by(f64::total_cmp);
            let at =
                |share: f64| took.get((took.len() as f64 * share) as usize).or(took.last()).copied().unwrap_or(0.0);
            let mut statuses = BTreeMap::new();
            for request in &of {
                if let Outcome::Status(code) = request.outcome {
                    *statuses.entry(format!("{code:?}")).or_insert(0) += 1;
                }
            }
            let statuses: Vec<String> = statuses.into_iter().map(|(code, n)| format!("{code} {n}")).collect();
            let (asked, statuses) = (of.len(), statuses.join(", "));
            let (p50, p99, longest) = (at(0.5), at(0.99), at(1.0));
            let _ = writeln!(
                text,
                "| {name} | {asked} | {same} | {resumed} | {p50:.2} | {p99:.2} | {longest:.2} | {statuses} |"
            );
        }
        text.push('\n');
    }
}
