//! Whatever reads bytes of a stranger, one target a file. The library says how inputs are made and what is asked of each.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

/// States what a target's test tried, and ends it well.
macro_rules! stated {
    ($replayed:expr) => {{
        use unipic_measures::measured;
        let replayed: fuzz::Replayed = $replayed;
        measured!("right inputs", replayed.seeds);
        measured!("corpus files", replayed.files);
        measured!("damaged copies", replayed.damaged);
        measured!("refused", replayed.refused);
        measured!("most memory, MiB", format!("{:.1}", replayed.peak as f64 / f64::from(1 << 20)));
        measured!("longest, ms", format!("{:.1}", replayed.longest.as_secs_f64() * 1e3));
        Ok(())
    }};
}

mod checkpoints;
mod configs;
mod frames;
mod http;
mod images;
mod pickles;
mod prompts;

/// The small model of the parity harness.
fn model() -> std::path::PathBuf {
    integration::processes::model()
}
