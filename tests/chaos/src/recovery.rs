//! How long faults were felt: by the requests that were under way, and by the process itself.
//!
//! A request feels a fault as a stall: time without progress and without an end, from the fault on. Being told that work was
//! lost is no progress; the next event is, and so is a status. A killed process is noticed at once, as its connections are
//! reset; a frozen one only by keepalives, where nobody waits for it to go on.

use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::account::{Outcome, Request};
use crate::faults::{Fault, Kind};

/// Within this time after a fault is noticed, a request goes on elsewhere or has its status.
const ANSWER: Duration = Duration::from_secs(1);
/// Within this time a frozen peer is noticed.
const NOTICE: Duration = Duration::from_secs(5);
/// Within this time a process serves again after it was started or let go on.
const READY: Duration = Duration::from_secs(5);

/// What came of the faults of one kind.
#[derive(Debug)]
pub(crate) struct Recovery {
    kind: Kind,
    n: usize,
    /// Stalls, the longest of each request that a fault was felt by.
    stalls: Vec<Duration>,
    /// From a fault to the status of a request that was under way.
    statuses: Vec<Duration>,
    /// From a fault to the word that work was lost and is made good.
    losses: Vec<Duration>,
    /// From the start, or from the thaw, to SERVING.
    ready: Vec<Duration>,
    /// Faults that lasted longer than it may take to notice them, and how many of those a request noticed.
    long: (usize, usize),
    /// Until the servers of a process that was frozen for so long had closed its connections, where they had.
    left: Vec<Option<Duration>>,
}

impl Recovery {
    /// Of all faults of a kind.
    pub(crate) fn of(kind: Kind, faults: &[Fault], requests: &[Request]) -> Self {
        let (stalls, statuses, losses, ready) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut recovery = Self { kind, n: 0, stalls, statuses, losses, ready, long: (0, 0), left: Vec::new() };
        for (number, fault) in faults.iter().enumerate().filter(|(_, fault)| fault.kind == kind) {
            // What comes after the next fault has begun is that one's.
            let next = faults.get(number + 1).map(|next| next.at);
            recovery.take(fault, next, requests);
        }
        recovery
    }

    fn take(&mut self, fault: &Fault, next: Option<Instant>, requests: &[Request]) {
        let known = self.losses.len() + self.statuses.len();
        for request in requests.iter().filter(|request| meets(request, fault)) {
            self.stalls.push(stall(request, fault));
            let is_its = |at: &&Instant| **at >= fault.at && next.is_none_or(|next| **at < next);
            let since = |at: &Instant| at.saturating_duration_since(fault.at.max(request.began));
            let failed = matches!(request.outcome, Outcome::Status(_)).then_some(&request.ended);
            self.statuses.extend(failed.filter(is_its).map(since));
            self.losses.extend(request.losses.iter().filter(is_its).map(since));
        }
        self.n += 1;
        self.ready.push(fault.served - fault.over);
        if fault.over - fault.at > NOTICE {
            self.long.0 += 1;
            self.long.1 += usize::from(self.losses.len() + self.statuses.len() > known);
            self.left.extend(fault.left);
        }
    }

    /// The longest that a request may stand still.
    fn stall_goal(&self) -> Option<Duration> {
        match self.kind {
            Kind::Kill => Some(ANSWER),
            Kind::Freeze => Some(NOTICE + ANSWER),
            Kind::Restart => None,
        }
    }

    /// What took longer than it may.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        let mut judge = |what: &str, times: &[Duration], goal: Duration| {
            let over = times.iter().filter(|time| **time > goal).count();
            if over > 0 {
                let (kind, longest) = (self.kind, longest(times));
                let goal = goal.as_secs();
                misses.push(format!("{kind:?}: {what} took {longest:.1} s, goal {goal} ({over} of {})", times.len()));
            }
        };
        if let Some(goal) = self.stall_goal() {
            judge("until a request went on or had its status", &self.stalls, goal);
        }
        if self.kind == Kind::Freeze {
            judge("until a loss was told", &self.losses, NOTICE);
            judge("until a request that failed had its status", &self.statuses, NOTICE);
            // One that was never noticed took longer than any goal.
            let left: Vec<Duration> = self.left.iter().map(|left| left.unwrap_or(Duration::MAX)).collect();
            judge("until the others let a frozen process go", &left, NOTICE);
        }
        judge("until it served again", &self.ready, READY);
        misses
    }

    fn row(&self) -> String {
        let cell = |times: &[Duration]| match times.len() {
            0 => String::new(),
            n => format!("{:.2} ({n})", longest(times)),
        };
        let goal = self.stall_goal().map(|goal| goal.as_secs().to_string()).unwrap_or_default();
        let (statuses, losses) = (cell(&self.statuses), cell(&self.losses));
        let (stalls, ready) = (cell(&self.stalls), longest(&self.ready));
        format!("| {:?} | {} | {losses} | {statuses} | {stalls} | {goal} | {ready:.2} | 5 |", self.kind, self.n)
    }
}

