//! The Open Inference Protocol, as `proto/inference` says it: messages, clients and servers, generated and committed.
//!
//! A module of its own, since its package is not ours: names and numbers are kept as generic inference clients know them.

#![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

include!("gen/inference.rs");
