//! The loop of a generation. Its exchange with the language model is the shipped one ([`Conversation`] over a
//! [`RemoteDecoder`], with its resumption); only the device's steps are scripted, as a device is a thread of its own, which
//! no simulated clock holds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use candle_core::{Device, Tensor};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};
use tracing::Span;
use unipic_api::frames::RawTensor;
use unipic_api::pb::synthesis_server::{Synthesis, SynthesisServer};
use unipic_api::pb::{self, synthesize_request, synthesize_response};
use unipic_api::{ApiError, Reason};
use unipic_client::{Endpoint, RetryBudget, RetryPolicy};
use unipic_engine::JobContext;
use unipic_models::prompt::{self, Prompt};
use unipic_serving::{CallContext, Services};
use unipic_synthesis::remote::RemoteDecoder;
use unipic_synthesis::{Conversation, ProbeSegment, SynthesisEvent};
use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::RetryMetrics;

use super::{Host, Memory, Replies, compute, matrix, reply, tell, tensor};
use crate::mutant::Mutant;
use crate::truth::{self, Drawing, IMAGE_ROWS, STRIDE, WIDTH};

/// Side of the square images that the MAR path takes, in pixels.
pub(crate) const SIDE: u32 = 64;

/// Runs the process, over these decoders, until it is stopped.
pub(crate) async fn synthesis(host: Host, decoders: Vec<Endpoint>, patience: Duration) -> turmoil::Result {
    let policy = RetryPolicy { patience_seconds: patience.as_secs_f64(), ..RetryPolicy::default() };
    let scripted = Scripted {
        starts: host.starts.fetch_add(1, Ordering::Relaxed),
        host: host.clone(),
        before: Memory::default(),
        decoder: RemoteDecoder::over(host.connect(&decoders)?),
        budget: RetryBudget::new(&policy),
        retries: RetryMetrics::new(&Metrics::default(), "synthesis", &["decoder"]),
    };
    host.serve(Services::new().await.add(SynthesisServer::new(scripted)).await).await
}

#[derive(Clone)]
struct Scripted {
    host: Host,
    /// How often the process was started before.
    starts: usize,
    before: Memory,
    decoder: RemoteDecoder,
    budget: RetryBudget,
    retries: RetryMetrics,
}

type Sender = mpsc::Sender<Result<pb::SynthesizeResponse, Status>>;

fn source_frame(request: pb::SynthesizeRequest) -> Option<pb::TensorFrame> {
    match request.message {
        Some(synthesize_request::Message::Source(frame)) => Some(frame),
        _ => None,
    }
}

fn failed(_: candle_core::Error) -> ApiError {
    ApiError::Fault(Reason::DeviceFault)
}

/// One prompt per branch, the conditional one first.
fn prompts(asked: &pb::SynthesisParameters, source: Option<&RawTensor>) -> Result<Vec<Prompt>, ApiError> {
    let embed = |pixels: &RawTensor| {
        Tensor::from_vec(truth::embeddings(&pixels.data), (IMAGE_ROWS, WIDTH), &Device::Cpu).map_err(failed)
    };
    let source = source.map(embed).transpose()?;
    let negative = Some(asked.negative_prompt.as_str()).filter(|text| !text.is_empty());
    let mut prompts = vec![match &source {
        Some(source) => prompt::edit(source, &asked.prompt),
        None => prompt::generate(&asked.prompt),
    }];
    if truth::is_guided(asked.guidance_scale) {
        prompts.push(match &source {
            Some(source) => prompt::edit_unconditional(source, negative),
            None => prompt::generate_unconditional(negative),
        });
    }
    Ok(prompts)
}

/// A generation under way.
struct Generation {
    asked: pb::SynthesisParameters,
    drawing: Drawing,
    conversation: Conversation<RemoteDecoder>,
    losses: mpsc::Receiver<SynthesisEvent>,
    n_prompts: usize,
    /// One an image.
    states: Vec<u64>,
    replies: Sender,
    host: Host,
    /// States of the request before.
    before: Vec<u64>,
}

impl Generation {
    async fn run(mut self) -> Result<(), ApiError> {
        self.progress(0).await?;
        self.conversation.open().await?;
        for iteration in 1..=self.asked.iterations {
            self.iterate().await?;
            self.progress(iteration).await?;
            let every = self.asked.preview_every;
            if every > 0 && iteration.is_multiple_of(every) && iteration < self.asked.iterations {
                self.pictures(true).await?;
            }
        }
        self.pictures(false).await?;
        self.tell(synthesize_response::Message::Done(pb::SynthesisDone::default())).await
    }

    async fn iterate(&mut self) -> Result<(), ApiError> {
        compute(self.states[0], 5, 60).await;
        let n = self.states.len();
        let values: Vec<f32> = self.states.iter().flat_map(|state| Drawing::row(*state)).collect();
        let rows = Tensor::from_vec(values, (n, WIDTH), &Device::Cpu).map_err(failed)?;
        let segment = |prompt, first_row| ProbeSegment { prompt, first_row, n_rows: 1 };
        let segments = (0..self.n_prompts).flat_map(|prompt| (0..n).map(move |row| segment(prompt, row))).collect();
        let hidden = self.conversation.probe(rows, segments).await?.to_vec2::<f32>().map_err(failed)?;
        let mut times = 1;
        while let Ok(SynthesisEvent::Resumed { attempt }) = self.losses.try_recv() {
            let what = pb::Backend::Decoder.into();
            self.tell(synthesize_response::Message::Resumed(pb::Resumed { what, attempt })).await?;
            times = if self.host.is(Mutant::RepeatsIteration) { 2 } else { 1 };
        }
        for (i, state) in self.states.iter_mut().enumerate() {
            for _ in 0..times {
                *state = Drawing::step(*state, hidden.iter().skip(i).step_by(n).map(Vec::as_slice));
            }
        }
        Ok(())
    }

