//! The service on the small model: its numbers, its company, and what it refuses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Instant;

use bytes::Bytes;
use candle_core::{DType, Device, Tensor};
use futures::{FutureExt, stream};
use tonic::Code;
use unipic_api::frames::RawTensor;
use unipic_api::pb;
use unipic_api::pb::understanding_encoder_client::UnderstandingEncoderClient;
use unipic_api::{ApiError, status::readable};
use unipic_engine::{Engine, EngineConfig, JobContext};
use unipic_measures::measured;
use unipic_models::Handover;
use unipic_models::load::LoadOptions;
use unipic_test_support::{assert_close, same_bits, tiny_a};
use unipic_understanding::config::Config;
use unipic_understanding::{Parts, Understanding, server};
use unipic_weights::Checkpoint;
use unipic_wire::{FrameLimits, receive};

fn start(folder: &std::path::Path) -> Understanding {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let config = EngineConfig { name: "test".into(), queue_capacity: 8, max_batch_tokens: 4096 };
    let engine = Engine::spawn(config).unwrap();
    Understanding::new(&engine, Parts::load(&checkpoint, &LoadOptions::cpu()).unwrap())
}

/// Pictures that differ.
fn picture(side: usize, seed: usize) -> Bytes {
    (0..3 * side * side).map(|i| ((i + seed) * 31 % 251) as u8).collect::<Vec<u8>>().into()
}

#[tokio::test]
async fn embeddings_are_those_of_the_published_model() {
    let service = start(&tiny_a());
    let case = unipic_test_support::case("understand_siglip2").unwrap();
    // The case has pixels in [-1, 1] that came from bytes.
    let pixels = case["pixels_in"].squeeze(0).unwrap().permute((1, 2, 0)).unwrap().flatten_all().unwrap();
    let bytes: Vec<u8> = pixels.to_vec1::<f32>().unwrap().iter().map(|x| ((x + 1.0) * 127.5).round() as u8).collect();
    let done = service.encode(bytes.into(), Handover::Host, &JobContext::current()).await.unwrap();
    assert_close("embeddings", &done.reply, &case["z"].squeeze(0).unwrap(), 1e-4).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_has_the_same_bits_alone_and_in_company() {
    let service = start(&tiny_a());
    let side = service.info().image_size;
    let context = JobContext::current();
    let encode = |seed| service.encode(picture(side, seed), Handover::Host, &context);
    let mut alone = Vec::new();
    for seed in 0..6 {
        alone.push(encode(seed).await.unwrap().reply);
    }
    let together = futures::future::join_all((0..6).map(encode)).await;
    for (alone, among) in alone.iter().zip(together) {
        assert!(same_bits(alone, &among.unwrap().reply).unwrap());
    }
    assert!(!same_bits(&alone[0], &alone[1]).unwrap());
}

#[tokio::test]
async fn a_checkpoint_without_the_projector_serves_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = candle_core::safetensors::load(tiny_a().join("model.safetensors"), &Device::Cpu).unwrap();
    tensors.retain(|name, _| !name.starts_with("siglip2_proj."));
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    std::fs::copy(tiny_a().join("config.json"), folder.path().join("config.json")).unwrap();
    let service = start(folder.path());
    assert!(!service.info().available);
    service.warm_up().await.unwrap();
    let image = picture(service.info().image_size, 0);
    let error = service.encode(image, Handover::Host, &JobContext::current()).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(service.info().notices.iter().any(|notice| notice.contains("siglip2_proj")));
    let mut client = serve(service).await;
    assert_eq!(encode(&mut client, Vec::new()).await.unwrap_err().code(), Code::FailedPrecondition);
}

type Client = UnderstandingEncoderClient<tonic::transport::Channel>;

/// The process's own server on a free port.
async fn serve(service: Understanding) -> Client {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let listener = config.listen.bind().await.unwrap();
    let url = format!("http://{}", listener.address().unwrap());
    let load = std::future::ready(Ok(service));
    tokio::spawn(async move { server::run(&config, load, listener, Default::default(), std::future::pending()).await });
    let mut client = Client::connect(url).await.unwrap();
    while client.get_understanding_info(pb::GetUnderstandingInfoRequest {}).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client
}

