//! `describe`: an image and a question in, text out as it comes.

use std::io::Write;

use anyhow::Context;
use futures::StreamExt;
use serde_json::json;
use unipic_api::pb::{self, understand_response};

use crate::args::{Describe, Encoder};
use crate::connect::Connection;
use crate::input;
use crate::progress::Progress;

/// Describes an image, or answers a question about it.
///
/// # Errors
/// When the image cannot be read, or the request is refused or fails.
pub(crate) async fn describe(args: &Describe, progress: &Progress) -> anyhow::Result<()> {
    let image = input::read(&args.image)?;
    let connection = Connection::open(&args.target, progress).await?;
    let mut events = connection.understand(request(args, image)).await?;
    progress.stage("looking at the image");
    let mut done = None;
    while let Some(event) = events.next().await {
        match event?.event.context("the server sent an event that this version does not know")? {
            understand_response::Event::Queued(queued) => progress.queued(&queued),
            understand_response::Event::TextDelta(text) => show(&text, progress)?,
            understand_response::Event::Resumed(resumed) => progress.resumed(&resumed),
            understand_response::Event::Done(end) => done = Some(end),
        }
    }
    let done = done.context("the server ended the stream before the answer was complete")?;
    if progress.is_json() {
        tell_done(&done, progress);
    } else {
        println!();
    }
    drop(events);
    connection.close().await
}

fn request(args: &Describe, image: Vec<u8>) -> pb::UnderstandRequest {
    let contents = [pb::part::Content::Image(image.into()), pb::part::Content::Text(args.question.clone())];
    let parts = contents.into_iter().map(|c| pb::Part { content: Some(c) }).collect();
    let encoder_path = match args.encoder {
        None => pb::EncoderPath::Unspecified,
        Some(Encoder::Siglip2) => pb::EncoderPath::Siglip2,
        Some(Encoder::Mar) => pb::EncoderPath::Mar,
    };
    pb::UnderstandRequest {
        turns: vec![pb::Turn { role: pb::Role::User.into(), parts }],
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        stop: Vec::new(),
        seed: args.seed,
        encoder_path: encoder_path.into(),
        candidates: Vec::new(),
    }
}

fn show(text: &str, progress: &Progress) -> anyhow::Result<()> {
    progress.event("text_delta", json!({ "text": text }));
    if !progress.is_json() {
        progress.finish();
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write the answer")?;
    }
    Ok(())
}

fn tell_done(done: &pb::UnderstandDone, progress: &Progress) {
    progress.event(
        "done",
        json!({
            "text": done.text,
            "finish_reason": done.finish_reason().as_str_name(),
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "encode_ms": done.encode_ms,
            "first_token_ms": done.first_token_ms,
            "total_ms": done.total_ms,
            "seed": done.seed,
        }),
    );
}
