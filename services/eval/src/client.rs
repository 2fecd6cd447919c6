//! The artist that is a server.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use unipic_api::pb::{self, edit_response, generate_response, understand_response};
use unipic_api::{ApiError, pb::part::Content};
use unipic_client::{ClientError, UniPicClient};

use crate::{Answer, Artist, ArtistError, Drawing, Editing, Picture, Question, Settings};

/// How often a request is made in all before its failure counts.
const ATTEMPTS: u32 = 6;

/// The pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// An [`Artist`] behind the public API.
///
/// The client itself tries again only while nothing has begun. An evaluation may go further, because a request has no
/// effect but its result: a full queue and a server that went away in the middle are tried again too.
#[derive(Debug, Clone)]
pub struct ClientArtist {
    client: UniPicClient,
}

impl ClientArtist {
    /// Wraps a client.
    #[must_use]
    pub fn new(client: UniPicClient) -> Self {
        Self { client }
    }
}

/// Why an attempt came to nothing.
enum Lost {
    /// The call failed.
    Call(ClientError),
    /// The server said something else than the API promises.
    Nonsense(&'static str),
}

impl From<ClientError> for Lost {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

impl Lost {
    /// The pause after which another attempt may work.
    fn pause(&self, made: u32) -> Option<Duration> {
        let Self::Call(error) = self else { return None };
        let asked = match error.api() {
            ApiError::Overloaded { retry_after, .. } => Some(*retry_after),
            ApiError::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(made.saturating_sub(1));
        error.api().is_transient().then(|| asked.map_or(pause, |asked| asked.max(pause)))
    }

    fn into_error(self) -> ArtistError {
        match self {
            Self::Call(error) => ArtistError(error.to_string()),
            Self::Nonsense(what) => ArtistError(what.to_owned()),
        }
    }
}

/// Makes a call until it works, another attempt is pointless, or there were enough.
async fn persist<T, F: Future<Output = Result<T, Lost>>>(call: impl Fn() -> F) -> Result<T, ArtistError> {
    let mut made = 0;
    loop {
        let lost = match call().await {
            Ok(value) => return Ok(value),
            Err(lost) => lost,
        };
        made += 1;
        match lost.pause(made) {
            Some(pause) if made < ATTEMPTS => tokio::time::sleep(pause).await,
            _ => return Err(lost.into_error()),
        }
    }
}

impl Artist for ClientArtist {
    async fn model(&self) -> Result<pb::GetModelResponse, ArtistError> {
        persist(|| async { Ok(self.client.get_model().await?) }).await
    }

    async fn draw(&self, request: Drawing) -> Result<Picture, ArtistError> {
        let request = pb::GenerateRequest {
            prompt: request.prompt,
            negative_prompt: request.settings.negative.clone(),
            options: Some(options(&request.settings, request.seed)),
        };
        persist(|| async {
            let events = self.client.generate(request.clone()).await?;
            finished(events.map_ok(|e| e.event)).await
        })
        .await
    }

    async fn edit(&self, request: Editing) -> Result<Picture, ArtistError> {
        let request = pb::EditRequest {
            options: Some(options(&request.settings, request.seed)),
            negative_prompt: request.settings.negative,
            image: request.source.into(),
            instruction: request.instruction,
            ..Default::default()
        };
        persist(|| async {
            let events = self.client.edit(request.clone()).await?;
            finished(events.map_ok(|e| e.event.and_then(as_generation))).await
        })
        .await
    }

    async fn ask(&self, request: Question) -> Result<Answer, ArtistError> {
        let done = persist(|| self.understood(understanding(&request, &[]))).await?;
        Ok(Answer { text: done.text, seconds: done.total_ms / 1e3 })
    }

    async fn weigh(&self, request: Question, candidates: &[&str]) -> Result<Vec<f64>, ArtistError> {
        let done = persist(|| self.understood(understanding(&request, candidates))).await?;
        if done.candidate_logprobs.len() != candidates.len() {
            return Err(ArtistError("the server gives no probabilities; it is older than this program".to_owned()));
        }
        Ok(done.candidate_logprobs.into_iter().map(f64::exp).collect())
    }
}

impl ClientArtist {
    /// The last event of an answer.
    async fn understood(&self, request: pb::UnderstandRequest) -> Result<pb::UnderstandDone, Lost> {
        let mut events = self.client.understand(request).await?;
        while let Some(event) = events.next().await {
            if let Some(understand_response::Event::Done(done)) = event?.event {
                return Ok(done);
            }
        }
        Err(Lost::Nonsense("the server ended the answer without its last event"))
    }
}

fn understanding(question: &Question, candidates: &[&str]) -> pb::UnderstandRequest {
    let images = question.images.iter().map(|image| Content::Image(image.clone().into()));
    let contents = images.chain([Content::Text(question.text.clone())]);
    let parts = contents.map(|content| pb::Part { content: Some(content) }).collect();
    pb::UnderstandRequest {
        turns: vec![pb::Turn { role: pb::Role::User.into(), parts }],
        max_tokens: Some(question.max_tokens),
        temperature: Some(if question.seed.is_some() { 1.0 } else { 0.0 }),
        seed: question.seed,
        candidates: candidates.iter().map(|text| (*text).to_owned()).collect(),
        ..pb::UnderstandRequest::default()
    }
}

/// An edit's events as a generation's; only those that a result is made of.
fn as_generation(event: edit_response::Event) -> Option<generate_response::Event> {
    match event {
        edit_response::Event::Image(image) => Some(generate_response::Event::Image(image)),
        edit_response::Event::Done(done) => Some(generate_response::Event::Done(done)),
        edit_response::Event::Queued(_)
        | edit_response::Event::Progress(_)
        | edit_response::Event::Preview(_)
        | edit_response::Event::Resumed(_) => None,
    }
}

/// The one image of a call, once the call has ended well.
async fn finished<S>(events: S) -> Result<Picture, Lost>
where
    S: Stream<Item = Result<Option<generate_response::Event>, ClientError>>,
{
    let mut events = std::pin::pin!(events);
    let mut png = None;
    while let Some(event) = events.next().await {
        match event? {
            Some(generate_response::Event::Image(image)) => png = Some(image.data.to_vec()),
            Some(generate_response::Event::Done(done)) => {
                let png = png.ok_or(Lost::Nonsense("the server ended the request without an image"))?;
                let seconds = done.timings.map(|t| (t.total_ms - t.queue_ms).max(0.0) / 1e3);
                return Ok(Picture { png, seconds });
            }
            _ => {}
        }
    }
    Err(Lost::Nonsense("the server ended the request without its last event"))
}

fn options(settings: &Settings, seed: u64) -> pb::ImageOptions {
    pb::ImageOptions {
        seed: Some(seed),
        n: Some(1),
        iterations: Some(settings.iterations),
        head_steps: Some(settings.head_steps),
        guidance_scale: Some(settings.guidance),
        guidance_schedule: settings.schedule.to_api().into(),
        temperature: Some(settings.temperature),
        width: Some(settings.width),
        height: Some(settings.height),
        output_format: pb::ImageFormat::Png.into(),
        preview_every: None,
    }
}