/// The table of all kinds.
pub(crate) fn write(text: &mut String, recoveries: &[Recovery], requests: &[Request], faults: &[Fault]) {
    text.push_str(
        "The longest that was felt of a fault, in seconds, and by how many requests: from the fault until a loss was told to its \
         caller, until a request that failed had its status, and until each request under way went on or ended.\n\n\
         | fault | made | loss told | status | stall | goal | ready again | goal |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    // Writing to a string does not fail.
    for recovery in recoveries {
        let _ = writeln!(text, "{}", recovery.row());
    }
    for Recovery { kind, long: (long, noticed), left, .. } in recoveries.iter().filter(|recovery| recovery.long.0 > 0) {
        let gone: Vec<Duration> = left.iter().flatten().copied().collect();
        let _ = writeln!(
            text,
            "\n{kind:?}: {long} lasted longer than 5 s, and requests noticed {noticed} of them. {} of those were processes with \
             connections to others, which had closed them in {} cases, {:.2} s after the freeze at the longest (goal 5).",
            left.len(),
            gone.len(),
            longest(&gone),
        );
    }
    let calm: Vec<Duration> = requests
        .iter()
        .filter(|request| !faults.iter().any(|fault| meets(request, fault)))
        .map(|request| longest_gap(request, request.began))
        .collect();
    let _ = writeln!(
        text,
        "\nReady again is counted from the start of the process, or from the end of its freeze. Of {} requests that met no fault, \
         the longest stall was {:.2} s.\n",
        calm.len(),
        longest(&calm),
    );
}

/// True for a request that was under way during a fault.
fn meets(request: &Request, fault: &Fault) -> bool {
    request.began <= fault.served && request.ended >= fault.at
}

/// The longest time without progress that began in the fault or before.
fn stall(request: &Request, fault: &Fault) -> Duration {
    let until = |at: &Instant| *at <= fault.served;
    let times = progress(request);
    times
        .windows(2)
        .filter(|pair| until(&pair[0]))
        .map(|pair| pair[1].saturating_duration_since(pair[0].max(fault.at)))
        .max()
        .unwrap_or_default()
}

fn longest_gap(request: &Request, from: Instant) -> Duration {
    progress(request)
        .windows(2)
        .map(|pair| pair[1].saturating_duration_since(pair[0].max(from)))
        .max()
        .unwrap_or_default()
}

/// The request's beginning, every progress, and its end.
fn progress(request: &Request) -> Vec<Instant> {
    let heard = request.heard.iter().copied();
    std::iter::once(request.began).chain(heard).chain(std::iter::once(request.ended)).collect()
}

fn longest(times: &[Duration]) -> f64 {
    times.iter().max().copied().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    /// Times in tenths of a second.
    fn request(outcome: Outcome, began: Instant, heard: &[u64], losses: &[u64], ended: u64) -> Request {
        let at = |tenths: &u64| began + Duration::from_millis(tenths * 100);
        let (heard, losses) = (heard.iter().map(at).collect(), losses.iter().map(at).collect());
        Request { task: 0, outcome, began, ended: at(&ended), resumed: 0, heard, losses }
    }

    #[test]
    fn a_stall_is_time_without_progress_from_the_fault_on() {
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        let kill = Fault { kind: Kind::Kill, service: "decoder", at: at(10), over: at(12), served: at(20), left: None };
        let failed = Outcome::Status(Code::Unavailable);
        let requests = [
            // Stood still for 0.8 s before the fault, for 1.2 s after it, though a loss was told at once.
            request(Outcome::Same, start, &[2, 22, 24], &[11], 25),
            request(failed, start, &[9], &[], 14),
            // Over before, and begun behind.
            request(Outcome::Same, start, &[1], &[], 9),
            request(Outcome::Same, at(21), &[], &[], 100),
        ];
        let recovery = Recovery::of(Kind::Kill, std::slice::from_ref(&kill), &requests);
        let tenths = |times: &[Duration]| times.iter().map(|time| time.as_millis() / 100).collect::<Vec<_>>();
        assert_eq!(tenths(&recovery.stalls), [12, 4]);
        assert_eq!((tenths(&recovery.statuses), tenths(&recovery.losses)), (vec![4], vec![1]));
        assert_eq!(tenths(&recovery.ready), [8]);
        assert_eq!(recovery.misses().len(), 1, "{:?}", recovery.misses());
        assert!(Recovery::of(Kind::Freeze, &[kill], &requests).misses().is_empty());
    }
}