async fn encode(client: &mut Client, frames: Vec<pb::TensorFrame>) -> Result<Tensor, tonic::Status> {
    let requests: Vec<_> = frames.into_iter().map(|frame| pb::EncodeSiglipRequest { frame: Some(frame) }).collect();
    let mut replies = client.encode_siglip(stream::iter(requests)).await?.into_inner();
    let frame = |reply: pb::EncodeSiglipResponse| reply.frame.ok_or_else(|| ApiError::invalid("frame", "is missing"));
    receive(&mut replies, FrameLimits::default(), "frame", &Device::Cpu, frame).await
}

fn frames(dtype: pb::DType, shape: &[usize], data: Bytes) -> Vec<pb::TensorFrame> {
    let shape = shape.iter().map(|&size| size as u32).collect();
    RawTensor::new(dtype, shape, data).unwrap().into_frames().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wire_changes_nothing_and_what_is_wrong_is_named() {
    let service = start(&tiny_a());
    let side = service.info().image_size;
    let local = service.encode(picture(side, 3), Handover::Host, &JobContext::current()).await.unwrap().reply;
    let mut client = serve(service).await;
    let good = frames(pb::DType::DtypeU8, &[side, side, 3], picture(side, 3));
    assert!(same_bits(&encode(&mut client, good.clone()).await.unwrap(), &local).unwrap());
    assert_eq!(local.dtype(), DType::F32);

    let mut corrupt = good.clone();
    corrupt[0].header.as_mut().unwrap().crc32 ^= 1;
    let mut cut = good;
    cut[0].data.truncate(10);
    let flat = frames(pb::DType::DtypeU8, &[side * side * 3], picture(side, 3));
    let floats = frames(pb::DType::DtypeF32, &[side, side / 4, 3], vec![0; 3 * side * side].into());
    let larger = frames(pb::DType::DtypeU8, &[side + 1, side, 3], vec![0; 3 * side * (side + 1)].into());
    for (wrong, field) in [
        (corrupt, "frame.header.crc32"),
        (cut, "frame.data"),
        (flat, "frame.header"),
        (floats, "frame.header"),
        (larger, "frame.header.n_bytes"),
        (Vec::new(), "frame"),
    ] {
        let status = encode(&mut client, wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(readable(&status).contains(field), "{field}: {}", readable(&status));
    }
}

#[tokio::test]
async fn embeddings_that_are_not_finite_are_a_fault() {
    let folder = unipic_test_support::poisoned("siglip2_proj.0.weight").unwrap();
    let service = start(folder.path());
    let side = service.info().image_size;
    let encoded = service.encode(picture(side, 0), Handover::Host, &JobContext::current()).await;
    measured!("embeddings handed on", usize::from(encoded.is_ok()));
    let error = encoded.map(drop).unwrap_err();
    assert!(matches!(error, ApiError::Fault(unipic_api::Reason::NonFinite)), "{error}");
}

#[tokio::test]
async fn late_and_unwanted_encodings_are_not_made_and_spoil_nothing() {
    let service = start(&tiny_a());
    let side = service.info().image_size;
    let encode = async |context: &JobContext| service.encode(picture(side, 3), Handover::Host, context).await;
    let late = JobContext { deadline: Some(Instant::now()), ..JobContext::current() };
    let unwanted = JobContext::current();
    unwanted.cancel.cancel();
    let refused = [encode(&late).await.map(drop), encode(&unwanted).await.map(drop)];
    let codes = refused.map(|end| end.unwrap_err().code());
    assert_eq!(codes, [Code::DeadlineExceeded, Code::Cancelled]);
    let mut n_left = 0;
    for _ in 0..4 {
        // Begun, and dropped while it waits for the device.
        n_left += usize::from(encode(&JobContext::current()).now_or_never().is_none());
    }
    let alone = encode(&JobContext::current()).await.unwrap().reply;
    let again = start(&tiny_a()).encode(picture(side, 3), Handover::Host, &JobContext::current()).await.unwrap().reply;
    assert!(same_bits(&alone, &again).unwrap());
    measured!("late and unwanted encodings refused", codes.len());
    measured!("callers that left", n_left);
}
