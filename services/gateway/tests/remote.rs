//! The gateway as a process over services that speak gRPC.

#![allow(clippy::expect_used, clippy::panic)]

mod services;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use pb::uni_pic_client::UniPicClient;
use services::{Fakes, noise, start};
use support::{collect, image, png, text, turn};
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use unipic_api::frames::{Assembler, FrameLimits};
use unipic_api::pb;
use unipic_client::Endpoint;
use unipic_gateway::{Config, run};
use unipic_imaging::{DecodeLimits, decode};

/// A gateway in this process; it drains when `stop` is used or dropped.
struct Running {
    client: UniPicClient<Channel>,
    channel: Channel,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

/// Starts a gateway over services at these addresses, for all three kinds.
async fn gateway(endpoints: &[Endpoint]) -> Running {
    let config = Config {
        understanding: endpoints.to_vec(),
        synthesis: endpoints.to_vec(),
        decoder: endpoints.to_vec(),
        limits: unipic_gateway::LimitsConfig { max_output_pixels: Some(1 << 20), ..Default::default() },
        ..Config::default()
    };
    let folder = std::env::temp_dir().join(format!("unipic-gateway-{}-{}", std::process::id(), fastrand::u64(..)));
    let listen = format!("unix:{}", folder.display()).parse::<unipic_serving::ListenAddress>().expect("an address");
    let listener = listen.bind().await.expect("binds");
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        let drained = run(config, listener, None, shutdown).await.expect("endpoints are given");
        assert_eq!(drained.calls_cut_off, 0);
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost")
        .connect_with_connector(tower_connector(folder))
        .await
        .expect("connects");
    Running { client: UniPicClient::new(channel.clone()), channel, stop, ended }
}

/// A connector to a Unix socket.
fn tower_connector(
    path: std::path::PathBuf,
) -> impl tower::Service<
    tonic::codegen::http::Uri,
    Response = hyper_util::rt::TokioIo<tokio::net::UnixStream>,
    Error = std::io::Error,
    Future: Send,
> + Send
+ 'static {
    tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    })
}

impl Running {
    async fn serving(&self) -> bool {
        let answer = HealthClient::new(self.channel.clone()).check(HealthCheckRequest::default()).await;
        answer.expect("health answers").into_inner().status == 1
    }

    async fn ready(&self) {
        let becomes = async {
            while !self.serving().await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), becomes).await.expect("serves in time");
    }

    async fn end(self) {
        drop((self.client, self.channel, self.stop));
        tokio::time::timeout(Duration::from_secs(10), self.ended).await.expect("ends").expect("drains");
    }
}

fn big() -> pb::ImageOptions {
    pb::ImageOptions { width: Some(768), height: Some(512), n: Some(2), seed: Some(1), ..Default::default() }
}

/// The pixels of all finished images.
fn images(events: &[pb::GenerateResponse]) -> Vec<Vec<u8>> {
    let files = events.iter().filter_map(|event| match &event.event {
        Some(pb::generate_response::Event::Image(image)) => Some(image.data.clone()),
        _ => None,
    });
    files.map(|file| decode(&file, &DecodeLimits::default()).expect("decodes").data).collect()
}

#[tokio::test]
async fn all_flows_cross_the_wire_whole() {
    let fakes = Fakes::default();
    let (endpoint, _server) = start(fakes.clone()).await;
    let mut gateway = gateway(&[endpoint]).await;
    gateway.ready().await;
    let model = gateway.client.get_model(pb::GetModelRequest {}).await.expect("a model").into_inner();
    assert_eq!(model.encoder_paths.len(), 2);

    let events = collect(gateway.client.generate(support::generate("a barn", big())).await).await.expect("drawn");
    assert_eq!(images(&events), [noise(768, 512).data, noise(768, 512).data]);

    let edit = pb::EditRequest {
        image: png(768, 512).into(),
        instruction: "greener".to_owned(),
        options: Some(big()),
        ..Default::default()
    };
    collect(gateway.client.edit(edit).await).await.expect("edited");
    let source = fakes.0.sources.lock().expect("lock")[0].clone();
    assert_eq!(source.shape, [512, 768, 3]);
    assert_eq!(source.data[..], decode(&png(768, 512), &DecodeLimits::default()).expect("decodes").data);

    let turns = vec![turn(pb::Role::User, vec![image(png(9, 9)), image(png(20, 9)), text("Compare.")])];
    let ask = pb::UnderstandRequest {
        turns,
        seed: Some(5),
        stop: vec!["\n".to_owned()],
        candidates: vec!["no".to_owned()],
        ..Default::default()
    };
    let events = collect(gateway.client.understand(ask).await).await.expect("answered");
    assert_eq!(events.len(), 2);
    let (open, tensors) = fakes.0.answers.lock().expect("lock")[0].clone();
    assert_eq!((open.n_tensors, tensors.len(), open.seed), (2, 2, 5));
    assert_eq!((open.max_tokens, open.temperature, open.top_p, open.stop), (1024, 0.0, 1.0, vec!["\n".to_owned()]));
    assert_eq!((tensors[0].shape.as_slice(), open.candidates), ([9, 64].as_slice(), vec!["no".to_owned()]));

    let embed = pb::EmbedRequest { image: png(9, 9).into(), encoder_path: pb::EncoderPath::Mar as i32 };
    let frames = collect(gateway.client.embed(embed).await).await.expect("embedded");
    let mut assembler = Assembler::new(FrameLimits::default());
    let tensor = frames.into_iter().find_map(|r| assembler.push(r.frame.expect("a frame")).expect("valid"));
    assert_eq!(tensor.expect("a tensor").shape, [9, 64]);
    gateway.end().await;
}

#[tokio::test]
async fn a_replica_that_dies_in_an_image_is_replaced() {
    let (dying, well) = (Fakes::default(), Fakes::default());
    dying.0.break_image.store(true, Ordering::SeqCst);
    well.0.break_image.store(false, Ordering::SeqCst);
    let (first, _first) = start(dying.clone()).await;
    let (second, _second) = start(well.clone()).await;
    let mut gateway = gateway(&[first, second]).await;
    gateway.ready().await;
    // Whichever replica comes first, the dying one is met within two requests.
    for _ in 0..2 {
        let events = collect(gateway.client.generate(support::generate("a barn", big())).await).await.expect("drawn");
        assert_eq!(images(&events), [noise(768, 512).data, noise(768, 512).data]);
    }
    let asked = [&dying, &well].map(|fakes| fakes.0.syntheses.load(Ordering::SeqCst));
    assert!(!dying.0.break_image.load(Ordering::SeqCst), "the loss never happened");
    assert_eq!(asked.iter().sum::<usize>(), 3, "two requests and one replay: {asked:?}");
    gateway.end().await;
}

#[tokio::test]
async fn health_waits_for_every_backend_and_a_missing_one_is_unavailable() {
    let nowhere: Endpoint = "http://127.0.0.1:1".parse().expect("an endpoint");
    let mut gateway = gateway(&[nowhere]).await;
    assert!(!gateway.serving().await);
    let status = gateway.client.get_model(pb::GetModelRequest {}).await.expect_err("not ready");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!gateway.serving().await);
    gateway.end().await;
}
