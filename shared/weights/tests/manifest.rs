//! The computed list of tensors is that of the published code.

use std::collections::BTreeMap;
use std::path::Path;

use unipic_weights::config::ModelConfig;
use unipic_weights::{Checkpoint, Part, manifest};

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/parity/fixtures/tiny-a"))
}

#[test]
fn is_exactly_the_fixture_that_the_published_code_wrote() {
    let checkpoint = Checkpoint::open(fixture()).unwrap();
    let config = checkpoint.config();
    let ours: BTreeMap<String, Vec<usize>> = manifest::tensors(config, &Part::ALL)
        .into_iter()
        .chain(manifest::skipped(config))
        .filter(|spec| spec.name != "llm.lm_head.weight")
        .map(|spec| (spec.name, spec.shape))
        .collect();
    let theirs: BTreeMap<String, Vec<usize>> = checkpoint.stored().map(|t| (t.name, t.shape)).collect();
    assert_eq!(ours, theirs);
    assert!(checkpoint.surplus().is_empty());
}

#[test]
fn has_the_published_parameter_counts() {
    let config = ModelConfig::unipic_1_5b();
    let counts = manifest::parameter_counts(&config);
    let millions = |n: usize| n as f64 / 1e6;
    let head: usize =
        manifest::skipped(&config).iter().filter(|spec| spec.part == Part::Siglip).map(|spec| spec.n_values()).sum();
    assert!((millions(counts[&Part::Mar]) - 945.0).abs() < 1.0, "{}", counts[&Part::Mar]);
    assert!((millions(counts[&Part::Vae]) - 66.5).abs() < 0.1, "{}", counts[&Part::Vae]);
    assert!((millions(counts[&Part::Llm]) - 1543.7).abs() < 0.1, "{}", counts[&Part::Llm]);
    assert!((millions(counts[&Part::Siglip] + head) - 428.5).abs() < 2.0, "{}", counts[&Part::Siglip] + head);
}

#[test]
fn is_exactly_the_committed_list_of_the_published_checkpoint() {
    let config = ModelConfig::unipic_1_5b();
    let ours: BTreeMap<String, Vec<usize>> = manifest::tensors(&config, &Part::ALL)
        .into_iter()
        .chain(manifest::skipped(&config))
        .filter(|spec| spec.name != "llm.lm_head.weight")
        .map(|spec| (spec.name, spec.shape))
        .collect();
    let theirs: BTreeMap<String, Vec<usize>> = include_str!("unipic-1.5b.tensors")
        .lines()
        .map(|line| {
            let (name, shape) = line.split_once(' ').unwrap();
            (name.to_owned(), shape.split(',').map(|n| n.parse().unwrap()).collect())
        })
        .collect();
    assert_eq!(ours, theirs);
}
