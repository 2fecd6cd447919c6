//! Messages, clients and servers generated from `proto/unipic/v1`, committed so that a build needs no generator.
//!
//! `tests/regenerate.rs` holds the code to the proto files; documentation of messages and fields is theirs.

#![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

include!("gen/unipic.v1.rs");

/// The encoded `FileDescriptorSet` of this package and of [`crate::inference`], for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");
