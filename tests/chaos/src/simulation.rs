//! Thousands of seeds of the simulated network, and what came of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use unipic_simulation::{Run, replay, simulate};

use crate::Section;

/// One seed of so many is run twice, and must come out the same.
const TWICE: u64 = 20;

/// Runs that take longer in real time are not held against each other: h2 forgets streams that were reset a second ago, by the
/// machine's clock, which no simulation holds.
const COMPARABLE: Duration = Duration::from_millis(900);

/// Which seeds are run.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many.
    pub n: u64,
    /// Every run's trace is printed.
    pub trace: bool,
}

/// What all seeds came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    repeated: u64,
    outcomes: BTreeMap<(&'static str, String), usize>,
    faults: BTreeMap<&'static str, usize>,
    resumed: usize,
    recovery: Duration,
    simulated: Duration,
    misses: BTreeMap<u64, Vec<String>>,
}

impl Sum {
    fn take(&mut self, run: Run) {
        self.runs += 1;
        self.resumed += run.resumed;
        self.recovery = self.recovery.max(run.recovery);
        self.simulated += run.lasted;
        for (outcome, n) in run.outcomes {
            *self.outcomes.entry(outcome).or_default() += n;
        }
        for (fault, n) in run.faults {
            *self.faults.entry(fault).or_default() += n;
        }
        if !run.violations.is_empty() {
            self.misses.insert(run.seed, run.violations);
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.repeated += other.repeated;
        self.resumed += other.resumed;
        self.recovery = self.recovery.max(other.recovery);
        self.simulated += other.simulated;
        for (outcome, n) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += n;
        }
        for (fault, n) in other.faults {
            *self.faults.entry(fault).or_default() += n;
        }
        self.misses.extend(other.misses);
    }
}

/// Runs seeds until there are no more, one after the other.
fn work(seeds: Seeds, next: &AtomicU64) -> Sum {
    let mut sum = Sum::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= seeds.n {
            return sum;
        }
        let seed = seeds.first + number;
        let (mut run, took) = timed(seed);
        if seed.is_multiple_of(TWICE) {
            let (again, took_again) = timed(seed);
            let is_comparable = took.max(took_again) < COMPARABLE;
            sum.repeated += u64::from(is_comparable);
            if is_comparable && again != run {
                run.violations.push("a second run of the same seed came out differently".to_owned());
            }
        }
        if seeds.trace {
            println!("seed {seed}\n{}", run.trace.join("\n"));
        }
        if !run.violations.is_empty() {
            eprintln!("seed {seed}:\n{}\n{}", run.violations.join("\n"), replay(seed));
        }
        sum.take(run);
    }
}

/// A seed's run and the real time that it took.
fn timed(seed: u64) -> (Run, Duration) {
    let began = Instant::now();
    (simulate(seed), began.elapsed())
}

/// Runs the seeds on all cores.
#[must_use]
pub fn simulation(seeds: Seeds) -> Section {
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(|| work(seeds, &next))).collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => sum.add(part),
                // The panic's own text is on standard error.
                Err(_) => drop(sum.misses.insert(u64::MAX, vec!["a simulation panicked".to_owned()])),
            }
        }
    });
    section(seeds, &sum, began.elapsed())
}

fn section(seeds: Seeds, sum: &Sum, took: Duration) -> Section {
    let n_requests: usize = sum.outcomes.values().sum();
    let n_faults: usize = sum.faults.values().sum();
    let mut text = format!(
        "Seeds {} to {}: {} simulations of {:.1} simulated hours in {:.0} s, {n_requests} requests, {n_faults} faults. Work \
         was made good within a request {} times. {} seeds were run twice and came out the same unless it says otherwise below.\n\n",
        seeds.first,
        (seeds.first + seeds.n).saturating_sub(1),
        sum.runs,
        sum.simulated.as_secs_f64() / 3600.0,
        took.as_secs_f64(),
        sum.resumed,
        sum.repeated,
    );
    text.push_str("| asked | ends |\n| --- | --- |\n");
    let mut by_kind: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((kind, end), n) in &sum.outcomes {
        by_kind.entry(kind).or_default().push(format!("{end} {n}"));
    }
    // Writing to a string does not fail.
    for (kind, ends) in by_kind {
        let _ = writeln!(text, "| {kind} | {} |", ends.join(", "));
    }
    text.push_str("\n| fault | made |\n| --- | --- |\n");
    for (fault, n) in &sum.faults {
        let _ = writeln!(text, "| {fault} | {n} |");
    }
    let recovery = sum.recovery.as_secs_f64();
    let _ = write!(
        text,
        "\n`right` is the whole right answer, `left` a caller that went away. Once everything was whole again, the slowest \
         caller had its next image after {recovery:.1} simulated s (goal 15).\n"
    );
    let line = |(seed, misses): (&u64, &Vec<String>)| format!("seed {seed}: {}", misses.join("; "));
    Section { name: "simulate", title: "A simulated network", text, misses: sum.misses.iter().map(line).collect() }
}
