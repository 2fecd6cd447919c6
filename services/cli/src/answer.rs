//! An answer in text, shown as it comes.

use std::io::Write;

use anyhow::Context;
use futures::StreamExt;
use serde_json::json;
use unipic_api::pb::{self, understand_response::Event};
use unipic_client::UniPicClient;

use crate::progress::{Progress, is_loss};

/// Asks, and shows the answer: text on standard output for people, events for programs.
///
/// # Errors
/// When the request is refused or fails, or standard output takes no more.
pub(crate) async fn show(
    request: pb::UnderstandRequest,
    client: &UniPicClient,
    progress: &Progress,
) -> anyhow::Result<pb::UnderstandDone> {
    let mut events = client.understand(request).await?;
    progress.stage("looking at the image");
    while let Some(event) = events.next().await {
        match event?.event.context("the server sent an event that this version does not know")? {
            Event::Queued(queued) => progress.queued(&queued),
            Event::TextDelta(text) => show_delta(&text, progress)?,
            Event::Resumed(resumed) => progress.resumed(&resumed),
            Event::Done(done) => {
                progress.finish();
                tell_done(&done, progress)?;
                return Ok(done);
            }
        }
    }
    anyhow::bail!("the server ended the stream before the answer was complete")
}

fn show_delta(text: &str, progress: &Progress) -> anyhow::Result<()> {
    progress.event("text_delta", json!({ "text": text }));
    if progress.is_json() {
        return Ok(());
    }
    progress.finish();
    print(text)
}

fn tell_done(done: &pb::UnderstandDone, progress: &Progress) -> anyhow::Result<()> {
    if !progress.is_json() {
        return print("\n");
    }
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
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if is_loss(&error) => Err(error).context("write the answer"),
        _ => Ok(()),
    }
}
