//! The public service, called as its users want it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Request, Response, Status, Streaming};
use unipic_api::frames::{Assembler, FrameError, FrameLimits, RawTensor};
use unipic_api::limits::PUBLIC_RESPONSE_BYTES;
use unipic_api::pb::uni_pic_client::UniPicClient as Generated;
use unipic_api::pb::{
    EditRequest, EditResponse, EmbedRequest, EmbedResponse, GenerateRequest, GenerateResponse, GetModelRequest,
    GetModelResponse, UnderstandRequest, UnderstandResponse,
};
use unipic_api::{ApiError, Reason};

use crate::connection::{Connection, NoEndpoints, connect};
use crate::endpoint::Endpoint;
use crate::error::ClientError;

/// How long the server's own word on a deadline is waited for before the client gives up by itself.
const GRACE: Duration = Duration::from_millis(500);

/// How patient a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOptions {
    /// Time for a whole call, retries and the whole stream included.
    pub deadline: Duration,
    /// How often a call is made before UNAVAILABLE is given up on; at least once.
    pub attempts: u32,
    /// The pause before the second attempt. It doubles with each further one, up to [`CallOptions::max_backoff`], and a
    /// random part of it is waited, so that clients of a server that comes back do not come back all at once.
    pub backoff: Duration,
    /// The longest pause between two attempts.
    pub max_backoff: Duration,
}

impl Default for CallOptions {
    /// An hour (a generation on a small machine takes minutes), five attempts over about three seconds.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3600),
            attempts: 5,
            backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(2),
        }
    }
}

impl CallOptions {
    /// The pause before attempt `attempt` (1 is the second), or longer where the server asked for it.
    fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.backoff.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)));
        let jittered = doubled.min(self.max_backoff).mul_f64(0.5 + 0.5 * fastrand::f64());
        asked.map_or(jittered, |asked| jittered.max(asked))
    }
}

/// A client of the public service. Cheap to clone.
///
/// A call is tried again while the server is UNAVAILABLE and has sent no event: a server that began to answer may have
/// done work, and repeating that is the caller's decision.
#[derive(Debug, Clone)]
pub struct UniPicClient {
    generated: Generated<Connection>,
    options: CallOptions,
}

impl UniPicClient {
    /// A client of the replicas at `endpoints`, connected to at the first call. Call it inside a tokio runtime.
    ///
    /// Errors: no endpoints.
    pub fn new(endpoints: &[Endpoint]) -> Result<Self, NoEndpoints> {
        let generated = Generated::new(connect(endpoints)?).max_decoding_message_size(PUBLIC_RESPONSE_BYTES);
        Ok(Self { generated, options: CallOptions::default() })
    }

    /// The same client with other patience.
    #[must_use]
    pub fn with_options(self, options: CallOptions) -> Self {
        Self { options, ..self }
    }

