//! Pixels and embeddings as frames.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tonic::Status;
use unipic_api::frames::{Assembler, FrameError, FrameLimits, RawTensor};
use unipic_api::pb::{DType, TensorFrame};
use unipic_api::{ApiError, Reason};
use unipic_imaging::Rgb8;

use super::failed;

/// An image as a tensor, u8 `[height, width, 3]`.
pub(super) fn pixels(image: Rgb8) -> Result<RawTensor, ApiError> {
    let shape = vec![image.height, image.width, 3];
    RawTensor::new(DType::DtypeU8, shape, Bytes::from(image.data)).map_err(|error| broken("gateway", &error))
}

/// A tensor, u8 `[height, width, 3]`, as an image.
pub(super) fn image(tensor: RawTensor) -> Result<Rgb8, ApiError> {
    let fault = |reason: &dyn std::fmt::Display| {
        tracing::error!(%reason, "a backend's image is none");
        ApiError::Fault(Reason::Bug)
    };
    let &[height, width, 3] = tensor.shape.as_slice() else { return Err(fault(&format!("{:?}", tensor.shape))) };
    if tensor.dtype != DType::DtypeU8 {
        return Err(fault(&format!("{:?}", tensor.dtype)));
    }
    Rgb8::new(width, height, tensor.data.into()).map_err(|error| fault(&error))
}

/// A backend broke the rules of frames: its fault, not our caller's.
pub(super) fn broken(backend: &'static str, error: &FrameError) -> ApiError {
    tracing::error!(backend, %error, "a backend sent no valid tensor");
    match error {
        // A stream that ends inside a tensor is what a killed replica leaves.
        FrameError::Incomplete { .. } => ApiError::unavailable(Reason::BackendUnavailable),
        _ => ApiError::Fault(Reason::Bug),
    }
}

/// Reads the one tensor that a backend answers with.
pub(super) async fn collect<T>(
    backend: &'static str,
    mut replies: impl Stream<Item = Result<T, Status>> + Unpin,
    frame: impl Fn(T) -> Option<TensorFrame>,
) -> Result<RawTensor, ApiError> {
    let mut assembler = Assembler::new(FrameLimits::default());
    while let Some(reply) = replies.next().await {
        let reply = reply.map_err(|status| failed(backend, &status))?;
        let pushed = assembler.push(frame(reply).unwrap_or_default());
        if let Some(tensor) = pushed.map_err(|error| broken(backend, &error))? {
            return Ok(tensor);
        }
    }
    assembler.finish().map_err(|error| broken(backend, &error))?;
    Err(ApiError::unavailable(Reason::BackendUnavailable))
}
