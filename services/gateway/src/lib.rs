//! The gateway: the public gRPC service, the same over HTTP as OpenAI's clients speak it, and the flows behind both.
//!
//! It holds no weights. A flow (generate, edit, understand, embed) is validated whole before any compute, waits for a
//! place, drives the services behind [`Backends`] and turns what they send into typed events. Embeddings pass through as
//! an opaque type, so the same flows run over gRPC ([`remote::RemoteBackends`]) and, in a node, over values in memory.
//!
//! Invariants: no tensor library and no model code here; every error leaves through `unipic_api::ApiError`; dropping a
//! client's stream ends its flow, its backend streams and its place; a user's text never becomes a template segment.

mod admission;
pub mod auth;
mod backends;
mod caller;
mod config;
mod encoded;
mod events;
mod flows;
mod gateway;
mod http;
mod inference;
mod metadata;
mod metrics;
mod model;
mod pictures;
mod prompt;
pub mod remote;
mod run;
mod service;
mod start;
mod validation;

pub use backends::{
    AnswerEvent, AnswerSpec, Backends, Facts, Missing, PromptPiece, ReplyStream, SynthesisEvent, SynthesisImage,
};
pub use config::{
    AdmissionConfig, CacheConfig, Config, Defaults, LimitsConfig, QuotaConfig, ServerIdentities, TenantsConfig,
};
pub use events::EventStream;
pub use gateway::Gateway;
pub use http::{HttpConfig, HttpListen, RemoteImagesConfig};
pub use inference::Inference;
pub use model::Model;
pub use run::run;

pub use unipic_serving::{CallContext, Tenant};
