//! Whatever reads bytes of a stranger, one target a file. The library says how inputs are made and what is asked of each.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

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
