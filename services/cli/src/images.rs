//! Requests for images and their events: a generation and an edit differ in what is asked, not in what comes back.

use std::pin::Pin;

use anyhow::Context;
use futures::{Stream, StreamExt, TryStreamExt};
use unipic_api::pb::{self, edit_response};
use unipic_client::{ClientError, UniPicClient};

use crate::args::{Sampling, Schedule};

/// An event of either.
pub(crate) use unipic_api::pb::generate_response::Event as ImageEvent;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) enum ImageRequest {
    /// Images from a prompt.
    Draw(pb::GenerateRequest),
    /// Images from an image and an instruction.
    Edit(pb::EditRequest),
}

/// What comes back, in order. Dropping it stops the work.
pub(crate) type ImageEvents = Pin<Box<dyn Stream<Item = anyhow::Result<ImageEvent>> + Send>>;

impl ImageRequest {
    /// Begins the work.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn begin(self, client: &UniPicClient) -> Result<ImageEvents, ClientError> {
        Ok(match self {
            Self::Draw(request) => client.generate(request).await?.map_ok(|e| e.event).map(known).boxed(),
            Self::Edit(request) => {
                client.edit(request).await?.map_ok(|e| e.event.map(as_generation)).map(known).boxed()
            }
        })
    }

    /// Does all of the work and returns the images in the order of their numbers; `on_event` sees what happens on the way.
    ///
    /// # Errors
    /// The server's, and when it ends early.
    pub(crate) async fn make(
        self,
        client: &UniPicClient,
        on_event: impl Fn(&ImageEvent),
    ) -> anyhow::Result<Vec<pb::ImageResult>> {
        let mut events = self.begin(client).await?;
        let mut images = Vec::new();
        while let Some(event) = events.next().await {
            let event = event?;
            on_event(&event);
            match event {
                ImageEvent::Image(image) => images.push(image),
                ImageEvent::Done(_) => {
                    images.sort_by_key(|image| image.image);
                    return Ok(images);
                }
                _ => {}
            }
        }
        Err(ended_early())
    }
}

/// A stream that ended without its last event.
pub(crate) fn ended_early() -> anyhow::Error {
    anyhow::anyhow!("the server ended the stream before the result was complete")
}

fn known(event: Result<Option<ImageEvent>, ClientError>) -> anyhow::Result<ImageEvent> {
    event?.context("the server sent an event that this version does not know")
}

/// An edit's events are a generation's under another name.
fn as_generation(event: edit_response::Event) -> ImageEvent {
    match event {
        edit_response::Event::Queued(e) => ImageEvent::Queued(e),
        edit_response::Event::Progress(e) => ImageEvent::Progress(e),
        edit_response::Event::Preview(e) => ImageEvent::Preview(e),
        edit_response::Event::Image(e) => ImageEvent::Image(e),
        edit_response::Event::Resumed(e) => ImageEvent::Resumed(e),
        edit_response::Event::Done(e) => ImageEvent::Done(e),
    }
}

/// The options that the flags ask for: one image, in PNG, without previews.
pub(crate) fn options(sampling: &Sampling) -> pb::ImageOptions {
    let schedule = match sampling.guidance_schedule {
        None => pb::GuidanceSchedule::Unspecified,
        Some(Schedule::Constant) => pb::GuidanceSchedule::Constant,
        Some(Schedule::Linear) => pb::GuidanceSchedule::Linear,
    };
    pb::ImageOptions {
        seed: sampling.seed,
        n: None,
        iterations: sampling.iterations,
        head_steps: sampling.head_steps,
        guidance_scale: sampling.guidance,
        guidance_schedule: schedule.into(),
        temperature: sampling.temperature,
        width: sampling.size.map(|s| s.0),
        height: sampling.size.map(|s| s.1),
        output_format: pb::ImageFormat::Png.into(),
        preview_every: None,
    }
}