    /// Draws images. Errors: the server's, UNAVAILABLE when it cannot be reached, DEADLINE_EXCEEDED.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Events<GenerateResponse>, ClientError> {
        self.stream(request, async |mut client: Generated<Connection>, request| client.generate(request).await).await
    }

    /// Edits an image. Errors as [`UniPicClient::generate`].
    pub async fn edit(&self, request: EditRequest) -> Result<Events<EditResponse>, ClientError> {
        self.stream(request, async |mut client: Generated<Connection>, request| client.edit(request).await).await
    }

    /// Answers a question about images. Errors as [`UniPicClient::generate`].
    pub async fn understand(&self, request: UnderstandRequest) -> Result<Events<UnderstandResponse>, ClientError> {
        self.stream(request, async |mut client: Generated<Connection>, request| client.understand(request).await).await
    }

    /// The embeddings of an image, f32 `[n_tokens, llm_width]`. Errors as [`UniPicClient::generate`], and INTERNAL when
    /// what comes is no tensor.
    pub async fn embed(&self, request: EmbedRequest) -> Result<RawTensor, ClientError> {
        let call = async |mut client: Generated<Connection>, request| client.embed(request).await;
        let mut events: Events<EmbedResponse> = self.stream(request, call).await?;
        let broken = |error: FrameError| {
            let message = format!("the server sent no whole tensor: {error}");
            ClientError::from(Status::internal(message))
        };
        let mut assembler = Assembler::new(FrameLimits::default());
        while let Some(event) = events.next().await {
            let frame = event?.frame.unwrap_or_default();
            if let Some(tensor) = assembler.push(frame).map_err(broken)? {
                return Ok(tensor);
            }
        }
        assembler.finish().and(Err(FrameError::MissingHeader)).map_err(broken)
    }

    /// What is served. Errors as [`UniPicClient::generate`].
    pub async fn get_model(&self) -> Result<GetModelResponse, ClientError> {
        let deadline = Instant::now() + self.options.deadline;
        self.retrying(deadline, async || {
            let request = with_timeout(GetModelRequest {}, deadline);
            let mut client = self.generated.clone();
            Ok(client.get_model(request).await?.into_inner())
        })
        .await
    }

    /// Opens a stream and waits for its first event, which is where retrying ends.
    async fn stream<Q, T, F>(&self, request: Q, call: F) -> Result<Events<T>, ClientError>
    where
        Q: Clone,
        F: AsyncFn(Generated<Connection>, Request<Q>) -> Result<Response<Streaming<T>>, Status>,
    {
        let deadline = Instant::now() + self.options.deadline;
        let (first, stream) = self
            .retrying(deadline, async || {
                let request = with_timeout(request.clone(), deadline);
                let mut stream = call(self.generated.clone(), request).await?.into_inner();
                Ok((stream.message().await?, stream))
            })
            .await?;
        let late = Box::pin(tokio::time::sleep_until(deadline + GRACE));
        Ok(Events { first, stream: Some(stream), late })
    }

    async fn retrying<T>(
        &self,
        deadline: Instant,
        call: impl AsyncFn() -> Result<T, Status>,
    ) -> Result<T, ClientError> {
        let mut attempt = 1;
        loop {
            let answer = tokio::time::timeout_at(deadline + GRACE, call()).await;
            let status = match answer {
                Err(_) => return Err(ApiError::DeadlineExceeded.into()),
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
            };
            let error = ClientError::from(status);
            let asked = match error.api() {
                ApiError::Unavailable { retry_after, .. } => *retry_after,
                _ => None,
            };
            let pause = self.options.pause(attempt, asked);
            let is_worth_it = error.code() == Code::Unavailable && attempt < self.options.attempts;
            if !is_worth_it || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, attempt, ?pause, "trying again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }
}

fn with_timeout<Q>(message: Q, deadline: Instant) -> Request<Q> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    request
}

/// The events of a call, in order. Dropping it cancels the call.
#[derive(Debug)]
pub struct Events<T> {
    first: Option<T>,
    stream: Option<Streaming<T>>,
    late: Pin<Box<Sleep>>,
}

impl<T: Unpin> Stream for Events<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(stream) = self.stream.as_mut() else { return Poll::Ready(None) };
        let event = match stream.poll_next_unpin(context) {
            Poll::Ready(event) => event.map(|event| event.map_err(in_the_middle)),
            // The server ends a late stream itself; this is for one that cannot be heard any more.
            Poll::Pending => match self.late.as_mut().poll(context) {
                Poll::Ready(()) => Some(Err(ApiError::DeadlineExceeded.into())),
                Poll::Pending => return Poll::Pending,
            },
        };
        if !matches!(event, Some(Ok(_))) {
            self.stream = None;
        }
        Poll::Ready(event)
    }
}

/// A server that was killed may leave a stream without a word: whatever says UNKNOWN then means gone.
fn in_the_middle(status: Status) -> ClientError {
    match status.code() {
        Code::Unknown => ApiError::unavailable(Reason::BackendUnavailable).into(),
        _ => status.into(),
    }
}
