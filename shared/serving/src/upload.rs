//! Requests of gRPC that must keep coming, as [`crate::pace`] has it for plain HTTP.
//!
//! A caller that sends headers and nothing after them would hold its call, and a drain, for the longest time that any call
//! may take. Where a method takes one message, the body must keep the pace to its end. Where it takes a stream, only to
//! the end of the first message: what a session sends later comes when there is something to ask, minutes apart, say.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};
use unipic_api::ApiError;

use crate::pace::{Clock, PATIENCE, SlowUpload};

/// Bytes in front of a message: a flag and the message's length.
const PREFIX: usize = 5;

pin_project! {
    /// The body of a call's request. Its clock runs from the first poll: until somebody reads, the peer is not to blame.
    pub(crate) struct Upload<B> {
        #[pin]
        body: B,
        is_timed: bool,
        is_unary: bool,
        clock: Option<Clock>,
        first: FirstMessage,
    }
}

impl<B> Upload<B> {
    /// The body of a request to the method at `path`.
    pub(crate) fn new(body: B, path: &str) -> Self {
        let first = FirstMessage::default();
        Self { body, is_timed: true, is_unary: is_unary(path), clock: None, first }
    }
}

impl<B: Body<Data = Bytes>> Body for Upload<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context).map_err(Into::into);
        if !*this.is_timed {
            return polled;
        }
        let clock = this.clock.get_or_insert_with(|| Clock::start(PATIENCE));
        if polled.is_pending() {
            ready!(clock.poll_late(context));
            return Poll::Ready(Some(Err(too_slow().into())));
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            clock.received(data.len());
            *this.is_timed = !this.first.is_whole_with(data) || *this.is_unary;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A status, because tonic passes one through a body's error as it is.
fn too_slow() -> Status {
    ApiError::Other { code: Code::Aborted, message: SlowUpload.to_string() }.into()
}

/// How much has come of a call's first message.
#[derive(Default)]
struct FirstMessage {
    prefix: [u8; PREFIX],
    bytes: usize,
}

impl FirstMessage {
    /// Takes note of what came next; true once the message is whole.
    fn is_whole_with(&mut self, data: &[u8]) -> bool {
        let missing = self.prefix.iter_mut().skip(self.bytes);
        for (missing, byte) in missing.zip(data) {
            *missing = *byte;
        }
        self.bytes = self.bytes.saturating_add(data.len());
        let [_, a, b, c, d] = self.prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        self.bytes >= PREFIX && self.bytes - PREFIX >= length
    }
}

/// True for methods that take one message. One that is not known may take a stream.
fn is_unary(path: &str) -> bool {
    static UNARY: OnceLock<BTreeSet<String>> = OnceLock::new();
    UNARY.get_or_init(unary_methods).contains(path)
}

fn unary_methods() -> BTreeSet<String> {
    let sets = [unipic_api::pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];
    let files = sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    let mut unary = BTreeSet::new();
    for file in files {
        for service in &file.service {
            let methods = service.method.iter().filter(|method| !method.client_streaming());
            unary.extend(methods.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name())));
        }
    }
    unary
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const UNARY: &str = "/unipic.v1.UniPic/Generate";
    const STREAM: &str = "/unipic.v1.Decoder/Session";

    /// A message of three bytes, byte by byte, and then nothing.
    fn sent(bytes: usize, path: &str) -> Upload<impl Body<Data = Bytes, Error = std::io::Error>> {
        let message = [0, 0, 0, 0, 3, 7, 7, 7];
        let frames = message.into_iter().take(bytes).map(|byte| Ok(Frame::data(Bytes::from(vec![byte]))));
        Upload::new(StreamBody::new(Box::pin(stream::iter(frames).chain(stream::pending()))), path)
    }

    /// The status that reading ends with; none where it goes on for a day.
    async fn end(body: Upload<impl Body<Data = Bytes, Error = std::io::Error>>) -> Option<Code> {
        let read = tokio::time::timeout(Duration::from_secs(86_400), body.collect()).await.ok()?;
        Some(read.map(drop).unwrap_err().downcast::<Status>().unwrap().code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_message_must_come_whole() {
        for path in [UNARY, STREAM] {
            for bytes in [0, 1, 5, 7] {
                assert_eq!(end(sent(bytes, path)).await, Some(Code::Aborted), "{bytes} bytes to {path}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_streams_may_pause_behind_it() {
        assert_eq!(end(sent(8, UNARY)).await, Some(Code::Aborted));
        assert_eq!(end(sent(8, STREAM)).await, None);
    }

    #[test]
    fn methods_are_told_apart_by_their_descriptors() {
        assert!(is_unary(UNARY) && is_unary("/grpc.health.v1.Health/Watch"));
        assert!(!is_unary(STREAM) && !is_unary("/a.B/C"));
    }
}
