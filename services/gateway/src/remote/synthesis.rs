//! The synthesis service's stream, both ways.

use futures::{Stream, StreamExt, stream};
use tonic::Streaming;
use unipic_api::frames::{Assembler, FrameLimits};
use unipic_api::pb::{self, synthesize_request, synthesize_response};
use unipic_api::{ApiError, Reason};
use unipic_imaging::Rgb8;

use super::{failed, tensor};
use crate::backends::{ReplyStream, SynthesisEvent, SynthesisImage};

const BACKEND: &str = "synthesis";

/// The parameters, then the source's frames.
pub(super) fn requests(
    parameters: pb::SynthesisParameters,
    source: Option<Rgb8>,
) -> Result<impl Iterator<Item = pb::SynthesizeRequest>, ApiError> {
    let request = |message| pb::SynthesizeRequest { message: Some(message) };
    let frames = source.map(tensor::pixels).transpose()?.into_iter().flat_map(|tensor| tensor.into_frames());
    let first = synthesize_request::Message::Parameters(parameters);
    Ok(std::iter::once(first).chain(frames.map(synthesize_request::Message::Source)).map(request))
}

/// A stream being read, with the image that is on its way.
struct Reader {
    replies: Streaming<pb::SynthesizeResponse>,
    assembler: Assembler,
    /// Number and kind of the image begun.
    current: Option<(u32, bool)>,
}

/// The replies as events, frames joined to images. Ends after its first error.
pub(super) fn events(replies: Streaming<pb::SynthesizeResponse>) -> ReplyStream<SynthesisEvent> {
    let reader = Reader { replies, assembler: Assembler::new(FrameLimits::default()), current: None };
    read(reader).boxed()
}

fn read(reader: Reader) -> impl Stream<Item = Result<SynthesisEvent, ApiError>> + Send {
    stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Reader {
    /// The next event; none at the end of the stream.
    async fn next(&mut self) -> Result<Option<SynthesisEvent>, ApiError> {
        use synthesize_response::Message;
        while let Some(reply) = self.replies.next().await {
            let reply = reply.map_err(|status| failed(BACKEND, &status))?;
            match reply.message {
                Some(Message::Progress(progress)) => return Ok(Some(SynthesisEvent::Progress(progress))),
                Some(Message::Resumed(resumed)) => return Ok(Some(SynthesisEvent::Resumed(resumed))),
                Some(Message::Done(done)) => {
                    return Ok(Some(SynthesisEvent::Done(done.timings.unwrap_or_default())));
                }
                Some(Message::Image(frame)) => {
                    if let Some(image) = self.frame(frame)? {
                        return Ok(Some(SynthesisEvent::Image(image)));
                    }
                }
                // A newer service may say more than we know.
                None => {}
            }
        }
        self.assembler.finish().map_err(|error| tensor::broken(BACKEND, &error))?;
        Ok(None)
    }

    /// Takes a frame; returns the image that it completes.
    fn frame(&mut self, frame: pb::ImageFrame) -> Result<Option<SynthesisImage>, ApiError> {
        let of = (frame.image, frame.preview);
        if self.current.is_some_and(|current| current != of) {
            tracing::error!("frames of two images are mixed");
            return Err(ApiError::Fault(Reason::Bug));
        }
        self.current = Some(of);
        let pushed = self.assembler.push(frame.frame.unwrap_or_default());
        let Some(whole) = pushed.map_err(|error| tensor::broken(BACKEND, &error))? else { return Ok(None) };
        self.current = None;
        Ok(Some(SynthesisImage { image: of.0, preview: of.1, pixels: tensor::image(whole)? }))
    }
}
