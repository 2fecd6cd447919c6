//! The services behind the gateway, over gRPC.
//!
//! Embeddings stay the bytes they came as: checked for length and checksum, never read as numbers. So the gateway needs
//! no tensor library, and an image's embeddings cross it without a conversion.

mod answer;
mod synthesis;
mod tensor;

use std::time::Duration;

use futures::stream;
use tonic::{Request, Status};
use unipic_api::frames::RawTensor;
use unipic_api::pb::decoder_client::DecoderClient;
use unipic_api::pb::synthesis_client::SynthesisClient;
use unipic_api::pb::understanding_encoder_client::UnderstandingEncoderClient;
use unipic_api::{ApiError, pb};
use unipic_client::Connection;
use unipic_imaging::Rgb8;
use unipic_serving::CallContext;

use crate::backends::{AnswerEvent, AnswerSpec, Backends, Facts, Missing, ReplyStream, SynthesisEvent};

/// Time a backend has to say what it holds.
const FACTS_LIMIT: Duration = Duration::from_secs(5);

/// Connections to the three services, each with its replicas. Clones share them.
#[derive(Debug, Clone)]
pub struct RemoteBackends {
    understanding: UnderstandingEncoderClient<Connection>,
    synthesis: SynthesisClient<Connection>,
    decoder: DecoderClient<Connection>,
}

impl RemoteBackends {
    /// Clients over these connections.
    pub fn over(understanding: Connection, synthesis: Connection, decoder: Connection) -> Self {
        Self {
            understanding: unipic_client::understanding(understanding),
            synthesis: unipic_client::synthesis(synthesis),
            decoder: unipic_client::decoder(decoder),
        }
    }
}

/// A request that the callee may work on for as long as our own caller waits, on whose behalf it is told.
fn within<T>(message: T, call: &CallContext) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(call.remaining());
    call.tenant.tell(request.metadata_mut());
    call.priority.tell(request.metadata_mut());
    request
}

/// What a backend's failure is to our caller. The status itself stays in the log.
fn failed(backend: &'static str, status: &Status) -> ApiError {
    let error = ApiError::from_backend(status);
    tracing::warn!(backend, code = ?status.code(), message = status.message(), "a backend failed");
    error
}

/// Waits for one backend's answer about itself.
async fn ask<T>(
    backend: &'static str,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Missing> {
    let missing = |error| Missing { backend, error };
    match tokio::time::timeout(FACTS_LIMIT, call).await {
        Err(_) => Err(missing(ApiError::DeadlineExceeded)),
        Ok(Err(status)) => Err(missing(ApiError::from_backend(&status))),
        Ok(Ok(response)) => Ok(response.into_inner()),
    }
}

impl Backends for RemoteBackends {
    type Embeddings = RawTensor;

    fn embeddings_bytes(embeddings: &RawTensor) -> u64 {
        embeddings.data.len() as u64
    }

    async fn facts(&self) -> Result<Facts, Vec<Missing>> {
        let (mut understanding, mut synthesis, mut decoder) =
            (self.understanding.clone(), self.synthesis.clone(), self.decoder.clone());
        let answers = tokio::join!(
            ask("understanding", understanding.get_understanding_info(pb::GetUnderstandingInfoRequest {})),
            ask("synthesis", synthesis.get_synthesis_info(pb::GetSynthesisInfoRequest {})),
            ask("decoder", decoder.get_decoder_info(pb::GetDecoderInfoRequest {})),
        );
        match answers {
            (Ok(understanding), Ok(synthesis), Ok(decoder)) => Ok(Facts { understanding, synthesis, decoder }),
            (understanding, synthesis, decoder) => {
                Err([understanding.err(), synthesis.err(), decoder.err()].into_iter().flatten().collect())
            }
        }
    }

    async fn synthesize(
        &self,
        parameters: pb::SynthesisParameters,
        source: Option<Rgb8>,
        context: &CallContext,
    ) -> Result<ReplyStream<SynthesisEvent>, ApiError> {
        let requests = stream::iter(synthesis::requests(parameters, source)?);
        let response = self.synthesis.clone().synthesize(within(requests, context)).await;
        let replies = response.map_err(|status| failed("synthesis", &status))?.into_inner();
        Ok(synthesis::events(replies))
    }

    async fn encode_siglip(&self, image: Rgb8, context: &CallContext) -> Result<RawTensor, ApiError> {
        let frames = tensor::pixels(image)?.into_frames();
        let requests = stream::iter(frames.map(|frame| pb::EncodeSiglipRequest { frame: Some(frame) }));
        let response = self.understanding.clone().encode_siglip(within(requests, context)).await;
        let replies = response.map_err(|status| failed("understanding", &status))?.into_inner();
        tensor::collect("understanding", replies, |reply| reply.frame).await
    }

    async fn encode_mar(&self, image: Rgb8, context: &CallContext) -> Result<RawTensor, ApiError> {
        let frames = tensor::pixels(image)?.into_frames();
        let requests = stream::iter(frames.map(|frame| pb::EncodeMarRequest { frame: Some(frame) }));
        let response = self.synthesis.clone().encode_mar(within(requests, context)).await;
        let replies = response.map_err(|status| failed("synthesis", &status))?.into_inner();
        tensor::collect("synthesis", replies, |reply| reply.frame).await
    }

    async fn answer(
        &self,
        spec: AnswerSpec<RawTensor>,
        context: &CallContext,
    ) -> Result<ReplyStream<AnswerEvent>, ApiError> {
        let requests = stream::iter(answer::requests(spec));
        let response = self.decoder.clone().answer(within(requests, context)).await;
        let replies = response.map_err(|status| failed("decoder", &status))?.into_inner();
        Ok(answer::events(replies))
    }

    async fn frames(&self, embeddings: RawTensor) -> Result<Vec<pb::TensorFrame>, ApiError> {
        Ok(embeddings.into_frames().collect())
    }
}
