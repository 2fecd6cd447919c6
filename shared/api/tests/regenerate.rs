//! Holds the committed generated code to the proto files.
//!
//! `UNIPIC_REGENERATE=1 cargo test -p unipic-api --test regenerate` rewrites `src/gen/`; without the variable the test
//! compares. Generation is a test rather than a build script so that nobody who builds us runs a code generator, and it
//! uses protox, a protobuf compiler in Rust, so that nobody needs protoc.

#![allow(clippy::unwrap_used)] // Helper functions of tests fail by panicking, as tests do.

use std::path::{Path, PathBuf};

use prost::Message;

/// The proto files, relative to `proto/`.
const FILES: [&str; 6] = [
    "inference/open_inference.proto",
    "unipic/v1/tensor.proto",
    "unipic/v1/understanding.proto",
    "unipic/v1/synthesis.proto",
    "unipic/v1/decoder.proto",
    "unipic/v1/unipic.proto",
];

/// What is generated, in `src/gen/`.
const GENERATED: [&str; 3] = ["unipic.v1.rs", "inference.rs", "descriptors.bin"];

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate(into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    let mut descriptors = protox::compile(FILES, [crate_dir().join("../../proto")]).unwrap();
    tonic_prost_build::configure()
        .out_dir(into)
        // Payloads are sliced out of the receive buffer instead of copied.
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors.clone())
        .unwrap();
    for file in &mut descriptors.file {
        // Comments and positions: most of the bytes, and nothing that reflection needs.
        file.source_code_info = None;
    }
    std::fs::write(into.join("descriptors.bin"), descriptors.encode_to_vec()).unwrap();
}

#[test]
fn committed_code_is_what_the_proto_files_say() {
    let committed = crate_dir().join("src/gen");
    if std::env::var_os("UNIPIC_REGENERATE").is_some() {
        generate(&committed);
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unipic-api-gen");
    generate(&fresh);
    for name in GENERATED {
        let want = std::fs::read(fresh.join(name)).unwrap();
        let have = std::fs::read(committed.join(name)).unwrap_or_default();
        assert!(want == have, "src/gen/{name} is stale: run with UNIPIC_REGENERATE=1");
    }
}

#[test]
fn every_proto_file_is_compiled() {
    let (root, mut folders) = (crate_dir().join("../../proto"), vec![crate_dir().join("../../proto")]);
    let mut on_disk = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            match entry.unwrap().path() {
                folder if folder.is_dir() => folders.push(folder),
                file => on_disk.push(file.strip_prefix(&root).unwrap().to_string_lossy().into_owned()),
            }
        }
    }
    on_disk.sort();
    let mut listed = FILES.map(String::from).to_vec();
    listed.sort();
    assert_eq!(on_disk, listed);
}
