//! The service on the wire: the same bytes as in-process, and every wrong message refused with its field.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use candle_core::Device;
use futures::stream;
use support::{Direct, events, images, picture, service, settings, spec};
use tonic::Code;
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb;
use unipic_api::pb::synthesis_client::SynthesisClient;
use unipic_api::pb::synthesize_request::Message as Ask;
use unipic_api::pb::synthesize_response::Message as Reply;
use unipic_api::{ApiError, status::readable};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_synthesis::config::Config;
use unipic_synthesis::{RgbImage, Synthesis, SynthesisSpec, server};

type Client = SynthesisClient<tonic::transport::Channel>;

/// The process's own server on a free port, once it is warm.
async fn serve(service: Synthesis<Direct>) -> Client {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let listener = config.listen.bind().await.unwrap();
    let url = format!("http://{}", listener.address().unwrap());
    let load = std::future::ready(Ok(service));
    tokio::spawn(async move { server::run(&config, load, listener, Default::default(), std::future::pending()).await });
    let mut client = Client::connect(url).await.unwrap();
    while client.get_synthesis_info(pb::GetSynthesisInfoRequest {}).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client
}

/// As messages, what [`support::settings`] says.
fn parameters(seed: u64) -> pb::SynthesisParameters {
    let settings = settings(seed);
    pb::SynthesisParameters {
        prompt: "a red circle".into(),
        seed,
        n_images: 1,
        grid_rows: settings.grid.rows as u32,
        grid_cols: settings.grid.cols as u32,
        iterations: settings.iterations as u32,
        head_steps: settings.head_steps as u32,
        guidance_scale: 3.0,
        temperature: 1.0,
        ..Default::default()
    }
}

fn frames(image: &RgbImage) -> Vec<pb::TensorFrame> {
    let shape = vec![image.height as u32, image.width as u32, 3];
    RawTensor::new(pb::DType::DtypeU8, shape, image.rgb.clone()).unwrap().into_frames().collect()
}

fn ask(message: Ask) -> pb::SynthesizeRequest {
    pb::SynthesizeRequest { message: Some(message) }
}

fn edit(parameters: pb::SynthesisParameters, source: &RgbImage) -> Vec<pb::SynthesizeRequest> {
    let parameters = pb::SynthesisParameters { has_source: true, ..parameters };
    [ask(Ask::Parameters(parameters))]
        .into_iter()
        .chain(frames(source).into_iter().map(|f| ask(Ask::Source(f))))
        .collect()
}

