//! Thousands of seeds of the simulated network, and what came of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use unipic_simulation::{Mutant, Run, Setting, replay, simulate, simulate_with};

use crate::Section;

/// One seed of so many is run twice, and must come out the same.
const TWICE: u64 = 10;

/// What the second run loses of real time now and then, as on a machine that is busier than at the first.
const HICCUP: Duration = Duration::from_millis(10);

/// Seeds within which a defect must be noticed.
const CAUGHT_WITHIN: u64 = 100;

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
    same: u64,
    longest: Duration,
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
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.repeated += other.repeated;
        self.same += other.same;
        self.longest = self.longest.max(other.longest);
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
        let began = Instant::now();
        let run = simulate(seed);
        sum.longest = sum.longest.max(began.elapsed());
        let mut misses: Vec<String> = run.violations.iter().map(ToString::to_string).collect();
        if seed.is_multiple_of(TWICE) {
            let again = simulate_with(seed, Setting { hiccup: HICCUP, ..Setting::default() });
            sum.repeated += 1;
            sum.same += u64::from(again == run);
            if again != run {
                misses.push("a second run of the same seed came out differently".to_owned());
            }
        }
        if seeds.trace {
            println!("seed {seed}\n{}", run.trace.join("\n"));
        }
        if !misses.is_empty() {
            eprintln!("seed {seed}:\n{}\n{}", misses.join("\n"), replay(seed));
            sum.misses.insert(seed, misses);
        }
        sum.take(run);
    }
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
    let mut text = summary(seeds, sum, took);
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
    let mut misses: Vec<String> = sum.misses.iter().map(line).collect();
    if !seeds.trace {
        write_mutants(&mut text, &mut misses);
    }
    Section { name: "simulate", title: "A simulated network", text, misses }
}

fn summary(seeds: Seeds, sum: &Sum, took: Duration) -> String {
    let n_requests: usize = sum.outcomes.values().sum();
    let n_faults: usize = sum.faults.values().sum();
    let (first, last) = (seeds.first, (seeds.first + seeds.n).saturating_sub(1));
    let (runs, repeated, same, resumed) = (sum.runs, sum.repeated, sum.same, sum.resumed);
    let (hours, seconds) = (sum.simulated.as_secs_f64() / 3600.0, took.as_secs_f64());
    let (each, longest) = (seconds / runs.max(1) as f64, sum.longest.as_secs_f64());
    format!(
        "Seeds {first} to {last}: {runs} simulations of {hours:.1} simulated hours in {seconds:.0} s ({each:.2} s each, \
         {longest:.1} s the longest), {n_requests} requests, {n_faults} faults. Work was made good within a request {resumed} \
         times. {repeated} seeds were run twice, the second time with real time lost again and again, and {same} of them \
         came out the same.\n\n"
    )
}

/// Whether the invariants notice defects.
fn write_mutants(text: &mut String, misses: &mut Vec<String>) {
    text.push_str(
        "\nThe invariants notice: each of these defects was put into the simulated system, and seeds were run from 0 until one \
         broke an invariant.\n\n| mutant | caught after seeds | by which invariant |\n| --- | --- | --- |\n",
    );
    for mutant in Mutant::ALL {
        let _ = match mutant.hunt(CAUGHT_WITHIN) {
            Some(caught) => writeln!(text, "| {mutant} | {} | {} |", caught.seed + 1, caught.by.invariant),
            None => {
                misses.push(format!("mutant not caught within {CAUGHT_WITHIN} seeds: {mutant}"));
                writeln!(text, "| {mutant} | | |")
            }
        };
    }
}
