//! The decoder service: the shared autoregressive language model, its tokenizer and its embedding table.
//!
//! A session keeps the prompts of one generation and answers probes behind them; an answer is text, token by token. Both
//! are runs of rows behind caches, so prefills, probes and single tokens of all requests share packed passes. Caches
//! travel with the work: when a session or an answer is dropped, its keys and values are free, but for beginnings of
//! prompts that are kept within bounds for the same tenant's next ones.
//!
//! The core ([`Decoder`]) knows no network and is what the single-process node calls; [`grpc`] adapts it to the wire and
//! [`server`] is the process.

pub mod config;
pub mod grpc;
pub mod server;

mod answer;
mod asked;
mod decoder;
mod metrics;
mod parts;
mod plan;
mod prefix;
mod session;
mod weigh;
mod worker;

pub use answer::{AnswerDone, AnswerEvent, AnswerSpec, FinishReason};
pub use decoder::{DEFAULT_PREFIX_BYTES, Decoder};
pub use parts::{Info, LoadPartsError, PARTS, Parts};
pub use session::{JOBS_AT_ONCE, ProbeSegment, Session};
