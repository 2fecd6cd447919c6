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

use crate::api_key::ApiKey;
use crate::connection::{Connection, NoEndpoints, connect};
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::retries::{RetryBudget, RetryPolicy};

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
    api_key: Option<ApiKey>,
    budget: RetryBudget,
}

impl UniPicClient {
    /// A client of the replicas at `endpoints`, connected to at the first call. Call it inside a tokio runtime.
    ///
    /// Errors: no endpoints.
    pub fn new(endpoints: &[Endpoint]) -> Result<Self, NoEndpoints> {
        connect(endpoints).map(Self::over)
    }

    /// A client over a connection, such as one of [`connect_with`](crate::connect_with).
    pub fn over(connection: Connection) -> Self {
        let generated = Generated::new(connection).max_decoding_message_size(PUBLIC_RESPONSE_BYTES);
        let budget = RetryBudget::new(&RetryPolicy::default());
        Self { generated, options: CallOptions::default(), api_key: None, budget }
    }

    /// The same client, which sends this key with every call. Over `http://` to another host it can be read on the way.
    #[must_use]
    pub fn with_api_key(self, api_key: ApiKey) -> Self {
        Self { api_key: Some(api_key), ..self }
    }

    /// The same client with other patience.
    #[must_use]
    pub fn with_options(self, options: CallOptions) -> Self {
        Self { options, ..self }
    }

    /// Draws images. Errors: the server's, UNAVAILABLE when it cannot be reached, DEADLINE_EXCEEDED.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Events<GenerateResponse>, ClientError> {
        self.stream(request, |mut client: Generated<Connection>, request| async move { client.generate(request).await })
            .await
    }

    /// Edits an image. Errors as [`UniPicClient::generate`].
    pub async fn edit(&self, request: EditRequest) -> Result<Events<EditResponse>, ClientError> {
        self.stream(request, |mut client: Generated<Connection>, request| async move { client.edit(request).await })
            .await
    }

    /// Answers a question about images. Errors as [`UniPicClient::generate`].
    pub async fn understand(&self, request: UnderstandRequest) -> Result<Events<UnderstandResponse>, ClientError> {
        self.stream(
            request,
            |mut client: Generated<Connection>, request| async move { client.understand(request).await },
        )
        .await
    }

    /// The embeddings of an image, f32 `[n_tokens, llm_width]`. Errors as [`UniPicClient::generate`], and INTERNAL when
    /// what comes is no tensor.
    pub async fn embed(&self, request: EmbedRequest) -> Result<RawTensor, ClientError> {
        let call = |mut client: Generated<Connection>, request| async move { client.embed(request).await };
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
        let mut attempts = Attempts::new(self);
        loop {
            let request = attempts.request(GetModelRequest {});
            let mut client = self.generated.clone();
            if let Some(answer) = attempts.settle(client.get_model(request)).await? {
                return Ok(answer.into_inner());
            }
        }
    }

    /// Opens a stream and waits for its first event, which is where retrying ends.
    async fn stream<Q, T, F, A>(&self, message: Q, call: F) -> Result<Events<T>, ClientError>
    where
        Q: Clone,
        F: Fn(Generated<Connection>, Request<Q>) -> A,
        A: Future<Output = Result<Response<Streaming<T>>, Status>>,
    {
        let mut attempts = Attempts::new(self);
        loop {
            let request = attempts.request(message.clone());
            let answer = call(self.generated.clone(), request);
            let begun = async {
                let mut stream = answer.await?.into_inner();
                Ok((stream.message().await?, stream))
            };
            if let Some((first, stream)) = attempts.settle(begun).await? {
                let late = Box::pin(tokio::time::sleep_until(attempts.deadline + GRACE));
                return Ok(Events { first, stream: Some(stream), late });
            }
        }
    }
}

/// The attempts of one call.
struct Attempts {
    options: CallOptions,
    api_key: Option<ApiKey>,
    budget: RetryBudget,
    deadline: Instant,
    made: u32,
}

impl Attempts {
    fn new(client: &UniPicClient) -> Self {
        let (options, api_key, budget) = (client.options, client.api_key.clone(), client.budget.clone());
        budget.add();
        Self { options, api_key, budget, deadline: Instant::now() + options.deadline, made: 0 }
    }

    /// The next attempt's request, with the time that is left.
    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        if let Some(api_key) = &self.api_key {
            api_key.attach(request.metadata_mut());
        }
        request
    }

    /// Waits for an attempt. `None` asks for another, after the pause it needs.
    async fn settle<T>(&mut self, call: impl Future<Output = Result<T, Status>>) -> Result<Option<T>, ClientError> {
        self.made += 1;
        let error = match tokio::time::timeout_at(self.deadline + GRACE, call).await {
            Err(_) => return Err(ApiError::DeadlineExceeded.into()),
            Ok(Ok(answer)) => return Ok(Some(answer)),
            Ok(Err(status)) => ClientError::from(status),
        };
        let asked = match error.api() {
            ApiError::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = self.options.pause(self.made, asked);
        let is_worth_it = error.code() == Code::Unavailable && self.made < self.options.attempts;
        if !is_worth_it || Instant::now() + pause >= self.deadline || !self.budget.try_take() {
            return Err(error);
        }
        tracing::debug!(%error, attempt = self.made, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(None)
    }
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
