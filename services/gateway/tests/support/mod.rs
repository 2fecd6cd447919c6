//! Backends that follow a script, and ways to call the gateway over them.

#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};
use unipic_api::{ApiError, Reason, pb};
use unipic_gateway::{
    AdmissionConfig, AnswerEvent, AnswerSpec, Backends, CallContext, Config, Facts, Gateway, Missing, PromptPiece,
    ReplyStream, SynthesisEvent, SynthesisImage,
};
use unipic_imaging::{Format, Rgb8, encode};
use unipic_serving::{Problems, Validate};
use unipic_telemetry::Metrics;

/// What the fakes do and what they saw.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// How many syntheses are lost before one is let through, and after how many finished images.
    pub(crate) lose_synthesis: AtomicUsize,
    pub(crate) lose_after_images: usize,
    /// How many answers are lost after their first words.
    pub(crate) lose_answer: AtomicUsize,
    /// How many encodings are lost.
    pub(crate) lose_encoding: AtomicUsize,
    /// Encodings never end.
    pub(crate) hang_encoding: bool,
    /// Syntheses tell after their first event that they lost their decoder.
    pub(crate) lose_decoder: bool,
    /// Syntheses and answers stop after their first event and wait for ever.
    pub(crate) hang: bool,
    /// Milliseconds between two events.
    pub(crate) pace_ms: u64,
    /// No SigLIP2 projector.
    pub(crate) mar_only: bool,
    /// What was asked of the backends.
    pub(crate) synthesized: Mutex<Vec<(pb::SynthesisParameters, Option<Rgb8>)>>,
    pub(crate) answered: Mutex<Vec<AnswerSpec<String>>>,
    pub(crate) encoded: Mutex<Vec<(&'static str, Rgb8)>>,
    /// Streams of synthesis and answers that are alive.
    pub(crate) alive: AtomicUsize,
}

/// Fake backends. Embeddings are a name, so that tests can read prompts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Script>);

/// Counts a living stream.
struct Alive(Arc<Script>);

