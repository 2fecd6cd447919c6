//! A collector that is down or never answers costs a request nothing, and the end of the process two seconds: over plain HTTP.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

mod support;

use unipic_telemetry::OtlpProtocol;

#[test]
fn a_dead_collector_holds_nobody_up() {
    support::a_dead_collector_holds_nobody_up(OtlpProtocol::Http);
}
