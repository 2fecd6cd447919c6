//! Traces, logs and metrics: set-up at the start of a process, W3C propagation, one span per RPC, and what is counted.
//!
//! Logs are tracing's events, with the trace they belong to; spans go to a collector over OTLP when an endpoint is set.
//! The span of a streaming RPC lives as long as its response body: the handler of a generation returns in microseconds,
//! and everything worth measuring happens after that.

pub mod config;
mod export;
mod format;
pub mod metrics;
mod otlp;
pub mod propagation;
pub mod rpc;
mod setup;
pub mod web;

pub use config::{LogFormat, OtlpProtocol, TelemetryConfig};
pub use metrics::Metrics;
pub use rpc::{ClientTrace, ClientTraceLayer, CountedServerLayer, ServerTrace, Verdict};
pub use setup::{Guard, TelemetryError, init, subscriber};
pub use web::WebTraceLayer;