impl Alive {
    fn new(script: &Arc<Script>) -> Self {
        script.alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(script))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The sizes of a small model: base image 64, stride 16.
pub(crate) fn facts(mar_only: bool) -> Facts {
    Facts {
        understanding: pb::GetUnderstandingInfoResponse {
            available: !mar_only,
            image_size: 48,
            n_tokens: 9,
            llm_width: 64,
            weights_sha256: "aa".to_owned(),
            notices: vec!["SigLIP2 from its own folder".to_owned()],
        },
        synthesis: pb::GetSynthesisInfoResponse {
            base_image_size: 64,
            stride: 16,
            n_buffers: 4,
            llm_width: 64,
            default_head_steps: 20,
            weights_sha256: "bb".to_owned(),
            notices: Vec::new(),
            max_places: 4096,
        },
        decoder: pb::GetDecoderInfoResponse {
            llm_width: 64,
            context_length: 4096,
            vocab_size: 512,
            weights_sha256: "cc".to_owned(),
            notices: Vec::new(),
        },
    }
}

fn lost() -> ApiError {
    ApiError::unavailable(Reason::BackendUnavailable)
}

impl Fake {
    /// Plays events with the script's pace, hanging or not, counted as alive until dropped.
    fn play<T: Send + Clone + 'static>(&self, events: Vec<Result<T, ApiError>>) -> ReplyStream<T> {
        let alive = Alive::new(&self.0);
        let (hang, pace) = (self.0.hang, Duration::from_millis(self.0.pace_ms));
        stream::iter(events.into_iter().enumerate())
            .then(move |(index, event)| {
                let _counted = &alive;
                async move {
                    if hang && index > 0 {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(pace).await;
                    event
                }
            })
            .boxed()
    }
}

impl Fake {
    /// What the script has in store for an encoding.
    async fn encoding(&self) -> Result<(), ApiError> {
        let _alive = Alive::new(&self.0);
        if self.0.hang_encoding {
            std::future::pending::<()>().await;
        }
        if take_one(&self.0.lose_encoding) { Err(lost()) } else { Ok(()) }
    }
}

/// True once for every loss that is left.
fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Backends for Fake {
    type Embeddings = String;

    fn embeddings_bytes(embeddings: &String) -> u64 {
        embeddings.len() as u64
    }

    async fn facts(&self) -> Result<Facts, Vec<Missing>> {
        Ok(facts(self.0.mar_only))
    }

    async fn synthesize(
        &self,
        parameters: pb::SynthesisParameters,
        source: Option<Rgb8>,
        _context: &CallContext,
    ) -> Result<ReplyStream<SynthesisEvent>, ApiError> {
        self.0.synthesized.lock().expect("lock").push((parameters.clone(), source));
        let places = parameters.grid_rows * parameters.grid_cols * parameters.n_images;
        let mut events = Vec::new();
        for iteration in 0..=parameters.iterations {
            events.push(Ok(SynthesisEvent::Progress(pb::SynthesisProgress {
                iteration,
                iterations: parameters.iterations,
                known_tokens: (u64::from(places) * u64::from(iteration) / u64::from(parameters.iterations)) as u32,
                total_tokens: places,
            })));
            if iteration == 0 && self.0.lose_decoder {
                let resumed = pb::Resumed { what: pb::Backend::Decoder.into(), attempt: 2 };
                events.push(Ok(SynthesisEvent::Resumed(resumed)));
            }
            if parameters.preview_every > 0 && iteration > 0 && iteration % parameters.preview_every == 0 {
                events.push(Ok(picture(&parameters, parameters.first_image, true)));
            }
        }
        for image in 0..parameters.n_images {
            events.push(Ok(picture(&parameters, parameters.first_image + image, false)));
        }
        if take_one(&self.0.lose_synthesis) {
            let kept = events.len() - parameters.n_images as usize + self.0.lose_after_images;
            events.truncate(kept);
            events.push(Err(lost()));
        } else {
            events.push(Ok(SynthesisEvent::Done(pb::SynthesisTimings { total_ms: 1.0, ..Default::default() })));
        }
        Ok(self.play(events))
    }

    async fn encode_siglip(&self, image: Rgb8, _context: &CallContext) -> Result<String, ApiError> {
        self.encoding().await?;
        self.0.encoded.lock().expect("lock").push(("siglip2", image.clone()));
        Ok(format!("siglip2 {}", image.data[image.data.len() / 2]))
    }

    async fn encode_mar(&self, image: Rgb8, _context: &CallContext) -> Result<String, ApiError> {
        self.encoding().await?;
        self.0.encoded.lock().expect("lock").push(("mar", image.clone()));
        Ok(format!("mar {}", image.data[image.data.len() / 2]))
    }

    async fn answer(
        &self,
        spec: AnswerSpec<String>,
        _context: &CallContext,
    ) -> Result<ReplyStream<AnswerEvent>, ApiError> {
        self.0.answered.lock().expect("lock").push(spec);
        let mut events: Vec<_> = ["A ", "red ", "barn."].map(|text| Ok(AnswerEvent::Text(text.to_owned()))).into();
        if take_one(&self.0.lose_answer) {
            events[2] = Err(lost());
        } else {
            events.push(Ok(AnswerEvent::Done(pb::AnswerDone {
                finish_reason: pb::FinishReason::Stop as i32,
                prompt_tokens: 20,
                completion_tokens: 4,
                first_token_ms: 1.0,
                decode_ms: 2.0,
                ..pb::AnswerDone::default()
            })));
        }
        Ok(self.play(events))
    }

    async fn frames(&self, embeddings: String) -> Result<Vec<pb::TensorFrame>, ApiError> {
        Ok(vec![pb::TensorFrame { header: None, data: embeddings.into_bytes().into() }])
    }
}

/// An image whose colour tells seed and number.
fn picture(parameters: &pb::SynthesisParameters, image: u32, preview: bool) -> SynthesisEvent {
    let (width, height) = (parameters.grid_cols * 16, parameters.grid_rows * 16);
    let pixels = Rgb8::filled(width, height, [parameters.seed as u8, image as u8, u8::from(preview)]);
    SynthesisEvent::Image(SynthesisImage { image, preview, pixels })
}

/// A gateway over a script that is ready to serve.
pub(crate) async fn gateway(script: Script) -> (Gateway<Fake>, Arc<Script>) {
    with_config(script, Config::default()).await
}

/// The same with so many places and waiting places.
pub(crate) async fn gateway_for(script: Script, max_running: usize, max_queued: usize) -> (Gateway<Fake>, Arc<Script>) {
    let admission = AdmissionConfig { max_running, max_queued, ..AdmissionConfig::default() };
    with_config(script, Config { admission, ..Config::default() }).await
}

pub(crate) async fn with_config(script: Script, config: Config) -> (Gateway<Fake>, Arc<Script>) {
    counted(script, config, &Metrics::default()).await
}

/// The same, counting into `metrics`.
pub(crate) async fn counted(script: Script, config: Config, metrics: &Metrics) -> (Gateway<Fake>, Arc<Script>) {
    let mut problems = Problems::default();
    config.validate(&mut problems);
    assert!(problems.found().is_empty(), "{problems:?}");
    let script = Arc::new(script);
    let gateway = Gateway::counted(Fake(Arc::clone(&script)), config, metrics);
    gateway.refresh_model().await.expect("the fakes fit each other");
    (gateway, script)
}

/// Reads a stream to its end, or to its error.
pub(crate) async fn collect<T, S>(response: Result<Response<S>, Status>) -> Result<Vec<T>, Status>
where
    S: Stream<Item = Result<T, Status>> + Unpin,
{
    let mut events = Vec::new();
    let mut stream = response?.into_inner();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

/// The fields of a refusal.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    match ApiError::from_status(status) {
        ApiError::Invalid(violations) => violations.into_iter().map(|violation| violation.field).collect(),
        other => panic!("not INVALID_ARGUMENT with fields: {other:?}"),
    }
}

