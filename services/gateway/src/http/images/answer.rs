//! Images as OpenAI's clients read them: one answer, or events.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use axum::response::sse::Event;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{Stream, StreamExt};
use serde_json::{Map, Value, json};
use unipic_api::pb;

use super::options::Plan;
use crate::flows::ImageEvent;
use crate::http::error::HttpError;
use crate::http::{now, reply, stream};
use crate::model::Model;

/// What is told of a request's images.
#[derive(Debug)]
pub(super) struct Told {
    /// `image_generation` or `image_edit`: how the events' names begin.
    task: &'static str,
    plan: Plan,
    model: Arc<Model>,
    created: u64,
    /// Previews sent of each image.
    previews: Vec<u32>,
}

impl Told {
    pub(super) fn new(task: &'static str, plan: Plan, model: Arc<Model>) -> Self {
        Self { task, plan, model, created: now(), previews: Vec::new() }
    }

    pub(super) fn is_streamed(&self) -> bool {
        self.plan.is_streamed
    }

    /// Everything in one answer, at the end.
    pub(super) async fn whole(
        self,
        mut events: impl Stream<Item = Result<ImageEvent, HttpError>> + Unpin,
    ) -> Result<Response, HttpError> {
        let (mut data, mut answer) = (Vec::new(), Map::new());
        while let Some(event) = events.next().await {
            match event? {
                ImageEvent::Image(image, _) => {
                    if data.is_empty() {
                        answer = self.about(&image);
                    }
                    data.push(datum(&image));
                }
                ImageEvent::Done(done) => {
                    let mut made = self.made(&done.options.unwrap_or_default());
                    made["total_ms"] = done.timings.as_ref().map(|timings| timings.total_ms).into();
                    answer.insert("unipic".into(), made);
                }
                ImageEvent::Queued(_) | ImageEvent::Progress(_) | ImageEvent::Preview(_) | ImageEvent::Resumed(_) => {}
            }
        }
        answer.insert("created".into(), self.created.into());
        answer.insert("data".into(), data.into());
        Ok(reply(StatusCode::OK, &answer.into()))
    }

    /// What an answer and a finished event say of an image.
    fn about(&self, image: &pb::ImageResult) -> Map<String, Value> {
        let about = json!({
            "model": self.model.name,
            "background": "opaque",
            "output_format": format_name(&image.media_type),
            "size": format!("{}x{}", image.width, image.height),
            "seed": image.seed,
        });
        about.as_object().cloned().unwrap_or_default()
    }

    /// The events of a stream for one event of the flow.
    pub(super) fn events(&mut self, event: Result<ImageEvent, HttpError>) -> Vec<Event> {
        let told = match event {
            Ok(ImageEvent::Preview(preview)) => self.partial(&preview),
            Ok(ImageEvent::Image(image, options)) => Some(self.completed(&image, &options)),
            Ok(ImageEvent::Queued(queued)) => self.own("queued", || json!({ "position": queued.position })),
            Ok(ImageEvent::Progress(progress)) => self.own("progress", || how_far(&progress)),
            Ok(ImageEvent::Resumed(resumed)) => self.own("resumed", || json!({ "attempt": resumed.attempt })),
            Ok(ImageEvent::Done(_)) => None,
            Err(error) => Some(stream::failure(&error)),
        };
        told.into_iter().collect()
    }

    /// An event that OpenAI's API has not, where it was asked for.
    fn own(&self, what: &str, data: impl FnOnce() -> Value) -> Option<Event> {
        self.plan.is_progress_told.then(|| stream::own(&format!("{}.{what}", self.task), data()))
    }

    /// A preview, unless there were as many as were asked for.
    fn partial(&mut self, preview: &pb::Preview) -> Option<Event> {
        let image = preview.image as usize;
        if self.previews.len() <= image {
            self.previews.resize(image + 1, 0);
        }
        let sent = self.previews.get_mut(image).filter(|sent| **sent < self.plan.partial_images)?;
        let index = *sent;
        *sent += 1;
        let name = format!("{}.partial_image", self.task);
        let options = &self.plan.options;
        // Not known here where it follows from an image with margins.
        let size = options.width.zip(options.height).map(|(width, height)| format!("{width}x{height}"));
        let data = json!({
            "type": name,
            "b64_json": STANDARD.encode(&preview.data),
            "created_at": self.created,
            "size": size,
            "output_format": format_name(&preview.media_type),
            "background": "opaque",
            "partial_image_index": index,
            "image_index": preview.image,
            "iteration": preview.iteration,
        });
        Some(Event::default().event(name).data(data.to_string()))
    }

    /// A finished image.
    fn completed(&self, image: &pb::ImageResult, options: &pb::ImageOptions) -> Event {
        let name = format!("{}.completed", self.task);
        let mut data = self.about(image);
        data.extend([
            ("type".to_owned(), Value::from(name.as_str())),
            ("created_at".to_owned(), self.created.into()),
            ("image_index".to_owned(), image.image.into()),
            ("unipic".to_owned(), self.made(options)),
        ]);
        if let Value::Object(datum) = datum(image) {
            data.extend(datum);
        }
        Event::default().event(name).data(Value::Object(data).to_string())
    }

    /// How images were made: what makes them again.
    fn made(&self, options: &pb::ImageOptions) -> Value {
        json!({
            "iterations": options.iterations,
            "head_steps": options.head_steps,
            "guidance_scale": options.guidance_scale,
            "guidance_schedule": crate::http::models::schedule_name(options.guidance_schedule),
            "temperature": options.temperature,
            "weights_sha256": self.model.weights_sha256,
            "server_version": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// One image: its file, and for an edit what part of the source was used.
fn datum(image: &pb::ImageResult) -> Value {
    let mut datum = json!({ "b64_json": STANDARD.encode(&image.data) });
    if let Some(crop) = &image.crop {
        datum["crop"] = json!({
            "x": crop.x, "y": crop.y, "width": crop.width, "height": crop.height,
            "source_width": crop.source_width, "source_height": crop.source_height,
        });
    }
    datum
}

fn how_far(progress: &pb::Progress) -> Value {
    json!({
        "iteration": progress.iteration,
        "iterations": progress.iterations,
        "elapsed_ms": progress.elapsed_ms,
        "remaining_ms": progress.remaining_ms,
    })
}

/// `png` for `image/png`.
fn format_name(media_type: &str) -> &str {
    media_type.strip_prefix("image/").unwrap_or(media_type)
}
