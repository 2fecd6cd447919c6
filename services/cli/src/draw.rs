//! `generate` and `edit`: both are a stream of the same events.

use futures::StreamExt;
use serde_json::json;
use unipic_api::pb;

use crate::args::{Edit, Generate, Output, Target};
use crate::connect::Connection;
use crate::images::{self, ImageEvent, ImageEvents, ImageRequest};
use crate::output::{Destination, Written};
use crate::preview::Previewer;
use crate::progress::Progress;
use crate::{flags, input, sheet};

/// Draws images from a prompt.
///
/// # Errors
/// When the request is refused or fails, or a file cannot be written.
pub(crate) async fn generate(args: &Generate, progress: &Progress) -> anyhow::Result<()> {
    let destination = Destination::of(&args.output, progress.is_json())?;
    let request = pb::GenerateRequest {
        prompt: input::text(&args.prompt)?,
        negative_prompt: args.sampling.negative.clone(),
        options: Some(options(images::options(&args.sampling), &args.output, &destination)),
    };
    let made = make(ImageRequest::Draw(request), (&args.output, destination), &args.target, progress).await;
    made.map_err(|error| flags::named(error, &[]))
}

/// Changes an image as an instruction says.
///
/// # Errors
/// When the request is refused or fails, or a file cannot be read or written.
pub(crate) async fn edit(args: &Edit, progress: &Progress) -> anyhow::Result<()> {
    let destination = Destination::of(&args.output, progress.is_json())?;
    let mut request = pb::EditRequest {
        image: input::image(&args.image)?.into(),
        instruction: args.instruction.clone(),
        negative_prompt: args.sampling.negative.clone(),
        options: Some(options(images::options(&args.sampling), &args.output, &destination)),
        ..Default::default()
    };
    args.change.put(&mut request, &args.image)?;
    let made = make(ImageRequest::Edit(request), (&args.output, destination), &args.target, progress).await;
    made.map_err(|error| flags::named(error, &[&args.image]))
}

fn options(sampled: pb::ImageOptions, output: &Output, destination: &Destination) -> pb::ImageOptions {
    let output_format = destination.format().into();
    pb::ImageOptions { n: output.n, output_format, preview_every: output.preview_every, ..sampled }
}

async fn make(
    request: ImageRequest,
    (output, destination): (&Output, Destination),
    target: &Target,
    progress: &Progress,
) -> anyhow::Result<()> {
    let connection = Connection::open(target, progress).await?;
    let client = connection.client();
    let events = request.begin(&client).await?;
    let files = save(events, &destination, progress).await?;
    drop(client);
    let sheet = match files.as_slice() {
        [_] => None,
        files if output.grid => Some(destination.write_sheet(&sheet::of_files(files)?)?),
        _ => None,
    };
    if let Some(written) = sheet {
        progress.event("grid", json!({ "path": written, "images": files.len() }));
        progress.line(&format!("{written} ({} images)", files.len()));
    }
    Previewer::new(output.preview).files(&files, progress);
    connection.close().await
}

/// Writes images as they come; a failure later on leaves those that came. Returns their files.
async fn save(
    mut events: ImageEvents,
    destination: &Destination,
    progress: &Progress,
) -> anyhow::Result<Vec<bytes::Bytes>> {
    let mut files = Vec::new();
    while let Some(event) = events.next().await {
        match event? {
            ImageEvent::Queued(queued) => progress.queued(&queued),
            ImageEvent::Progress(step) => progress.step(&step),
            ImageEvent::Preview(preview) => {
                if let Some(path) = destination.write_preview(preview.image, &preview.data)? {
                    let fields = json!({ "image": preview.image, "iteration": preview.iteration, "path": path });
                    progress.event("preview", fields);
                }
            }
            ImageEvent::Resumed(resumed) => progress.resumed(&resumed),
            ImageEvent::Image(image) => {
                tell_image(&image, &destination.write(image.image, &image.data)?, progress);
                files.push((image.image, image.data));
            }
            ImageEvent::Done(done) => {
                tell_done(&done, progress);
                files.sort_by_key(|(number, _)| *number);
                return Ok(files.into_iter().map(|(_, file)| file).collect());
            }
        }
    }
    Err(images::ended_early())
}

/// Says what was made, and where it is.
pub(crate) fn tell_image(image: &pb::ImageResult, written: &Written, progress: &Progress) {
    let mut text = format!("{written} ({}×{}, seed {})", image.width, image.height, image.seed);
    let mut fields = json!({
        "image": image.image,
        "path": written,
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
}

/// Says where the time went.
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
    progress.event(
        "done",
        json!({ "timings": timings, "weights_sha256": done.weights_sha256, "server_version": done.server_version }),
    );
}
