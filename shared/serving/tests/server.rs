//! A real server over real connections: deadlines, cancellation, health, drain, and statuses that blame the right side.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests fail by panicking, as tests do.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::pb::uni_pic_server::UniPicServer;
use unipic_api::pb::*;
use unipic_api::status::readable;
use unipic_api::{ApiError, Reason};
use unipic_measures::measured;
use unipic_serving::{Drained, ListenAddress, ServerConfig, Services, serve, serve_when_warm};

use support::{Fake, Running, last_status, late, prompt};

#[tokio::test]
async fn a_stream_runs_to_its_end() {
    let running = Running::ready(ServerConfig::default()).await;
    let events = running.client().await.generate(prompt("ten")).await.unwrap().into_inner();
    let (n, status) = last_status(events).await;
    assert_eq!((n, status.map(|status| status.code())), (10, None));
    running.client().await.get_model(GetModelRequest {}).await.unwrap();
}

#[tokio::test]
async fn health_follows_readiness() {
    let mut running = Running::start(ServerConfig::default()).await;
    let mut health = HealthClient::new(running.channel().await);
    let mut status = async |service: &str| {
        health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status
    };
    let (serving, not_serving) = (1, 2);
    assert_eq!(status("").await, not_serving);
    assert_eq!(status("unipic.v1.UniPic").await, not_serving);
    let refusal = running.client().await.get_model(GetModelRequest {}).await.unwrap_err();
    assert_eq!(refusal.code(), Code::Unavailable);
    assert!(readable(&refusal).contains("loading"), "{refusal}");
    running.readiness.ready().await;
    assert_eq!(status("").await, serving);
    assert_eq!(status("unipic.v1.UniPic").await, serving);
    running.client().await.get_model(GetModelRequest {}).await.unwrap();
    running.stop();
    running.server.await.unwrap();
}

/// What a process does whose weights take long: the port is there from the start, the service comes behind it.
#[tokio::test]
async fn while_it_loads_a_server_answers_that_it_does() {
    let listener = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
    let address = format!("http://{}", listener.address().unwrap());
    let (services, service) = Services::new().await.add_later().await;
    let (load, loaded) = oneshot::channel::<()>();
    let warm = async move {
        loaded.await?;
        service.comes(UniPicServer::new(Fake { ended: mpsc::channel(1).0 }));
        Ok::<_, oneshot::error::RecvError>(())
    };
    let config = ServerConfig::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    let server = tokio::spawn(async move { serve_when_warm(listener, services, &config, shutdown, warm).await });
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let (mut client, mut health) = (UniPicClient::new(channel.clone()), HealthClient::new(channel));
    let mut status = async || {
        let service = "unipic.v1.UniPic".to_owned();
        health.check(HealthCheckRequest { service }).await.unwrap().into_inner().status
    };
    assert_eq!(status().await, 2, "not serving");
    let refusal = client.get_model(GetModelRequest {}).await.unwrap_err();
    let told = ApiError::from_status(&refusal);
    let retry_after = match told {
        ApiError::Unavailable { reason: Reason::Loading, retry_after } => retry_after,
        other => panic!("{other:?}"),
    };
    assert!(retry_after.is_some_and(|after| !after.is_zero()), "{refusal}");
    load.send(()).unwrap();
    while client.get_model(GetModelRequest {}).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(status().await, 1, "serving");
    stop.send(()).unwrap();
    assert_eq!(server.await.unwrap().unwrap(), Drained { calls_cut_off: 0 });
}

