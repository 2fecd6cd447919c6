//! The gRPC contract in Rust: generated messages and stubs, the framing of tensors as bytes, and the one mapping
//! between our errors and gRPC statuses.
//!
//! Every process speaks through this crate, the gateway and clients included, so it knows neither tensors of any
//! library nor how a server is run.

pub mod frames;
pub mod inference;
pub mod limits;
pub mod pb;
pub mod record;
pub mod status;

pub use status::{ApiError, FieldViolation, Reason};
