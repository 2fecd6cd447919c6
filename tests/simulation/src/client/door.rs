//! What stands between the shipped client and a caller: nothing, or a defect.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use tonic::{Code, Status};
use unipic_api::frames::RawTensor;
use unipic_api::pb::{self, generate_response, understand_response};
use unipic_client::ClientError;

use crate::mutant::Mutant;

/// A door, with its defect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door(pub(super) Option<Mutant>);

/// An event as a defect sees it.
pub(super) trait Event: Clone + Send + 'static {
    /// The last one of a good stream.
    fn is_last(&self) -> bool;
    /// An image.
    fn is_image(&self) -> bool {
        false
    }
    /// A preview.
    fn is_preview(&self) -> bool {
        false
    }
    /// What a stream that begins again after this one would say.
    fn again(&self) -> Option<Self> {
        None
    }
}

impl Event for generate_response::Event {
    fn is_last(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    fn is_image(&self) -> bool {
        matches!(self, Self::Image(_))
    }

    fn is_preview(&self) -> bool {
        matches!(self, Self::Preview(_))
    }

    fn again(&self) -> Option<Self> {
        matches!(self, Self::Resumed(_)).then(|| Self::Progress(Default::default()))
    }
}

impl Event for understand_response::Event {
    fn is_last(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl Door {
    /// The time that calls are made with.
    pub(super) fn deadline(self, asked: Duration) -> Duration {
        match self.0 {
            Some(Mutant::IgnoresDeadline) => asked + Duration::from_secs(5),
            Some(Mutant::HalvesDeadline) => asked / 2,
            _ => asked,
        }
    }

    /// An error as it comes out.
    pub(super) fn error(self, error: ClientError) -> ClientError {
        match (self.0, error.code()) {
            (Some(Mutant::UnknownStatus), Code::Unavailable) => Status::unknown("transport error").into(),
            (Some(Mutant::NoRetryInfo), Code::ResourceExhausted) => {
                Status::resource_exhausted(error.status().message()).into()
            }
            _ => error,
        }
    }

    /// Embeddings as they come out.
    pub(super) fn embeddings(self, mut tensor: RawTensor) -> RawTensor {
        if self.0 == Some(Mutant::CutEmbeddings) {
            tensor.data.truncate(tensor.data.len() / 2);
        }
        tensor
    }

    /// What is served, as it comes out.
    pub(super) fn model(self, mut model: pb::GetModelResponse) -> pb::GetModelResponse {
        if self.0 == Some(Mutant::NoWeights) {
            model.weights_sha256.clear();
        }
        model
    }

    /// A stream's events as they come out.
    pub(super) fn through<E: Event>(
        self,
        events: impl Stream<Item = Result<E, ClientError>> + Send + 'static,
    ) -> BoxStream<'static, Result<E, ClientError>> {
        let Some(mutant) = self.0 else { return events.boxed() };
        let several = |events: Vec<E>| stream::iter(events.into_iter().map(Ok)).boxed();
        let out = events.flat_map(move |event| match (mutant, event) {
            (Mutant::NeverEnds, Err(_)) => stream::pending().boxed(),
            (_, Err(error)) => stream::iter([Err(self.error(error))]).boxed(),
            (Mutant::NoLastWord, Ok(event)) if event.is_last() => stream::empty().boxed(),
            (Mutant::SpeaksOn, Ok(event)) if event.is_last() => several(vec![event.clone(), event]),
            (Mutant::ImageTwice, Ok(event)) if event.is_image() => several(vec![event.clone(), event]),
            (Mutant::PreviewTwice, Ok(event)) if event.is_preview() => several(vec![event.clone(), event]),
            (Mutant::ProgressAgain, Ok(event)) => several([event.again(), Some(event)].into_iter().flatten().collect()),
            (_, Ok(event)) => several(vec![event]),
        });
        out.boxed()
    }
}
