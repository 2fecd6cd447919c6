//! Single requests and how long each took.

use std::time::{Duration, Instant};

use futures::StreamExt;
use unipic_api::ApiError;
use unipic_api::pb::{
    GenerateRequest, ImageOptions, Part, Role, Turn, UnderstandRequest, generate_response, part, understand_response,
};
use unipic_client::{CallOptions, ClientError, UniPicClient};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// An image of so many pixels a side.
    Draw { side: u32, iterations: u32, head_steps: u32 },
    /// An answer of at most so many tokens about an image file.
    Answer { image: Vec<u8>, tokens: u32 },
}

impl Ask {
    /// An image as clients ask for it when they leave everything to the server.
    pub(crate) const DEFAULT: Self = Self::Draw { side: 128, iterations: 16, head_steps: 25 };
    /// A quarter of one, quickly.
    pub(crate) const SMALL: Self = Self::Draw { side: 64, iterations: 4, head_steps: 10 };
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With all that was asked for: the image's file, or the text.
    Done(Vec<u8>),
    /// Refused for lack of room; whether it was said when to come back.
    Refused { says_when: bool },
    /// With another status, or too early.
    Failed(String),
}

/// A request that ended.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) took: Duration,
    pub(crate) end: End,
}

/// Every request made once: what is refused is counted, not tried again.
pub(crate) fn once() -> CallOptions {
    CallOptions { deadline: Duration::from_secs(120), attempts: 1, ..CallOptions::default() }
}

/// Asks, and waits for the end.
pub(crate) async fn timed(client: &UniPicClient, ask: &Ask, seed: u64) -> Asked {
    let began = Instant::now();
    let end = match ask {
        Ask::Draw { side, iterations, head_steps } => draw(client, (*side, *iterations, *head_steps), seed).await,
        Ask::Answer { image, tokens } => answer(client, image, *tokens, seed).await,
    };
    let end = match end {
        Ok(Some(result)) => End::Done(result),
        Ok(None) => End::Failed("a stream that ended early".into()),
        Err(error) => refusal(&error),
    };
    Asked { took: began.elapsed(), end }
}

fn refusal(error: &ClientError) -> End {
    match error.api() {
        ApiError::Overloaded { retry_after, .. } | ApiError::QuotaExceeded { retry_after, .. } => {
            End::Refused { says_when: !retry_after.is_zero() }
        }
        _ => End::Failed(error.to_string()),
    }
}

async fn draw(
    client: &UniPicClient,
    (side, iterations, head_steps): (u32, u32, u32),
    seed: u64,
) -> Result<Option<Vec<u8>>, ClientError> {
    use generate_response::Event;
    let options = ImageOptions {
        seed: Some(seed),
        iterations: Some(iterations),
        head_steps: Some(head_steps),
        width: Some(side),
        height: Some(side),
        ..ImageOptions::default()
    };
    let prompt = "a red circle above a blue square".to_owned();
    let mut events =
        client.generate(GenerateRequest { prompt, options: Some(options), ..GenerateRequest::default() }).await?;
    let mut file = None;
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Image(image)) => file = Some(image.data.to_vec()),
            Some(Event::Done(_)) => return Ok(file),
            _ => {}
        }
    }
    Ok(None)
}

async fn answer(client: &UniPicClient, image: &[u8], tokens: u32, seed: u64) -> Result<Option<Vec<u8>>, ClientError> {
    use understand_response::Event;
    let question = "Describe the image in detail.".to_owned();
    let contents = [part::Content::Image(image.to_vec().into()), part::Content::Text(question)];
    let parts = contents.into_iter().map(|content| Part { content: Some(content) }).collect();
    let turns = vec![Turn { role: Role::User.into(), parts }];
    let request = UnderstandRequest { turns, seed: Some(seed), max_tokens: Some(tokens), ..Default::default() };
    let mut events = client.understand(request).await?;
    while let Some(event) = events.next().await {
        if let Some(Event::Done(done)) = event?.event {
            return Ok(Some(done.text.into_bytes()));
        }
    }
    Ok(None)
}