#[tokio::test]
async fn a_late_stream_ends_with_deadline_exceeded() {
    let mut running = Running::ready(ServerConfig::default()).await;
    for text in ["forever", "eager"] {
        let start = Instant::now();
        let events = running.client().await.generate(late(text, "300m")).await.unwrap().into_inner();
        let (n, status) = last_status(events).await;
        assert_eq!(status.unwrap().code(), Code::DeadlineExceeded, "{text}");
        assert!(n > 0 && start.elapsed() < Duration::from_secs(2), "{text}: {n} events, {:?}", start.elapsed());
    }
    let work_ended = running.ended.recv().await.unwrap();
    assert!(work_ended.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_late_answer_is_deadline_exceeded_too() {
    let config = ServerConfig { max_call_seconds: 0.2, ..ServerConfig::default() };
    let running = Running::ready(config).await;
    // The server's own limit, with no deadline of the caller's.
    let status = running.client().await.generate(prompt("no answer")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    // The caller's. Over bare HTTP/2, because tonic's client would not wait for the server's word.
    let (mut sender, _connection) = running.bare().await;
    let message = b"\0\0\0\0\x0b\x0a\x09no answer";
    let request = http::Request::post(format!("{}/unipic.v1.UniPic/Generate", running.address))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "50m")
        .body(http_body_util::Full::new(bytes::Bytes::from_static(message)))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
}

#[tokio::test]
async fn a_deadline_of_no_valid_form_is_refused_by_name() {
    let running = Running::ready(ServerConfig::default()).await;
    let mut client = running.client().await;
    for text in ["soon", "-1S", "10 s"] {
        let status = client.generate(late("ten", text)).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text:?}: {status}");
        assert!(readable(&status).contains(&format!("grpc-timeout: the header is {text:?}")), "{}", readable(&status));
    }
    assert_eq!(last_status(client.generate(late("ten", "9S")).await.unwrap().into_inner()).await.0, 10);
}

#[tokio::test]
async fn work_stops_when_the_caller_goes_away() {
    let mut running = Running::ready(ServerConfig::default()).await;
    let mut client = running.client().await;
    let mut events = client.generate(prompt("forever")).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let gone = Instant::now();
    drop(events);
    let ended = running.ended.recv().await.unwrap();
    assert!(ended - gone < Duration::from_millis(500), "{:?}", ended - gone);

    // And when the whole connection goes.
    let mut events = client.generate(prompt("forever")).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let gone = Instant::now();
    drop((client, events));
    assert!(running.ended.recv().await.unwrap() - gone < Duration::from_millis(500));
}

#[tokio::test]
async fn panics_become_statuses() {
    let running = Running::ready(ServerConfig::default()).await;
    let mut client = running.client().await;
    let status = client.generate(prompt("panic")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("as asked"));
    let events = client.generate(prompt("panic later")).await.unwrap().into_inner();
    assert_eq!(last_status(events).await.1.unwrap().code(), Code::Internal);
    client.get_model(GetModelRequest {}).await.unwrap();
}

#[tokio::test]
async fn oversize_messages_are_the_caller_s_mistake() {
    let running = Running::ready(ServerConfig::default()).await;
    let status = running.client().await.generate(prompt(&"x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(readable(&status).contains("request: the message is too large"), "{}", readable(&status));
}

/// The bytes of a message, unchecked.
#[derive(Clone, Default)]
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, Status> {
        bytes::Buf::advance(buffer, bytes::Buf::remaining(buffer));
        Ok(Some(()))
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_caller_s_mistake() {
    let running = Running::ready(ServerConfig::default()).await;
    let mut client = tonic::client::Grpc::new(running.channel().await);
    let cases: [(&[u8], &str); 4] = [
        // Field 1 (prompt), two bytes that are not UTF-8.
        (b"\x0a\x02\xff\xfe", "prompt"),
        // Field 3 (options) with field 8 (width) as a string.
        (b"\x1a\x03\x42\x01x", "options.width"),
        // Field 3 (options) longer than the message.
        (b"\x1a\x20\x08", "request"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "request"),
    ];
    for (bytes, field) in cases {
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/unipic.v1.UniPic/Generate");
        let answer = client.server_streaming(Request::new(bytes.to_vec()), path, RawCodec).await;
        let status = answer.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(readable(&status).contains(&format!("{field}: ")), "{}", readable(&status));
    }
}

#[tokio::test]
async fn a_drain_lets_calls_finish_and_takes_no_new_ones() {
    let mut running = Running::ready(ServerConfig::default()).await;
    let mut client = running.client().await;
    let mut events = client.generate(prompt("ten")).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let mut watch = HealthClient::new(running.channel().await)
        .watch(HealthCheckRequest { service: String::new() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    running.stop();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    let refused = Endpoint::from_shared(running.address.clone()).unwrap().connect().await;
    assert!(refused.is_err());
    assert_eq!(last_status(events).await.0, 9);
    let start = Instant::now();
    assert_eq!(running.server.await.unwrap(), Drained { calls_cut_off: 0 });
    assert!(start.elapsed() < Duration::from_secs(3), "an open health watch held the end up");
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut running = Running::ready(ServerConfig { drain_seconds: 0.2, ..ServerConfig::default() }).await;
    let mut events = running.client().await.generate(prompt("forever")).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let start = Instant::now();
    running.stop();
    assert_eq!(running.server.await.unwrap(), Drained { calls_cut_off: 1 });
    assert!(start.elapsed() < Duration::from_secs(2));
    running.ended.recv().await.unwrap();
    let told = last_status(events).await.1.unwrap();
    assert_eq!(told.code(), Code::Unavailable, "{told}");
    assert!(matches!(ApiError::from_status(&told), ApiError::Unavailable { reason: Reason::Draining, .. }), "{told}");
}

#[tokio::test]
async fn calls_without_an_answer_are_told_of_the_end_too() {
    let mut running = Running::ready(ServerConfig { drain_seconds: 0.2, ..ServerConfig::default() }).await;
    let mut client = running.client().await;
    let waiting = tokio::spawn(async move { client.generate(prompt("no answer")).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop();
    assert_eq!(running.server.await.unwrap(), Drained { calls_cut_off: 1 });
    let told = waiting.await.unwrap().unwrap_err();
    assert!(matches!(ApiError::from_status(&told), ApiError::Unavailable { reason: Reason::Draining, .. }), "{told}");
}

#[tokio::test]
async fn peers_that_stop_in_the_middle_are_closed() {
    let running = Running::ready(ServerConfig::default()).await;
    let address = running.address.strip_prefix("http://").unwrap();
    // Nothing, half a preface, and a whole one with half a HEADERS frame behind it.
    let half_header = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x64\x01\x04\0\0\0\x01\x82";
    let began = Instant::now();
    let attempts = [&b""[..], b"PRI * HTTP/2.0\r\n", half_header].map(async |sent: &[u8]| {
        let mut peer = tokio::net::TcpStream::connect(address).await.unwrap();
        peer.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), peer.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "still open after 10 s with {} bytes sent", sent.len());
    });
    futures::future::join_all(attempts).await;
    measured!("closed after, s", format!("{:.1}", began.elapsed().as_secs_f64()));
    running.client().await.get_model(GetModelRequest {}).await.unwrap();
}

#[tokio::test]
async fn reflection_knows_our_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let running = Running::start(ServerConfig::default()).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(running.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"unipic.v1.UniPic".to_owned()), "{names:?}");
}

#[tokio::test]
async fn reflection_knows_them_under_its_first_name_too() {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
    let running = Running::start(ServerConfig::default()).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(running.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"unipic.v1.UniPic".to_owned()), "{names:?}");
}

#[tokio::test]
async fn unix_sockets_work_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    // As a killed process leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address: ListenAddress = format!("unix:{}", path.display()).parse().unwrap();
    let listener = address.bind().await.unwrap();
    let taken = address.bind().await.unwrap_err();
    assert!(taken.to_string().contains("s.sock"), "{taken}");
    assert_eq!(listener.address().unwrap(), address);
    let services =
        Services::new().await.add(UniPicServer::from_arc(Arc::new(Fake { ended: mpsc::channel(1).0 }))).await;
    services.readiness().ready().await;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        serve(listener, services, &ServerConfig::default(), async move { drop(stopped.await) }).await
    });
    let connect = path.clone();
    let channel = Endpoint::from_static("http://unix")
        .connect_with_connector(tower::service_fn(move |_: http::Uri| {
            let path = connect.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .unwrap();
    let events = UniPicClient::new(channel).generate(prompt("ten")).await.unwrap().into_inner();
    assert_eq!(last_status(events).await.0, 10);
    stop.send(()).unwrap();
    server.await.unwrap();
    assert!(!path.exists());
}
