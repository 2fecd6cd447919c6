//! Some seeds in every run of the tests; thousands are run by `unipic-chaos simulate`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::time::{Duration, Instant};

use unipic_measures::measured;
use unipic_simulation::{Run, replay, simulate};

/// Seeds of every run.
const SEEDS: u64 = 60;

/// The environment variable that names one seed to be run instead, with its trace.
const ONE: &str = "UNIPIC_SIMULATION_SEED";

/// Runs that take longer in real time are not comparable: h2 forgets streams that were reset a second ago, by the machine's
/// clock, which no simulation holds.
const COMPARABLE: Duration = Duration::from_millis(900);

/// How often a pair of quick runs is tried for.
const ATTEMPTS: usize = 20;

/// A run, if it was quick enough to be held against another.
fn quick(seed: u64) -> Option<Run> {
    let began = Instant::now();
    let run = simulate(seed);
    (began.elapsed() < COMPARABLE).then_some(run)
}

fn check(run: &Run) {
    let Run { seed, violations, trace, .. } = run;
    assert!(
        violations.is_empty(),
        "seed {seed}:\n{}\n\nagain with {ONE}={seed}, or by\n{}\n\n{}",
        violations.join("\n"),
        replay(*seed),
        trace.join("\n")
    );
}

#[test]
fn no_fault_of_the_network_breaks_an_invariant() {
    if let Some(seed) = std::env::var(ONE).ok().and_then(|seed| seed.parse().ok()) {
        // With RUST_LOG, everything that the processes say of themselves.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
        let run = simulate(seed);
        println!("{}", run.trace.join("\n"));
        return check(&run);
    }
    let runs: Vec<Run> = (0..SEEDS).map(simulate).collect();
    runs.iter().for_each(check);
    let n_right = |run: &Run| run.outcomes.iter().filter(|((_, end), _)| end == "right").map(|(_, n)| n).sum::<usize>();
    measured!("seeds", runs.len());
    measured!("right answers", runs.iter().map(n_right).sum::<usize>());
    measured!("made good within a request", runs.iter().map(|run| run.resumed).sum::<usize>());
    assert!(runs.iter().map(n_right).sum::<usize>() > 100, "almost nothing was answered");
    assert!(runs.iter().map(|run| run.resumed).sum::<usize>() > 0, "nothing was ever made good");
}

#[test]
fn a_seed_gives_the_same_trace_every_time() {
    let seeds = [1, 7, 23];
    for seed in seeds {
        let Some((first, second)) = (0..ATTEMPTS).find_map(|_| quick(seed).zip(quick(seed))) else {
            return println!("skipped: this machine is too busy to run a seed within {COMPARABLE:?}");
        };
        assert!(first.trace.len() > 10, "{first:?}");
        assert_eq!(first, second, "{}", replay(seed));
    }
    measured!("seeds run twice, with the same trace", seeds.len());
}
