//! The decoder service: the shared autoregressive language model, its tokenizer and its embedding table.
//!
//! A session keeps the prompts of one generation and answers probes behind them; an answer is text, token by token. Both
//! are runs of rows behind caches, so prefills, probes and single tokens of all requests share packed passes. Caches
//! travel with the work: when a session or an answer is dropped, its keys and values are free.
//!
//! The core ([`Decoder`]) knows no network and is what the single-process node calls; [`grpc`] adapts it to the wire and
//! [`server`] is the process.

pub mod config;
pub mod grpc;
pub mod server;

mod answer;
mod decoder;
mod kept;
mod parts;
mod plan;
mod session;
mod weigh;
mod worker;

pub use answer::{AnswerDone, AnswerEvent, AnswerSpec, FinishReason};
pub use decoder::Decoder;
pub use parts::{Info, LoadPartsError, PARTS, Parts};
pub use session::{ProbeSegment, Session};