/// Kinds of replies in order (`p`rogress, pre`v`iew frame, `i`mage frame, `d`one), and finished images by number.
async fn run(
    client: &mut Client,
    requests: Vec<pb::SynthesizeRequest>,
) -> Result<(String, Vec<(u32, Vec<u8>)>), tonic::Status> {
    let mut replies = client.synthesize(stream::iter(requests)).await?.into_inner();
    let (mut kinds, mut images) = (String::new(), Vec::new());
    let mut assembler = Assembler::new(FrameLimits::default());
    while let Some(reply) = replies.message().await? {
        match reply.message.unwrap() {
            Reply::Progress(_) => kinds.push('p'),
            Reply::Resumed(_) => kinds.push('r'),
            Reply::Done(done) => {
                assert!(done.timings.unwrap().total_ms > 0.0);
                kinds.push('d');
            }
            Reply::Image(frame) => {
                kinds.push(if frame.preview { 'v' } else { 'i' });
                let raw = assembler.push(frame.frame.unwrap()).unwrap();
                if let Some(raw) = raw.filter(|_| !frame.preview) {
                    images.push((frame.image, raw.data.to_vec()));
                }
            }
        }
    }
    Ok((kinds, images))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wire_changes_nothing() {
    let service = service(Direct::load(&[]).unwrap()).unwrap();
    let drawn = images(&events(&service, spec("a red circle", settings(7))).await.unwrap());
    let source = picture(64, 64);
    let edited = SynthesisSpec { source: Some(source.clone()), ..spec("a red circle", settings(7)) };
    let edited = images(&events(&service, edited).await.unwrap());
    let redrawn = support::redraw(settings(7));
    let partly = images(&events(&service, redrawn.clone()).await.unwrap());
    let context = JobContext::current();
    let embedded = service.encode_mar(source.clone(), Handover::Host, &context).await.unwrap();

    let mut client = serve(service).await;
    let asked = pb::SynthesisParameters { preview_every: 3, ..parameters(7) };
    let (kinds, got) = run(&mut client, vec![ask(Ask::Parameters(asked))]).await.unwrap();
    assert_eq!(kinds, "ppppvpid");
    assert!(got == drawn);
    assert!(run(&mut client, edit(parameters(7), &source)).await.unwrap().1 == edited);
    let asked = pb::SynthesisParameters {
        prompt: redrawn.prompt,
        redrawn_places: redrawn.redrawn.clone(),
        preview_every: 3,
        ..parameters(7)
    };
    let (kinds, got) = run(&mut client, edit(asked, &source)).await.unwrap();
    assert_eq!(kinds, "ppppvpid");
    assert!(got == partly);

    let requests: Vec<_> = frames(&source).into_iter().map(|f| pb::EncodeMarRequest { frame: Some(f) }).collect();
    let mut replies = client.encode_mar(stream::iter(requests)).await.unwrap().into_inner();
    let frame = |reply: pb::EncodeMarResponse| reply.frame.ok_or_else(|| ApiError::invalid("frame", "is missing"));
    let far = unipic_wire::receive(&mut replies, FrameLimits::default(), "frame", &Device::Cpu, frame).await.unwrap();
    assert!(unipic_test_support::same_bits(&embedded, &far).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named() {
    let mut client = serve(service(Direct::load(&[]).unwrap()).unwrap()).await;
    let source = picture(64, 64);
    let alone = |parameters| vec![ask(Ask::Parameters(parameters))];
    let frame = |source: &RgbImage| ask(Ask::Source(frames(source).remove(0)));
    let mut cut = edit(parameters(0), &source);
    if let Some(Ask::Source(frame)) = &mut cut[1].message {
        frame.data.truncate(100);
    }
    let twice = vec![edit(parameters(0), &source).remove(0), ask(Ask::Parameters(parameters(0)))];
    let many = pb::SynthesisParameters { n_images: 0, iterations: 0, guidance_scale: f32::NAN, ..parameters(0) };
    let unknown = pb::SynthesisParameters { guidance_schedule: 9, ..parameters(0) };
    let redraw = |redrawn_places| pb::SynthesisParameters { redrawn_places, ..parameters(0) };
    for (requests, fields) in [
        (Vec::new(), vec!["parameters"]),
        (vec![pb::SynthesizeRequest { message: None }], vec!["parameters"]),
        (vec![frame(&source)], vec!["source"]),
        (alone(many), vec!["parameters.n_images", "parameters.iterations", "parameters.guidance_scale"]),
        (alone(unknown), vec!["parameters.guidance_schedule"]),
        (alone(redraw(vec![1])), vec!["parameters.redrawn_places", "source"]),
        (edit(redraw(vec![16]), &source), vec!["parameters.redrawn_places"]),
        (edit(redraw(vec![2, 1]), &source), vec!["parameters.redrawn_places"]),
        (vec![edit(parameters(0), &source).remove(0)], vec!["source"]),
        (cut, vec!["source.data"]),
        (twice, vec!["parameters"]),
        (edit(parameters(0), &picture(48, 64)), vec!["source"]),
    ] {
        let status = run(&mut client, requests).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        for field in fields {
            assert!(readable(&status).contains(field), "{field}: {}", readable(&status));
        }
    }
    // The last number that an image can have.
    let last = pb::SynthesisParameters { first_image: u32::MAX - 1, n_images: 1, ..parameters(0) };
    assert_eq!(run(&mut client, alone(last)).await.unwrap().1.len(), 1);
    // The service is as well as before.
    assert!(run(&mut client, alone(parameters(0))).await.is_ok());
}
