//! Services behind the gateway that speak the real protocol and compute nothing.

#![allow(clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::pb::decoder_server::{Decoder, DecoderServer};
use unipic_api::pb::synthesis_server::{Synthesis, SynthesisServer};
use unipic_api::pb::understanding_encoder_server::{UnderstandingEncoder, UnderstandingEncoderServer};
use unipic_api::pb::{self, answer_request, answer_response, synthesize_request, synthesize_response};
use unipic_client::Endpoint;

type Replies<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

/// All three services at one address.
#[derive(Clone, Default)]
pub(crate) struct Fakes(pub(crate) Arc<Seen>);

/// What the services were asked, and how they misbehave.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) sources: Mutex<Vec<RawTensor>>,
    pub(crate) answers: Mutex<Vec<(pb::AnswerOpen, Vec<RawTensor>)>>,
    pub(crate) syntheses: AtomicUsize,
    /// Break the connection in the middle of the next image.
    pub(crate) break_image: AtomicBool,
}

/// Serves them at a free port until dropped.
pub(crate) async fn start(fakes: Fakes) -> (Endpoint, AbortOnDropHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = tonic::transport::Server::builder()
        .add_service(SynthesisServer::new(fakes.clone()))
        .add_service(UnderstandingEncoderServer::new(fakes.clone()))
        .add_service(DecoderServer::new(fakes))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = AbortOnDropHandle::new(tokio::spawn(async {
        let _ = server.await;
    }));
    (url.parse().expect("an endpoint"), task)
}

/// Joins frames to tensors.
fn tensors(frames: impl IntoIterator<Item = pb::TensorFrame>) -> Vec<RawTensor> {
    let mut assembler = Assembler::new(FrameLimits::default());
    let joined = frames.into_iter().filter_map(|frame| assembler.push(frame).expect("a valid frame")).collect();
    assembler.finish().expect("whole tensors");
    joined
}

