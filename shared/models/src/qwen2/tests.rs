//! Parity with the published model, and the equalities that batching and caching rest on. Bit-equality is asked for
//! where the system promises it: a row's bits do not depend on company, on how the past came to be cached, or on probes.

use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use unipic_nn::{Build, KvCache, LinearFormat, Ops};
use unipic_weights::config::{LlmConfig, ModelConfig};

use super::{CacheUse, Model, Run};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/fixtures/tiny-a").join(name)
}

fn config() -> LlmConfig {
    let json = std::fs::read_to_string(fixture("config.json")).unwrap();
    serde_json::from_str::<ModelConfig>(&json).unwrap().llm
}

fn tensors() -> VarBuilder<'static> {
    let tensors = candle_core::safetensors::load(fixture("model.safetensors"), &Device::Cpu).unwrap();
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

fn model(ops: Ops, format: LinearFormat) -> Model {
    Model::load(&Build::new(tensors(), ops).with_linear_format(format), &config()).unwrap()
}

fn case() -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture("cases/llm.safetensors"), &Device::Cpu).unwrap()
}

fn ids(case: &Tensor) -> Vec<u32> {
    case.flatten_all().unwrap().to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32).collect()
}

fn max_error(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Bit for bit, with a message that fits a screen.
#[track_caller]
fn assert_same(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let differing = bits(found).iter().zip(bits(expected)).filter(|(f, e)| **f != *e).count();
    assert_eq!(differing, 0, "{what}: values differ, by at most {}", max_error(found, expected));
}

fn append(model: &Model, ids: &[u32], cache: &mut KvCache) -> Tensor {
    let x = model.embed(ids).unwrap();
    model.forward(&x, &mut [Run { n_rows: ids.len(), cache: CacheUse::Append(cache) }]).unwrap()
}

fn alone(model: &Model, ids: &[u32]) -> Tensor {
    let x = model.embed(ids).unwrap();
    model.forward(&x, &mut [Run { n_rows: ids.len(), cache: CacheUse::None }]).unwrap()
}

fn probe(model: &Model, ids: &[u32], cache: &KvCache) -> Tensor {
    let x = model.embed(ids).unwrap();
    model.forward(&x, &mut [Run { n_rows: ids.len(), cache: CacheUse::Read(cache) }]).unwrap()
}

/// Row by row, so that logits of a whole sequence cost no more memory than those of a token.
fn greedy(model: &Model, hidden: &Tensor) -> u32 {
    let last = hidden.narrow(0, hidden.dim(0).unwrap() - 1, 1).unwrap();
    model.logits(&last).unwrap().argmax(1).unwrap().to_vec1::<u32>().unwrap()[0]
}

#[test]
fn hidden_states_logits_and_greedy_tokens_are_the_published_ones() {
    let case = case();
    for ops in [Ops::Reference, Ops::Inference] {
        let model = model(ops, LinearFormat::Dense);
        let hidden = alone(&model, &ids(&case["input_ids"]));
        assert!(max_error(&hidden, &case["last_hidden"].squeeze(0).unwrap()) < 1e-4);
        assert!(max_error(&model.logits(&hidden).unwrap(), &case["logits"].squeeze(0).unwrap()) < 1e-4);

        let mut cache = model.new_cache();
        let mut hidden = append(&model, &ids(&case["input_ids"]), &mut cache);
        let expected = ids(&case["greedy"]);
        for (i, id) in expected.iter().enumerate() {
            let token = greedy(&model, &hidden);
            assert_eq!(token, *id, "token {i}");
            hidden = append(&model, &[token], &mut cache);
        }
    }
}

#[test]
fn a_cached_sequence_equals_an_uncached_one() {
    let (model, ids) = (model(Ops::Inference, LinearFormat::Dense), ids(&case()["input_ids"]));
    let whole = alone(&model, &ids);
    for chunk in [1, 2, 3, 7, 16] {
        let mut cache = model.new_cache();
        let parts: Vec<Tensor> = ids.chunks(chunk).map(|part| append(&model, part, &mut cache)).collect();
        assert_eq!(cache.len(), ids.len());
        assert_same(&Tensor::cat(&parts, 0).unwrap(), &whole, &format!("chunks of {chunk}"));
    }
}

#[test]
fn a_packed_sequence_equals_a_single_one() -> Result<()> {
    let (model, ids) = (model(Ops::Inference, LinearFormat::Dense), ids(&case()["input_ids"]));
    let mut prefilled = model.new_cache();
    append(&model, &ids[..9], &mut prefilled);
    let mut growing = model.new_cache();
    append(&model, &ids[..4], &mut growing);
    let mut growing_alone = growing.clone();

    let parts = [&ids[..], &ids[9..12], &ids[4..5], &ids[3..4]];
    let x = model.embed(&parts.concat())?;
    let mut runs = [
        Run { n_rows: parts[0].len(), cache: CacheUse::None },
        Run { n_rows: parts[1].len(), cache: CacheUse::Read(&prefilled) },
        Run { n_rows: parts[2].len(), cache: CacheUse::Append(&mut growing) },
        Run { n_rows: parts[3].len(), cache: CacheUse::None },
    ];
    let packed = model.forward(&x, &mut runs)?;

    let single = [
        alone(&model, parts[0]),
        probe(&model, parts[1], &prefilled),
        append(&model, parts[2], &mut growing_alone),
        alone(&model, parts[3]),
    ];
    let mut first = 0;
    for (i, single) in single.iter().enumerate() {
        assert_same(&packed.narrow(0, first, single.dim(0)?)?, single, &format!("run {i}"));
        first += single.dim(0)?;
    }
    assert_eq!(growing.len(), 5);
    for layer in 0..config().num_hidden_layers {
        assert_same(&growing.layer(layer)[0].0, &growing_alone.layer(layer)[0].0, &format!("keys of layer {layer}"));
    }
    Ok(())
}

#[test]
fn a_probe_leaves_the_cache_as_it_was() {
    let (model, ids) = (model(Ops::Inference, LinearFormat::Dense), ids(&case()["input_ids"]));
    let (mut probed, mut untouched) = (model.new_cache(), model.new_cache());
    append(&model, &ids[..10], &mut probed);
    append(&model, &ids[..10], &mut untouched);
    let first = probe(&model, &ids[10..], &probed);
    assert_eq!(probed.len(), 10);
    assert_same(&probe(&model, &ids[10..], &probed), &first, "second probe");
    let expected = append(&model, &ids[10..], &mut untouched);
    assert_same(&append(&model, &ids[10..], &mut probed), &expected, "after probes");
}

#[test]
fn a_shared_prefix_equals_an_own_one() {
    let (model, ids) = (model(Ops::Inference, LinearFormat::Dense), ids(&case()["input_ids"]));
    let mut first = model.new_cache();
    append(&model, &ids[..8], &mut first);
    let mut second = first.share();
    let own = alone(&model, &ids);
    let tail = own.narrow(0, 8, ids.len() - 8).unwrap();
    assert_same(&append(&model, &ids[8..], &mut first), &tail, "first");
    assert_same(&append(&model, &ids[8..], &mut second), &tail, "second, which sees only the shared part");
    let mut third = second.share();
    assert_eq!(third.len(), ids.len());
    let after = append(&model, &ids[..3], &mut third);
    let expected = alone(&model, &[&ids[..], &ids[..3]].concat());
    assert_same(&after, &expected.narrow(0, ids.len(), 3).unwrap(), "third");
}

#[test]
fn a_cache_cut_back_goes_on_as_if_never_longer() {
    let (model, ids) = (model(Ops::Inference, LinearFormat::Dense), ids(&case()["input_ids"]));
    let mut cache = model.new_cache();
    append(&model, &ids, &mut cache);
    cache.truncate(6).unwrap();
    let again = append(&model, &ids[6..], &mut cache);
    assert_same(&again, &alone(&model, &ids).narrow(0, 6, ids.len() - 6).unwrap(), "after the cut");
    let mut other = cache.share();
    append(&model, &ids[..2], &mut other);
    assert!(other.truncate(ids.len() - 1).is_err(), "shared positions cannot be cut");
    other.truncate(ids.len()).unwrap();
    assert_eq!(other.len(), ids.len());
}

#[test]
fn untied_output_is_used() {
    let vocab = config().vocab_size;
    let mut named = candle_core::safetensors::load(fixture("model.safetensors"), &Device::Cpu).unwrap();
    let doubled = (&named["llm.model.embed_tokens.weight"] * 2.0).unwrap();
    named.insert("llm.lm_head.weight".into(), doubled);
    let tensors = VarBuilder::from_tensors(named, DType::F32, &Device::Cpu);
    let untied = LlmConfig { tie_word_embeddings: false, ..config() };
    let untied = Model::load(&Build::new(tensors, Ops::Inference), &untied).unwrap();
    let tied = model(Ops::Inference, LinearFormat::Dense);
    let hidden = alone(&tied, &[1, 2, 3]);
    let logits = untied.logits(&hidden).unwrap();
    assert_eq!(logits.dims(), [3, vocab]);
    assert!(max_error(&logits, &(tied.logits(&hidden).unwrap() * 2.0).unwrap()) < 1e-4);
}

#[test]
fn quantized_stays_near_and_rows_stay_independent() {
    let (dense, quantized) = (model(Ops::Inference, LinearFormat::Dense), model(Ops::Inference, LinearFormat::Q8_0));
    let ids = ids(&case()["input_ids"]);
    let (expected, hidden) = (alone(&dense, &ids), alone(&quantized, &ids));
    let error = max_error(&hidden, &expected);
    assert!(error > 0.0 && error < 0.2, "error {error}");
    let mut cache = quantized.new_cache();
    let parts: Vec<Tensor> = ids.chunks(1).map(|part| append(&quantized, part, &mut cache)).collect();
    assert_same(&Tensor::cat(&parts, 0).unwrap(), &hidden, "row by row");
}

#[test]
fn rows_that_do_not_add_up_are_an_error() {
    let model = model(Ops::Inference, LinearFormat::Dense);
    let x = model.embed(&[1, 2]).unwrap();
    assert!(model.forward(&x, &mut [Run { n_rows: 3, cache: CacheUse::None }]).is_err());
    assert!(model.embed(&[config().vocab_size as u32]).is_err());
}
