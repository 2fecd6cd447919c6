//! The encoders by the Open Inference Protocol, with a plain generated client over services that speak gRPC.

#![allow(clippy::expect_used, clippy::panic)]

mod services;
mod support;

use oip::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use oip::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use services::Fakes;
use support::{collect, fields, noise, png_of};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb::EncoderPath;
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::{inference as oip, pb};
use unipic_gateway::{AdmissionConfig, Config, LimitsConfig, run};
use unipic_imaging::Rgb8;
use unipic_serving::{ListenAddress, Ops};
use unipic_telemetry::{Metrics, TelemetryConfig};

struct Running {
    client: Client<Channel>,
    embed: UniPicClient<Channel>,
    metrics: Metrics,
    _tasks: [AbortOnDropHandle<()>; 2],
}

/// A gateway over fakes of all three services.
async fn start(change: impl FnOnce(&mut Config)) -> Running {
    let (endpoint, services) = services::start(Fakes::default()).await;
    let all = || vec![endpoint.clone()];
    let mut config = Config { understanding: all(), synthesis: all(), decoder: all(), ..Config::default() };
    change(&mut config);
    let listen: ListenAddress = "127.0.0.1:0".parse().expect("an address");
    let listener = listen.bind().await.expect("binds");
    let url = format!("http://{}", listener.address().expect("bound"));
    let metrics = Metrics::new(&TelemetryConfig::for_service("test")).expect("no exporter to fail");
    let counting = metrics.clone();
    let gateway = tokio::spawn(async move {
        let served = run(config, listener, None, &counting, Ops::default(), std::future::pending()).await;
        served.expect("endpoints are given");
    });
    let channel = tonic::transport::Endpoint::from_shared(url).expect("a URL").connect().await.expect("connects");
    let mut client = Client::new(channel.clone());
    while !client.server_ready(oip::ServerReadyRequest {}).await.expect("answered").into_inner().ready {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let tasks = [services, AbortOnDropHandle::new(gateway)];
    Running { client, embed: UniPicClient::new(channel), metrics, _tasks: tasks }
}

fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor { name: name.into(), datatype: datatype.into(), shape: shape.to_vec(), ..Default::default() }
}

fn request(model: &str, input: InferInputTensor, raw: Option<Vec<u8>>) -> oip::ModelInferRequest {
    oip::ModelInferRequest {
        model_name: model.into(),
        id: "a request".into(),
        inputs: vec![input],
        raw_input_contents: raw.into_iter().map(Into::into).collect(),
        ..Default::default()
    }
}

