//! Whole tensors out of streams of messages that carry frames.

use candle_core::{Device, Tensor};
use futures::{Stream, StreamExt};
use tonic::Status;
use unipic_api::ApiError;
use unipic_api::frames::{Assembler, FrameError, FrameLimits, RawTensor};
use unipic_api::pb::TensorFrame;

use crate::decode::decode;

/// Reads messages until a tensor is complete; `None` when the stream ends before the first frame of one.
///
/// `frame` takes the frame out of a message, or says what is wrong with the message. `path` names the frame's field in
/// errors, such as `"source"`.
///
/// Errors: the stream's own, `frame`'s, and INVALID_ARGUMENT for frames that are no tensor, a stream that ends inside
/// one included.
pub async fn receive_raw<M>(
    stream: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
    limits: FrameLimits,
    path: &str,
    mut frame: impl FnMut(M) -> Result<TensorFrame, ApiError>,
) -> Result<Option<RawTensor>, Status> {
    let mut assembler = Assembler::new(limits);
    while let Some(message) = stream.next().await {
        let frame = frame(message?).map_err(Status::from)?;
        if let Some(tensor) = assembler.push(frame).map_err(|error| error.at(path))? {
            return Ok(Some(tensor));
        }
    }
    assembler.finish().map_err(|error| error.at(path))?;
    Ok(None)
}

/// [`receive_raw`], decoded on `device`, for streams that must bring a tensor.
///
/// Errors: as [`receive_raw`] and [`decode`], and INVALID_ARGUMENT when no tensor came.
pub async fn receive<M>(
    stream: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
    limits: FrameLimits,
    path: &str,
    device: &Device,
    frame: impl FnMut(M) -> Result<TensorFrame, ApiError>,
) -> Result<Tensor, Status> {
    let raw = receive_raw(stream, limits, path, frame).await?;
    let raw = raw.ok_or_else(|| FrameError::MissingHeader.at(path))?;
    decode(&raw, device).map_err(|error| error.at(path).into())
}