    async fn progress(&self, iteration: u32) -> Result<(), ApiError> {
        let asked = &self.asked;
        let total_tokens = asked.grid_rows * asked.grid_cols * asked.n_images;
        let known_tokens = total_tokens * iteration / asked.iterations.max(1);
        let progress = pb::SynthesisProgress { iteration, iterations: asked.iterations, known_tokens, total_tokens };
        self.tell(synthesize_response::Message::Progress(progress)).await
    }

    async fn pictures(&self, preview: bool) -> Result<(), ApiError> {
        for (image, state) in (self.asked.first_image..).zip(self.delivered(preview)) {
            compute(state, 2, 10).await;
            let shape = vec![self.asked.grid_rows * STRIDE, self.asked.grid_cols * STRIDE, 3];
            let pixels = RawTensor::new(pb::DType::DtypeU8, shape, self.drawing.pixels(state).into());
            for frame in pixels.map_err(|error| error.at("image"))?.into_frames() {
                let frame = pb::ImageFrame { image, preview, frame: Some(frame) };
                self.tell(synthesize_response::Message::Image(frame)).await?;
            }
        }
        Ok(())
    }

    /// The states whose pixels are told.
    fn delivered(&self, preview: bool) -> Vec<u64> {
        let mut states = self.states.clone();
        match self.host.mutant {
            Some(Mutant::AnothersImage) if !preview && self.before.len() == states.len() => self.before.clone(),
            Some(Mutant::WrongPreview) if preview => states.iter().map(|state| state ^ 1).collect(),
            Some(Mutant::ForgetsImage) if !preview => {
                states.pop();
                states
            }
            _ => states,
        }
    }

    async fn tell(&self, message: synthesize_response::Message) -> Result<(), ApiError> {
        tell(&self.replies, pb::SynthesizeResponse { message: Some(message) }).await
    }
}

impl Scripted {
    async fn synthesize(
        self,
        call: CallContext,
        mut requests: Streaming<pb::SynthesizeRequest>,
        replies: Sender,
    ) -> Result<(), ApiError> {
        let first = requests.message().await.map_err(|status| ApiError::from_backend(&status))?;
        let Some(synthesize_request::Message::Parameters(asked)) = first.and_then(|first| first.message) else {
            return Err(ApiError::invalid("parameters", "are missing"));
        };
        let source = match asked.has_source {
            true => Some(tensor(&mut requests, source_frame).await?),
            false => None,
        };
        let prompts = prompts(&asked, source.as_ref())?;
        let mut drawn = asked.clone();
        if self.host.is(Mutant::OtherSeedAfterRestart) {
            drawn.seed ^= self.starts as u64;
        }
        let drawing = Drawing::new(&drawn, source.as_ref().map(|source| source.data.as_ref()));
        let states: Vec<u64> =
            (asked.first_image..asked.first_image + asked.n_images).map(|i| drawing.begin(i)).collect();
        let before = self.before.swap(states.clone());
        let (events, losses) = mpsc::channel(4);
        let patience = self.budget.begin(Some(call.deadline));
        let deadline = Some(call.deadline.into_std());
        let context = JobContext {
            span: Span::none(),
            deadline,
            cancel: call.cancel,
            tenant: call.tenant.into(),
            is_background: false,
        };
        let n_prompts = prompts.len();
        let conversation = Conversation::new(self.decoder, prompts, context, patience, self.retries, events);
        let host = self.host;
        Generation { asked, drawing, conversation, losses, n_prompts, states, replies, host, before }.run().await
    }
}

#[tonic::async_trait]
impl Synthesis for Scripted {
    type SynthesizeStream = Replies<pb::SynthesizeResponse>;
    type EncodeMarStream = Replies<pb::EncodeMarResponse>;

    async fn synthesize(
        &self,
        request: Request<Streaming<pb::SynthesizeRequest>>,
    ) -> Result<Response<Self::SynthesizeStream>, Status> {
        let (call, scripted) = (CallContext::of(&request), self.clone());
        let requests = request.into_inner();
        Ok(reply(self.host.held.hold(), |replies| Scripted::synthesize(scripted, call, requests, replies)))
    }

    async fn encode_mar(
        &self,
        request: Request<Streaming<pb::EncodeMarRequest>>,
    ) -> Result<Response<Self::EncodeMarStream>, Status> {
        let mut requests = request.into_inner();
        Ok(reply(self.host.held.hold(), |replies| async move {
            let pixels = tensor(&mut requests, |request: pb::EncodeMarRequest| request.frame).await?;
            compute(truth::digest(&pixels.data), 5, 40).await;
            for frame in matrix(IMAGE_ROWS, WIDTH, &truth::embeddings(&pixels.data))?.into_frames() {
                tell(&replies, pb::EncodeMarResponse { frame: Some(frame) }).await?;
            }
            Ok(())
        }))
    }

    async fn get_synthesis_info(
        &self,
        _: Request<pb::GetSynthesisInfoRequest>,
    ) -> Result<Response<pb::GetSynthesisInfoResponse>, Status> {
        Ok(Response::new(pb::GetSynthesisInfoResponse {
            base_image_size: SIDE,
            stride: STRIDE,
            n_buffers: 1,
            llm_width: WIDTH as u32,
            default_head_steps: 20,
            weights_sha256: "bb".to_owned(),
            notices: Vec::new(),
            max_places: 4096,
        }))
    }
}