/// An element of BYTES as raw contents have it.
fn element(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

/// A file, and pixels, raw and in lists.
fn ways(model: &str, image: &Rgb8) -> Vec<oip::ModelInferRequest> {
    let file = png_of(image);
    let shape = [1, i64::from(image.height), i64::from(image.width), 3];
    let with = |mut input: InferInputTensor, contents| {
        input.contents = Some(contents);
        request(model, input, None)
    };
    let files = oip::InferTensorContents { bytes_contents: vec![file.clone().into()], ..Default::default() };
    let numbers = image.data.iter().map(|sample| u32::from(*sample)).collect();
    let numbers = oip::InferTensorContents { uint_contents: numbers, ..Default::default() };
    vec![
        request(model, tensor("image", "BYTES", &[1]), Some(element(&file))),
        request(model, tensor("image", "BYTES", &[1, 1]), Some(element(&file))),
        with(tensor("image", "BYTES", &[1]), files),
        request(model, tensor("pixels", "UINT8", &shape), Some(image.data.clone())),
        request(model, tensor("pixels", "UINT8", &shape[1..]), Some(image.data.clone())),
        with(tensor("pixels", "UINT8", &shape), numbers),
    ]
}

async fn embedded(running: &mut Running, path: EncoderPath, image: &Rgb8) -> RawTensor {
    let ask = pb::EmbedRequest { image: png_of(image).into(), encoder_path: path as i32 };
    let frames = collect(running.embed.embed(ask).await).await.expect("embedded");
    let mut assembler = Assembler::new(FrameLimits::default());
    let pushed = frames.into_iter().find_map(|r| assembler.push(r.frame.expect("a frame")).expect("valid"));
    pushed.expect("a whole tensor")
}

#[tokio::test]
async fn every_way_to_hand_over_a_picture_gives_what_embed_gives() {
    let mut running = start(|_| ()).await;
    let image = noise(37, 21);
    for (model, path) in [("siglip2", EncoderPath::Siglip2), ("mar", EncoderPath::Mar)] {
        let want = embedded(&mut running, path, &image).await;
        for request in ways(model, &image) {
            let answer = running.client.model_infer(request).await.expect("embedded").into_inner();
            assert_eq!((&*answer.model_name, &*answer.model_version, &*answer.id), (model, "1", "a request"));
            let [output] = &answer.outputs[..] else { panic!("{:?}", answer.outputs) };
            let shape: Vec<i64> = [1].into_iter().chain(want.shape.iter().map(|side| i64::from(*side))).collect();
            assert_eq!((&*output.name, &*output.datatype, &output.shape), ("embeddings", "FP32", &shape));
            assert_eq!(answer.raw_output_contents, std::slice::from_ref(&want.data));
        }
    }
    // One image and two encoders, each asked once and kept.
    let text = running.metrics.render();
    for line in [
        "unipic_encoded_cache_lookups_total{outcome=\"miss\"} 2",
        "unipic_encoded_cache_lookups_total{outcome=\"hit\"} 12",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn the_server_and_its_models_say_what_they_are() {
    let mut running = start(|_| ()).await;
    let client = &mut running.client;
    assert!(client.server_live(oip::ServerLiveRequest {}).await.expect("answered").into_inner().live);
    let server = client.server_metadata(oip::ServerMetadataRequest {}).await.expect("answered").into_inner();
    assert_eq!((&*server.name, &*server.version), ("unipic", env!("CARGO_PKG_VERSION")));
    for (name, version, is_here) in
        [("siglip2", "", true), ("mar", "1", true), ("mar", "2", false), ("clip", "", false), ("", "", false)]
    {
        let ask = oip::ModelReadyRequest { name: name.into(), version: version.into() };
        assert_eq!(client.model_ready(ask).await.expect("answered").into_inner().ready, is_here, "{name} {version}");
        let ask = oip::ModelMetadataRequest { name: name.into(), version: version.into() };
        let told = client.model_metadata(ask).await;
        assert_eq!(told.as_ref().err().map(Status::code), (!is_here).then_some(Code::NotFound));
        let Ok(told) = told else { continue };
        let told = told.into_inner();
        let tensors = told.inputs.iter().chain(&told.outputs);
        let tensors: Vec<_> = tensors.map(|t| (&*t.name, &*t.datatype, &t.shape[..])).collect();
        // The facts of the fakes: 9 tokens of SigLIP2, and of MAR its buffers and places; 64 wide.
        let n = if name == "siglip2" { 9 } else { 20 };
        let want =
            [("image", "BYTES", &[1][..]), ("pixels", "UINT8", &[1, -1, -1, 3]), ("embeddings", "FP32", &[1, n, 64])];
        assert_eq!((&*told.name, tensors), (name, want.to_vec()));
    }
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_by_name() {
    let mut running = start(|config| {
        config.limits = LimitsConfig { max_image_pixels: 400, ..LimitsConfig::default() };
    })
    .await;
    let image = noise(8, 8);
    let good = || ways("mar", &image).swap_remove(3);
    let file = || tensor("image", "BYTES", &[1]);
    let pixels = |shape: &[i64], n| request("mar", tensor("pixels", "UINT8", shape), Some(vec![0; n]));
    let with = |change: &dyn Fn(&mut oip::ModelInferRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let flag = oip::InferParameter { parameter_choice: Some(oip::infer_parameter::ParameterChoice::BoolParam(true)) };
    let output = |name: &str| InferRequestedOutputTensor { name: name.into(), ..Default::default() };
    let cases = [
        (request("mar", file(), Some(element(b"no image"))), "image"),
        (request("mar", file(), Some(Vec::new())), "image"),
        (request("mar", file(), Some(vec![1, 0, 0])), "image"),
        (request("mar", file(), Some(element(&png_of(&image))[..40].to_vec())), "image"),
        (request("mar", file(), Some([element(b"a"), element(b"b")].concat())), "image"),
        (request("mar", file(), None), "image"),
        (request("mar", tensor("image", "BYTES", &[2]), Some(element(b"a"))), "image"),
        (request("mar", tensor("image", "UINT8", &[1]), Some(element(b"a"))), "image"),
        (request("mar", tensor("images", "BYTES", &[1]), Some(element(b"a"))), "inputs"),
        (request("mar", tensor("pixels", "FP32", &[1, 1, 1, 3]), Some(vec![0; 12])), "pixels"),
        (pixels(&[2, 1, 1, 3], 6), "pixels"),
        (pixels(&[1, 3, 1, 1], 3), "pixels"),
        (pixels(&[1, 2, 2, 3], 11), "pixels"),
        (pixels(&[1, 0, 2, 3], 0), "pixels"),
        (pixels(&[1, -1, -1, 3], 3), "pixels"),
        (pixels(&[1, i64::MAX, i64::MAX, 3], 3), "pixels"),
        (pixels(&[], 0), "pixels"),
        // Beyond the limit of this server's images.
        (pixels(&[1, 21, 20, 3], 21 * 20 * 3), "pixels"),
        (with(&|request| request.inputs.clear()), "inputs"),
        (with(&|request| request.inputs.push(tensor("image", "BYTES", &[1]))), "inputs"),
        (with(&|request| request.raw_input_contents.push(vec![0].into())), "raw_input_contents"),
        (with(&|request| request.inputs[0].contents = Some(oip::InferTensorContents::default())), "pixels"),
        (with(&|request| request.outputs = vec![output("logits")]), "outputs"),
        (with(&|request| request.outputs = vec![output("embeddings"), output("embeddings")]), "outputs"),
        (with(&|request| drop(request.parameters.insert("scale".into(), flag.clone()))), "parameters[scale]"),
        (with(&|request| drop(request.inputs[0].parameters.insert("a".into(), flag.clone()))), "parameters[a]"),
    ];
    for (request, field) in cases {
        let shown = format!("{:?}", (&request.inputs, &request.outputs));
        let status = running.client.model_infer(request).await.expect_err(&shown);
        assert_eq!(fields(&status), [field], "{shown}: {status}");
    }
    for (model, version) in [("clip", "1"), ("mar", "2")] {
        let other = with(&|request| (request.model_name, request.model_version) = (model.into(), version.into()));
        assert_eq!(running.client.model_infer(other).await.expect_err("refused").code(), Code::NotFound);
    }
    running.client.model_infer(with(&|request| request.outputs = vec![output("embeddings")])).await.expect("embedded");
}

/// The words are those of `Embed`.
#[tokio::test]
async fn complaints_and_refusals_are_those_of_embed() {
    let full = |config: &mut Config| {
        config.tenants.default.requests_per_second = Some(1e-3);
        config.admission = AdmissionConfig::default();
    };
    for (file, change) in [(b"no image".to_vec(), None), (png_of(&noise(8, 8)), Some(full))] {
        let mut running = start(|config| change.into_iter().for_each(|change| change(config))).await;
        let embed =
            |file: &[u8]| pb::EmbedRequest { image: file.to_vec().into(), encoder_path: EncoderPath::Mar as i32 };
        if change.is_some() {
            collect(running.embed.embed(embed(&file)).await).await.expect("the first of its tenant");
        }
        let by_embed = collect(running.embed.embed(embed(&file)).await).await.expect_err("refused");
        let infer = request("mar", tensor("image", "BYTES", &[1]), Some(element(&file)));
        let by_infer = running.client.model_infer(infer).await.expect_err("refused");
        let said = |status: &Status| (status.code(), status.message().split("; try again").next().map(str::to_owned));
        assert_eq!(said(&by_infer), said(&by_embed));
    }
}
