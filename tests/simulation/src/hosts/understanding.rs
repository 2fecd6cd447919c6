//! The encoder of images for questions.

use tonic::{Request, Response, Status, Streaming};
use unipic_api::pb;
use unipic_api::pb::understanding_encoder_server::{UnderstandingEncoder, UnderstandingEncoderServer};
use unipic_serving::Services;

use super::{Host, Memory, Replies, compute, matrix, reply, tell, tensor};
use crate::mutant::Mutant;
use crate::truth::{IMAGE_ROWS, WIDTH, digest, embeddings_of};

/// Side of the images that it takes, in pixels.
pub(crate) const SIDE: u32 = 48;

/// Runs the process until it is stopped.
pub(crate) async fn understanding(host: Host) -> turmoil::Result {
    let service = UnderstandingEncoderServer::new(Scripted { host: host.clone(), before: Memory::default() });
    host.serve(Services::new().await.add(service).await).await
}

#[derive(Clone)]
struct Scripted {
    host: Host,
    before: Memory,
}

impl Scripted {
    /// The image that is encoded.
    fn shown(&self, pixels: &[u8]) -> u64 {
        let image = digest(pixels);
        match self.host.is(Mutant::StaleEmbeddings) {
            true => self.before.swap(vec![image]).first().copied().unwrap_or(image),
            false => image,
        }
    }
}

#[tonic::async_trait]
impl UnderstandingEncoder for Scripted {
    type EncodeSiglipStream = Replies<pb::EncodeSiglipResponse>;

    async fn encode_siglip(
        &self,
        request: Request<Streaming<pb::EncodeSiglipRequest>>,
    ) -> Result<Response<Self::EncodeSiglipStream>, Status> {
        let mut requests = request.into_inner();
        let scripted = self.clone();
        Ok(reply(self.host.held.hold(), |replies| async move {
            let pixels = tensor(&mut requests, |request: pb::EncodeSiglipRequest| request.frame).await?;
            compute(digest(&pixels.data), 5, 40).await;
            for frame in matrix(IMAGE_ROWS, WIDTH, &embeddings_of(scripted.shown(&pixels.data)))?.into_frames() {
                tell(&replies, pb::EncodeSiglipResponse { frame: Some(frame) }).await?;
            }
            Ok(())
        }))
    }

    async fn get_understanding_info(
        &self,
        _: Request<pb::GetUnderstandingInfoRequest>,
    ) -> Result<Response<pb::GetUnderstandingInfoResponse>, Status> {
        Ok(Response::new(pb::GetUnderstandingInfoResponse {
            available: true,
            image_size: SIDE,
            n_tokens: IMAGE_ROWS as u32,
            llm_width: WIDTH as u32,
            weights_sha256: "aa".to_owned(),
            notices: Vec::new(),
        }))
    }
}