/// An image of noise, so large that it takes several frames.
pub(crate) fn noise(width: u32, height: u32) -> RawTensor {
    let data: Vec<u8> = (0..width * height * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    RawTensor::new(pb::DType::DtypeU8, vec![height, width, 3], Bytes::from(data)).expect("fits")
}

/// Embeddings that say by how many bytes they were made.
fn embeddings(pixels: &RawTensor) -> RawTensor {
    let data: Vec<u8> = (0..9 * 64).flat_map(|i| (pixels.data.len() as f32 + i as f32).to_le_bytes()).collect();
    RawTensor::new(pb::DType::DtypeF32, vec![9, 64], Bytes::from(data)).expect("fits")
}

#[tonic::async_trait]
impl Synthesis for Fakes {
    type SynthesizeStream = BoxStream<'static, Result<pb::SynthesizeResponse, Status>>;
    type EncodeMarStream = BoxStream<'static, Result<pb::EncodeMarResponse, Status>>;

    async fn synthesize(&self, request: Request<Streaming<pb::SynthesizeRequest>>) -> Replies<pb::SynthesizeResponse> {
        self.0.syntheses.fetch_add(1, Ordering::SeqCst);
        let messages: Vec<_> = request.into_inner().try_collect().await?;
        let mut messages = messages.into_iter().filter_map(|request| request.message);
        let Some(synthesize_request::Message::Parameters(asked)) = messages.next() else { panic!("no parameters") };
        let frames = messages.map(|message| match message {
            synthesize_request::Message::Source(frame) => frame,
            other => panic!("{other:?}"),
        });
        self.0.sources.lock().expect("lock").extend(tensors(frames));
        let message = |message| Ok(pb::SynthesizeResponse { message: Some(message) });
        let progress = pb::SynthesisProgress { iteration: 1, iterations: 1, known_tokens: 9, total_tokens: 9 };
        let mut replies = vec![message(synthesize_response::Message::Progress(progress))];
        for image in asked.first_image..asked.first_image + asked.n_images {
            for frame in noise(asked.grid_cols * 16, asked.grid_rows * 16).into_frames() {
                let frame = pb::ImageFrame { image, preview: false, frame: Some(frame) };
                replies.push(message(synthesize_response::Message::Image(frame)));
            }
        }
        if self.0.break_image.swap(false, Ordering::SeqCst) {
            // UNKNOWN is what a killed server leaves behind; the last frame does not come.
            replies.pop();
            replies.push(Err(Status::unknown("killed")));
        } else {
            let timings = Some(pb::SynthesisTimings { total_ms: 5.0, ..Default::default() });
            replies.push(message(synthesize_response::Message::Done(pb::SynthesisDone { timings })));
        }
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn encode_mar(&self, request: Request<Streaming<pb::EncodeMarRequest>>) -> Replies<pb::EncodeMarResponse> {
        let requests: Vec<_> = request.into_inner().try_collect().await?;
        let pixels = tensors(requests.into_iter().filter_map(|request| request.frame));
        let frames = embeddings(&pixels[0]).into_frames().map(|frame| Ok(pb::EncodeMarResponse { frame: Some(frame) }));
        Ok(Response::new(stream::iter(frames).boxed()))
    }

    async fn get_synthesis_info(
        &self,
        _: Request<pb::GetSynthesisInfoRequest>,
    ) -> Result<Response<pb::GetSynthesisInfoResponse>, Status> {
        Ok(Response::new(crate::support::facts(false).synthesis))
    }
}

#[tonic::async_trait]
impl UnderstandingEncoder for Fakes {
    type EncodeSiglipStream = BoxStream<'static, Result<pb::EncodeSiglipResponse, Status>>;

    async fn encode_siglip(
        &self,
        request: Request<Streaming<pb::EncodeSiglipRequest>>,
    ) -> Replies<pb::EncodeSiglipResponse> {
        let requests: Vec<_> = request.into_inner().try_collect().await?;
        let pixels = tensors(requests.into_iter().filter_map(|request| request.frame));
        let frames = embeddings(&pixels[0]).into_frames();
        let replies = frames.map(|frame| Ok(pb::EncodeSiglipResponse { frame: Some(frame) }));
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn get_understanding_info(
        &self,
        _: Request<pb::GetUnderstandingInfoRequest>,
    ) -> Result<Response<pb::GetUnderstandingInfoResponse>, Status> {
        Ok(Response::new(crate::support::facts(false).understanding))
    }
}

#[tonic::async_trait]
impl Decoder for Fakes {
    type SessionStream = BoxStream<'static, Result<pb::SessionResponse, Status>>;
    type AnswerStream = BoxStream<'static, Result<pb::AnswerResponse, Status>>;

    async fn session(&self, _: Request<Streaming<pb::SessionRequest>>) -> Replies<pb::SessionResponse> {
        Err(Status::unimplemented("the gateway opens no sessions"))
    }

    async fn answer(&self, request: Request<Streaming<pb::AnswerRequest>>) -> Replies<pb::AnswerResponse> {
        let messages: Vec<_> = request.into_inner().try_collect().await?;
        let mut messages = messages.into_iter().filter_map(|request| request.message);
        let Some(answer_request::Message::Open(open)) = messages.next() else { panic!("no opening") };
        let frames = messages.map(|message| match message {
            answer_request::Message::Frame(frame) => frame,
            other => panic!("{other:?}"),
        });
        self.0.answers.lock().expect("lock").push((open, tensors(frames)));
        let done = pb::AnswerDone { prompt_tokens: 30, completion_tokens: 2, ..Default::default() };
        let replies =
            [answer_response::Message::TextDelta("Ein Hof.".to_owned()), answer_response::Message::Done(done)];
        let replies = replies.map(|message| Ok(pb::AnswerResponse { message: Some(message) }));
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn get_decoder_info(
        &self,
        _: Request<pb::GetDecoderInfoRequest>,
    ) -> Result<Response<pb::GetDecoderInfoResponse>, Status> {
        let mut info = crate::support::facts(false).decoder;
        // Room for images of several frames.
        info.context_length = 100_000;
        Ok(Response::new(info))
    }
}
