//! `generate` and `edit`: both are a stream of the same events.

use std::path::Path;

use anyhow::Context;
use futures::{Stream, StreamExt, TryStreamExt};
use serde_json::json;
use unipic_api::pb::{self, edit_response, generate_response};
use unipic_client::ClientError;

use crate::args::{Edit, Generate, Sampling, Schedule};
use crate::connect::Connection;
use crate::input;
use crate::output;
use crate::progress::Progress;

/// Draws images from a prompt.
///
/// # Errors
/// When the request is refused or fails, or a file cannot be written.
pub(crate) async fn generate(args: &Generate, progress: &Progress) -> anyhow::Result<()> {
    output::check_folder(&args.sampling.output)?;
    let options = options(&args.sampling)?;
    let connection = Connection::open(&args.target, progress).await?;
    let request = pb::GenerateRequest {
        prompt: args.prompt.clone(),
        negative_prompt: args.sampling.negative.clone(),
        options: Some(options),
    };
    let events = connection.generate(request).await?;
    save(events.map_ok(|e| e.event), &args.sampling, progress).await?;
    connection.close().await
}

/// Changes an image as an instruction says.
///
/// # Errors
/// When the request is refused or fails, or a file cannot be read or written.
pub(crate) async fn edit(args: &Edit, progress: &Progress) -> anyhow::Result<()> {
    output::check_folder(&args.sampling.output)?;
    let options = options(&args.sampling)?;
    let image = input::read(&args.image)?;
    let mut request = pb::EditRequest {
        image: image.into(),
        instruction: args.instruction.clone(),
        negative_prompt: args.sampling.negative.clone(),
        options: Some(options),
        ..Default::default()
    };
    args.change.put(&mut request, &args.image)?;
    let connection = Connection::open(&args.target, progress).await?;
    let events = connection.edit(request).await?;
    save(events.map_ok(|e| e.event.map(as_generation)), &args.sampling, progress).await?;
    connection.close().await
}

/// An edit's events are a generation's under another name.
fn as_generation(event: edit_response::Event) -> generate_response::Event {
    match event {
        edit_response::Event::Queued(e) => generate_response::Event::Queued(e),
        edit_response::Event::Progress(e) => generate_response::Event::Progress(e),
        edit_response::Event::Preview(e) => generate_response::Event::Preview(e),
        edit_response::Event::Image(e) => generate_response::Event::Image(e),
        edit_response::Event::Resumed(e) => generate_response::Event::Resumed(e),
        edit_response::Event::Done(e) => generate_response::Event::Done(e),
    }
}

fn options(sampling: &Sampling) -> anyhow::Result<pb::ImageOptions> {
    let schedule = match sampling.guidance_schedule {
        None => pb::GuidanceSchedule::Unspecified,
        Some(Schedule::Constant) => pb::GuidanceSchedule::Constant,
        Some(Schedule::Linear) => pb::GuidanceSchedule::Linear,
    };
    Ok(pb::ImageOptions {
        seed: sampling.seed,
        n: sampling.n,
        iterations: sampling.iterations,
        head_steps: sampling.head_steps,
        guidance_scale: sampling.guidance,
        guidance_schedule: schedule.into(),
        temperature: sampling.temperature,
        width: sampling.size.map(|s| s.0),
        height: sampling.size.map(|s| s.1),
        output_format: output::format_of(&sampling.output)?.into(),
        preview_every: sampling.preview_every,
    })
}

/// Writes images as they come; a failure later on leaves those that came.
async fn save<S>(events: S, sampling: &Sampling, progress: &Progress) -> anyhow::Result<()>
where
    S: Stream<Item = Result<Option<generate_response::Event>, ClientError>>,
{
    let n = sampling.n.unwrap_or(1);
    let mut events = std::pin::pin!(events);
    let mut finished = false;
    while let Some(event) = events.next().await {
        match event?.context("the server sent an event that this version does not know")? {
            generate_response::Event::Queued(queued) => progress.queued(&queued),
            generate_response::Event::Progress(step) => progress.step(&step),
            generate_response::Event::Preview(preview) => {
                let path = output::numbered(&sampling.output, preview.image, n);
                output::write(&path, &preview.data)?;
                let fields = json!({ "image": preview.image, "iteration": preview.iteration, "path": path });
                progress.event("preview", fields);
            }
            generate_response::Event::Resumed(resumed) => progress.resumed(&resumed),
            generate_response::Event::Image(image) => save_image(&image, &sampling.output, n, progress)?,
            generate_response::Event::Done(done) => {
                finished = true;
                tell_done(&done, progress);
            }
        }
    }
    anyhow::ensure!(finished, "the server ended the stream before the result was complete");
    Ok(())
}

fn save_image(image: &pb::ImageResult, path: &Path, n: u32, progress: &Progress) -> anyhow::Result<()> {
    let path = output::numbered(path, image.image, n);
    output::write(&path, &image.data)?;
    let mut text = format!("{} ({}×{}, seed {})", path.display(), image.width, image.height, image.seed);
    let mut fields = json!({
        "image": image.image,
        "path": path,
        "width": image.width,
        "height": image.height,
        "seed": image.seed,
    });
    if let Some(crop) = image.crop {
        let part = [crop.x, crop.y, crop.width, crop.height];
        let whole = [crop.source_width, crop.source_height];
        fields["crop"] = json!({ "x_y_width_height": part, "source": whole });
        if part[2..] != whole {
            text += &format!(", from {}×{} at {},{} of {}×{}", part[2], part[3], part[0], part[1], whole[0], whole[1]);
        }
    }
    progress.event("image", fields);
    progress.line(&text);
    Ok(())
}

fn tell_done(done: &pb::ImageDone, progress: &Progress) {
    let t = done.timings.unwrap_or_default();
    let timings = json!({
        "queue_ms": t.queue_ms,
        "source_ms": t.source_ms,
        "prefill_ms": t.prefill_ms,
        "mar_ms": t.mar_ms,
        "probe_ms": t.probe_ms,
        "head_ms": t.head_ms,
        "vae_ms": t.vae_ms,
        "total_ms": t.total_ms,
        "bytes_to_decoder": t.bytes_to_decoder,
        "bytes_from_decoder": t.bytes_from_decoder,
    });
    progress.event("done", json!({ "timings": timings, "weights_sha256": done.weights_sha256 }));
}
