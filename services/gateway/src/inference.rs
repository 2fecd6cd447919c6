//! The Open Inference Protocol over gRPC: the encoders as models that generic inference clients can ask.
//!
//! It exists for clients and platforms that embed images already and speak this protocol. Nothing happens here that `Embed` does
//! not do: a request becomes a picture and an encoder, and goes the same way through validation, admission, the cache and
//! the backends, so limits and complaints are the same. What the protocol has and these models have not (parameters,
//! batches, other versions) is refused by name.

mod input;
mod models;

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};
use unipic_api::frames::{Assembler, FrameLimits, RawTensor};
use unipic_api::inference::grpc_inference_service_server::GrpcInferenceService;
use unipic_api::inference::{self as oip, model_infer_response::InferOutputTensor};
use unipic_api::{ApiError, Reason, pb};
use unipic_serving::TakesCalls;

use crate::backends::Backends;
use crate::caller::Caller;
use crate::events::EventStream;
use crate::gateway::Gateway;
use crate::model::Model;
use models::{FP32, OUTPUT, VERSION};

/// The service over a gateway. Clones share everything.
#[derive(Debug)]
pub struct Inference<B: Backends>(Gateway<B>);

impl<B: Backends> Clone for Inference<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backends> Inference<B> {
    pub(crate) fn new(gateway: Gateway<B>) -> Self {
        Self(gateway)
    }

    /// The model, where requests are taken now.
    fn ready<T>(&self, request: &Request<T>) -> Option<Arc<Model>> {
        TakesCalls::among(request.extensions()).then(|| self.0.model().ok()).flatten()
    }
}

#[tonic::async_trait]
impl<B: Backends> GrpcInferenceService for Inference<B> {
    async fn server_live(
        &self,
        _: Request<oip::ServerLiveRequest>,
    ) -> Result<Response<oip::ServerLiveResponse>, Status> {
        Ok(Response::new(oip::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        request: Request<oip::ServerReadyRequest>,
    ) -> Result<Response<oip::ServerReadyResponse>, Status> {
        Ok(Response::new(oip::ServerReadyResponse { ready: self.ready(&request).is_some() }))
    }

    async fn model_ready(
        &self,
        request: Request<oip::ModelReadyRequest>,
    ) -> Result<Response<oip::ModelReadyResponse>, Status> {
        let model = self.ready(&request);
        let oip::ModelReadyRequest { name, version } = request.into_inner();
        let ready = model.is_some_and(|model| models::find(&model, &name, &version).is_ok());
        Ok(Response::new(oip::ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<oip::ServerMetadataRequest>,
    ) -> Result<Response<oip::ServerMetadataResponse>, Status> {
        Ok(Response::new(models::server()))
    }

    async fn model_metadata(
        &self,
        request: Request<oip::ModelMetadataRequest>,
    ) -> Result<Response<oip::ModelMetadataResponse>, Status> {
        let model = self.0.model()?;
        let oip::ModelMetadataRequest { name, version } = request.into_inner();
        let path = models::find(&model, &name, &version)?;
        Ok(Response::new(models::metadata(&model, path)))
    }

    async fn model_infer(
        &self,
        request: Request<oip::ModelInferRequest>,
    ) -> Result<Response<oip::ModelInferResponse>, Status> {
        let caller = Caller::of(&request)?;
        let model = self.0.model()?;
        let request = request.into_inner();
        let path = models::find(&model, &request.model_name, &request.model_version)?;
        let (model_name, id) = (request.model_name.clone(), request.id.clone());
        let picture = input::picture(request)?;
        let events = self.0.start_embed(picture, path as i32, caller).await?;
        Ok(Response::new(answer(model_name, id, whole(events).await?)?))
    }
}

/// The tensor that an Embed's frames make.
async fn whole(events: EventStream<pb::EmbedResponse>) -> Result<RawTensor, Status> {
    let (mut assembler, mut whole) = (Assembler::new(FrameLimits::default()), None);
    let mut frames = events.map_ok(|response| response.frame.unwrap_or_default());
    // To its end, which is where an error would stand.
    while let Some(frame) = frames.next().await {
        whole = assembler.push(frame?).map_err(|error| fault(&error))?.or(whole);
    }
    whole.ok_or_else(|| fault(&"no tensor").into())
}

/// The answer: the tensor as it is, behind an axis of one for the batch that the protocol's clients count with.
fn answer(model_name: String, id: String, tensor: RawTensor) -> Result<oip::ModelInferResponse, ApiError> {
    if tensor.dtype != pb::DType::DtypeF32 {
        return Err(fault(&format!("{:?}", tensor.dtype)));
    }
    let shape = std::iter::once(1).chain(tensor.shape.into_iter().map(i64::from)).collect();
    let output = InferOutputTensor { name: OUTPUT.to_owned(), datatype: FP32.to_owned(), shape, ..Default::default() };
    Ok(oip::ModelInferResponse {
        model_name,
        model_version: VERSION.to_owned(),
        id,
        outputs: vec![output],
        raw_output_contents: vec![tensor.data],
        ..Default::default()
    })
}

/// Frames of our own that make no tensor.
fn fault(problem: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%problem, "embeddings are no tensor of f32");
    ApiError::Fault(Reason::Bug)
}
