//! The artist that is a server: what it asks for, what it reads, and when it tries again.

#![allow(clippy::unwrap_used, reason = "functions of tests fail by panicking, as tests do")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::Stream;
use tonic::{Request, Response, Status};
use unipic_api::pb::uni_pic_server::{UniPic, UniPicServer};
use unipic_api::pb::*;
use unipic_api::{ApiError, Reason};
use unipic_client::UniPicClient;
use unipic_eval::{Artist, ClientArtist, Drawing, Editing, Question, Sampling};
use unipic_serving::{ListenAddress, ServerConfig, Services, serve};

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers as the prompt says and counts the calls.
#[derive(Default)]
struct Fake {
    calls: AtomicU32,
}

fn boxed<T: Send + 'static>(events: Vec<Result<T, Status>>) -> Result<Response<Boxed<T>>, Status> {
    Ok(Response::new(Box::pin(futures::stream::iter(events))))
}

fn image(options: &ImageOptions) -> ImageResult {
    let text = format!("{:?} {:?} {:?} {:?}", options.seed, options.n, options.width, options.guidance_scale);
    ImageResult { data: text.into_bytes().into(), ..ImageResult::default() }
}

fn done() -> ImageDone {
    let timings = SynthesisTimings { queue_ms: 500.0, total_ms: 2000.0, ..SynthesisTimings::default() };
    ImageDone { timings: Some(timings), ..ImageDone::default() }
}

#[tonic::async_trait]
impl UniPic for Fake {
    type GenerateStream = Boxed<GenerateResponse>;
    type EditStream = Boxed<EditResponse>;
    type UnderstandStream = Boxed<UnderstandResponse>;
    type EmbedStream = Boxed<EmbedResponse>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        use generate_response::Event;
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        let event = |event| Ok(GenerateResponse { event: Some(event) });
        let image = event(Event::Image(image(&request.options.unwrap())));
        let full = ApiError::Overloaded { reason: Reason::QueueFull, retry_after: Duration::from_millis(1) };
        match request.prompt.as_str() {
            "full" if call < 1 => Err(full.into()),
            "cut" if call < 1 => boxed(vec![image, Err(ApiError::unavailable(Reason::Draining).into())]),
            "bad" => Err(ApiError::invalid("prompt", "is bad").into()),
            "nothing" => boxed(vec![event(Event::Done(done()))]),
            "short" => boxed(vec![image]),
            _ => boxed(vec![event(Event::Queued(Queued::default())), image, event(Event::Done(done()))]),
        }
    }

    async fn edit(&self, request: Request<EditRequest>) -> Result<Response<Self::EditStream>, Status> {
        use edit_response::Event;
        let request = request.into_inner();
        let event = |event| Ok(EditResponse { event: Some(event) });
        let result = ImageResult { data: request.image, ..ImageResult::default() };
        boxed(vec![
            event(Event::Progress(Progress::default())),
            event(Event::Image(result)),
            event(Event::Done(done())),
        ])
    }

    async fn understand(
        &self,
        request: Request<UnderstandRequest>,
    ) -> Result<Response<Self::UnderstandStream>, Status> {
        use understand_response::Event;
        let mut request = request.into_inner();
        let parts = request.turns.remove(0).parts;
        let candidate_logprobs = request.candidates.iter().map(|text| -(text.len() as f64)).collect();
        let text = format!("{} parts", parts.len());
        let done = UnderstandDone { text, candidate_logprobs, ..UnderstandDone::default() };
        let events = [Event::TextDelta("x".into()), Event::Done(done)];
        boxed(events.into_iter().map(|event| Ok(UnderstandResponse { event: Some(event) })).collect())
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<Self::EmbedStream>, Status> {
        boxed(Vec::new())
    }

    async fn get_model(&self, _: Request<GetModelRequest>) -> Result<Response<GetModelResponse>, Status> {
        Ok(Response::new(GetModelResponse { name: "fake".into(), ..GetModelResponse::default() }))
    }
}

async fn start() -> (ClientArtist, Arc<Fake>) {
    let listener = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
    let address = listener.address().unwrap();
    let fake = Arc::new(Fake::default());
    let services = Services::new().await.add(UniPicServer::from_arc(fake.clone())).await;
    services.readiness().ready().await;
    tokio::spawn(async move { serve(listener, services, &ServerConfig::default(), std::future::pending()).await });
    let client = UniPicClient::new(&[format!("http://{address}").parse().unwrap()]).unwrap();
    (ClientArtist::new(client), fake)
}

fn drawing(prompt: &str) -> Drawing {
    let sampling = Sampling { size: Some((64, 64)), guidance: Some(2.5), ..Sampling::default() };
    let settings = sampling.resolve(&GetModelResponse::default()).unwrap();
    Drawing { prompt: prompt.into(), seed: 7, settings }
}

#[tokio::test]
async fn requests_carry_the_settings_and_results_are_read() {
    let (artist, _) = start().await;
    let picture = artist.draw(drawing("fine")).await.unwrap();
    assert_eq!(String::from_utf8(picture.png).unwrap(), "Some(7) Some(1) Some(64) Some(2.5)");
    assert_eq!(picture.seconds, Some(1.5));
    let Drawing { settings, seed, .. } = drawing("");
    let edited = artist.edit(Editing { source: vec![1, 2], instruction: "e".into(), seed, settings }).await.unwrap();
    assert_eq!(edited.png, [1, 2]);
    let answer =
        artist.ask(Question { images: vec![vec![1], vec![2]], text: "q".into(), max_tokens: 5, seed: None }).await;
    assert_eq!(answer.unwrap().text, "3 parts");
    let question = Question { images: vec![vec![1]], text: "q".into(), max_tokens: 5, seed: None };
    let found = artist.weigh(question, &["no", "yes"]).await.unwrap();
    assert_eq!(found, [(-2.0_f64).exp(), (-3.0_f64).exp()]);
    assert_eq!(artist.model().await.unwrap().name, "fake");
}

#[tokio::test]
async fn a_full_queue_and_a_lost_stream_are_tried_again() {
    for prompt in ["full", "cut"] {
        let (artist, fake) = start().await;
        artist.draw(drawing(prompt)).await.unwrap();
        assert_eq!(fake.calls.load(Ordering::Relaxed), 2, "{prompt}");
    }
}

#[tokio::test]
async fn a_refusal_and_half_a_result_are_errors_at_once() {
    let (artist, fake) = start().await;
    for (prompt, part) in [("bad", "is bad"), ("nothing", "without an image"), ("short", "without its last event")] {
        let said = artist.draw(drawing(prompt)).await.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(fake.calls.load(Ordering::Relaxed), 3);
}
