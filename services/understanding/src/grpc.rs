//! The service on the wire: messages judged and turned into the core's calls, and nothing else.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};
use tracing::info_span;
use unipic_api::frames::FrameLimits;
use unipic_api::pb::understanding_encoder_server::UnderstandingEncoder as Api;
use unipic_api::{ApiError, limits, pb};
use unipic_engine::JobContext;
use unipic_models::Handover;
use unipic_serving::{CallContext, Priority, Tenant};
use unipic_wire::{expect_shape, frames, receive_raw};

use crate::understanding::{Understanding, unavailable};

/// The generated server over an [`Understanding`].
pub type Server = pb::understanding_encoder_server::UnderstandingEncoderServer<Adapter>;

/// A server with the message limits that both ends agreed on.
pub fn server(understanding: Understanding) -> Server {
    Server::new(Adapter { understanding })
        .max_decoding_message_size(limits::INTERNAL_MESSAGE_BYTES)
        .max_encoding_message_size(limits::INTERNAL_MESSAGE_BYTES)
}

/// Implements the generated service.
pub struct Adapter {
    understanding: Understanding,
}

#[tonic::async_trait]
impl Api for Adapter {
    type EncodeSiglipStream = Pin<Box<dyn Stream<Item = Result<pb::EncodeSiglipResponse, Status>> + Send>>;

    async fn encode_siglip(
        &self,
        request: Request<Streaming<pb::EncodeSiglipRequest>>,
    ) -> Result<Response<Self::EncodeSiglipStream>, Status> {
        let info = self.understanding.info();
        if !info.available {
            // Before the upload: what comes cannot be used.
            return Err(unavailable().into());
        }
        let (call, tenant) = (CallContext::of(&request), Tenant::told(request.metadata()).into());
        let is_background = Priority::told(request.metadata()) == Priority::Batch;
        let mut requests = request.into_inner();
        let side = info.image_size;
        let frame =
            |message: pb::EncodeSiglipRequest| message.frame.ok_or_else(|| ApiError::invalid("frame", "is missing"));
        let limits = FrameLimits { max_bytes: (3 * side * side) as u64 };
        let raw = receive_raw(&mut requests, limits, "frame", frame).await?;
        let raw = raw.ok_or_else(|| ApiError::invalid("frame", "is missing"))?;
        let (shape, wanted) = ([Some(side), Some(side), Some(3)], format!("u8 [{side}, {side}, 3]"));
        expect_shape(&raw, pb::DType::DtypeU8, &shape, &wanted).map_err(|error| error.at("frame"))?;
        let (deadline, cancel) = (Some(call.deadline.into_std()), call.cancel);
        let context = JobContext { span: info_span!("encode", side), deadline, cancel, tenant, is_background };
        let embeddings = self.understanding.encode(raw.data, Handover::Host, &context).await?.reply;
        let frames = frames(&embeddings).map_err(ApiError::from)?;
        let replies = frames.map(|frame| Ok(pb::EncodeSiglipResponse { frame: Some(frame) }));
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn get_understanding_info(
        &self,
        _: Request<pb::GetUnderstandingInfoRequest>,
    ) -> Result<Response<pb::GetUnderstandingInfoResponse>, Status> {
        Ok(Response::new(self.understanding.info().message()))
    }
}
