//! Some seeds in every run of the tests; thousands are run by `unipic-chaos simulate`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::time::Duration;

use unipic_measures::measured;
use unipic_simulation::{Invariant, Mutant, Run, Setting, replay, simulate, simulate_with};

/// Seeds of every run.
const SEEDS: u64 = 60;

/// Seeds that are run a second time on a machine that is made slow.
const SAME: [u64; 5] = [1, 7, 20, 23, 180];

/// Seeds within which a defect must be noticed.
const CAUGHT_WITHIN: u64 = 30;

/// The environment variable that names one seed to be run instead, with its trace.
const ONE: &str = "UNIPIC_SIMULATION_SEED";

/// What a run may lose of real time at every change of the weather, which makes it take seconds.
const HICCUP: Duration = Duration::from_millis(25);

fn check(run: &Run) {
    let Run { seed, violations, trace, .. } = run;
    assert!(
        violations.is_empty(),
        "seed {seed}:\n{}\n\nagain with {ONE}={seed}, or by\n{}\n\n{}",
        violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
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

/// However busy the machine is.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "h2 reads the machine's clock, which is simulated on Linux only")]
fn a_seed_gives_the_same_trace_every_time() {
    for seed in SAME {
        let (first, slow) = (simulate(seed), simulate_with(seed, Setting { hiccup: HICCUP, ..Setting::default() }));
        assert!(first.trace.len() > 10, "{first:?}");
        assert_eq!(first, slow, "{}", replay(seed));
    }
    measured!("seeds run twice, with the same trace", SAME.len());
}

#[test]
fn every_mutant_is_caught() {
    let mut idle: Vec<Invariant> = Invariant::ALL.to_vec();
    for mutant in Mutant::ALL {
        let caught = mutant.hunt(CAUGHT_WITHIN).unwrap_or_else(|| panic!("{mutant:?} survived {CAUGHT_WITHIN} seeds"));
        println!("{mutant}: seed {}: {}", caught.seed, caught.by);
        assert!(simulate(caught.seed).violations.is_empty(), "seed {} without {mutant:?}", caught.seed);
        idle.retain(|invariant| !caught.broken.contains(invariant));
    }
    assert!(idle.is_empty(), "no mutant is found out by {idle:?}");
    measured!("mutants caught", Mutant::ALL.len());
    measured!("invariants that caught one", Invariant::ALL.len());
}