/// A request for one small image.
pub(crate) fn generate(prompt: &str, options: pb::ImageOptions) -> Request<pb::GenerateRequest> {
    Request::new(pb::GenerateRequest {
        prompt: prompt.to_owned(),
        negative_prompt: String::new(),
        options: Some(options),
    })
}

/// A PNG file, red on the left and blue on the right.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let pixel = |at: u32| if at % width < width / 2 { [200, 0, 0] } else { [0, 0, 200] };
    let data = (0..width * height).flat_map(pixel).collect();
    encode(&Rgb8::new(width, height, data).expect("fits"), Format::Png, &[]).expect("encodes")
}

/// The PNG file of an image.
pub(crate) fn png_of(image: &Rgb8) -> Vec<u8> {
    encode(image, Format::Png, &[]).expect("encodes")
}

/// An image of noise between 0 and 199: none of its pixels is what the fakes draw for a seed of 250.
pub(crate) fn noise(width: u32, height: u32) -> Rgb8 {
    let sample = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 24) * 200 / 256) as u8;
    Rgb8::new(width, height, (0..width * height * 3).map(sample).collect()).expect("fits")
}

/// The PNG file of a mask, white where `is_marked`.
pub(crate) fn white_mask(width: u32, height: u32, is_marked: impl Fn(u32, u32) -> bool) -> Vec<u8> {
    let pixel = |i: u32| [if is_marked(i % width, i / width) { 255 } else { 0 }; 3];
    png_of(&Rgb8::new(width, height, (0..width * height).flat_map(pixel).collect()).expect("fits"))
}

/// The PNG file of a mask, transparent where `is_marked` and white elsewhere.
pub(crate) fn transparent_mask(width: u32, height: u32, is_marked: impl Fn(u32, u32) -> bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgba);
    let pixel = |i: u32| [255, 255, 255, if is_marked(i % width, i / width) { 0 } else { 255 }];
    let data: Vec<u8> = (0..width * height).flat_map(pixel).collect();
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&data)).expect("encodes");
    file
}

pub(crate) fn text(text: &str) -> pb::Part {
    pb::Part { content: Some(pb::part::Content::Text(text.to_owned())) }
}

pub(crate) fn image(file: Vec<u8>) -> pb::Part {
    pb::Part { content: Some(pb::part::Content::Image(file.into())) }
}

pub(crate) fn turn(role: pb::Role, parts: Vec<pb::Part>) -> pb::Turn {
    pb::Turn { role: role as i32, parts }
}

/// The pieces of a prompt as one readable list.
pub(crate) fn readable(prompt: &[PromptPiece<String>]) -> Vec<String> {
    let show = |piece: &PromptPiece<String>| match piece {
        PromptPiece::Template(text) => format!("template {text:?}"),
        PromptPiece::User(text) => format!("user {text:?}"),
        PromptPiece::Embeddings(name) => format!("embeddings {name}"),
    };
    prompt.iter().map(show).collect()
}

/// Gives a request a deadline, as the server around the gateway does.
pub(crate) fn within<T>(mut request: Request<T>, limit: Duration) -> Request<T> {
    let context = CallContext { deadline: tokio::time::Instant::now() + limit, ..CallContext::of(&request) };
    request.extensions_mut().insert(context);
    request
}
