//! `replay`: an image made again from the record in its file, and compared with it.

mod difference;

use std::path::Path;

use anyhow::Context;
use serde_json::json;
use unipic_api::pb;
use unipic_api::record::{self, Record, Task};

use crate::args::Replay;
use crate::connect::Connection;
use crate::digest;
use crate::failure::wrong;
use crate::images::{ImageEvent, ImageRequest};
use crate::progress::Progress;
use crate::{input, output};
use difference::Difference;

/// Makes the image again and says whether its bytes are the same.
///
/// # Errors
/// When the file has no good record, the model is another one, the request fails, or the bytes are not the same.
pub(crate) async fn replay(args: &Replay, progress: &Progress) -> anyhow::Result<()> {
    if let Some(path) = &args.output {
        output::check_folder(path)?;
        output::check_png(path)?;
    }
    let name = args.file.display().to_string();
    let file = input::image(&args.file)?;
    let record = read_record(&file).with_context(|| name.clone())?;
    let source = source(&record, args)?;
    let mask = mask(&record, args)?;
    let connection = Connection::open(&args.target, progress).await?;
    let client = connection.client();
    let served = client.get_model().await?;
    check_model(&record, &served, args.anyway)?;
    let request = request(&record, (source, mask), served.limits.unwrap_or_default().max_n)?;
    let images = request.make(&client, |event| tell(event, progress)).await?;
    drop(client);
    let again = images.into_iter().find(|image| image.image == record.image);
    let again = again.context("the server left the image out")?;
    if let Some(path) = &args.output {
        output::write(path, &again.data)?;
    }
    let difference = Difference::between(&file, &again.data);
    connection.close().await?;
    tell_outcome(&name, &record, &difference, args.output.as_deref(), progress)
}

/// The record of a PNG file.
fn read_record(file: &[u8]) -> anyhow::Result<Record> {
    let text = unipic_imaging::read_png_text(file)
        .map_err(|error| wrong(format!("{error}; only PNG files carry a record of how they were made")))?;
    let (ours, others): (Vec<_>, Vec<_>) = text.into_iter().partition(|(key, _)| key == record::KEY);
    match ours.as_slice() {
        [(_, text)] => Record::parse(text).map_err(|error| wrong(error.to_string())),
        [] if others.is_empty() => Err(wrong("this PNG carries no record of how it was made")),
        [] => {
            let keys: Vec<String> = others.iter().map(|(key, _)| format!("{key:?}")).collect();
            let keys = keys.join(", ");
            Err(wrong(format!("this PNG carries no record of how it was made, only text under {keys}")))
        }
        several => Err(wrong(format!("this PNG carries {} records; one of them is not its own", several.len()))),
    }
}

/// The source of an edit, held against its hash.
fn source(record: &Record, args: &Replay) -> anyhow::Result<Option<Vec<u8>>> {
    let (wanted, path) = match (record.task, &record.source, &args.image) {
        (Task::Generate, None, None) => return Ok(None),
        (Task::Generate, _, Some(_)) => return Err(wrong("this image was drawn from words alone; leave out --image")),
        (Task::Generate, Some(_), None) => return Err(wrong("the record is of a drawing and names a source image")),
        (Task::Edit, None, _) => return Err(wrong("the record is of an edit and names no source image")),
        (Task::Edit, Some(source), None) => {
            let sha256 = source.sha256.escape_debug();
            return Err(wrong(format!(
                "this image is an edit: give the image it changed (SHA-256 {sha256}) as --image"
            )));
        }
        (Task::Edit, Some(source), Some(path)) => (&source.sha256, path),
    };
    held(path, wanted, "the image that was changed", args.anyway).map(Some)
}

/// The mask of an edit, held against its hash.
fn mask(record: &Record, args: &Replay) -> anyhow::Result<Option<Vec<u8>>> {
    let recorded = record.source.as_ref().and_then(|source| source.redraw.as_ref()?.mask.as_ref());
    let (wanted, path) = match (recorded, &args.mask) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(wrong("this image was made without a mask; leave out --mask")),
        (Some(mask), None) => {
            let sha256 = mask.sha256.escape_debug();
            return Err(wrong(format!("a part of this image was redrawn: give its mask (SHA-256 {sha256}) as --mask")));
        }
        (Some(mask), Some(path)) => (&mask.sha256, path),
    };
    held(path, wanted, "the mask that was used", args.anyway).map(Some)
}

/// A file that the record names by its hash, held against it.
fn held(path: &Path, wanted: &str, what: &str, anyway: bool) -> anyhow::Result<Vec<u8>> {
    let file = input::image(path)?;
    let sha256 = digest::sha256(&file);
    if sha256 != wanted && !anyway {
        let (path, wanted) = (path.display(), wanted.escape_debug());
        return Err(wrong(format!("`{path}` is not {what}: its SHA-256 is {sha256}, not {wanted}; --anyway takes it")));
    }
    Ok(file)
}

/// Refuses another model than the record's: what it makes would be another image.
fn check_model(record: &Record, served: &pb::GetModelResponse, anyway: bool) -> anyhow::Result<()> {
    let mut differences = Vec::new();
    for (what, made_with, here) in [
        ("weights", &record.weights_sha256, &served.weights_sha256),
        ("version", &record.version, &served.server_version),
    ] {
        if made_with != here {
            differences.push(format!("{what} {}, here {here}", made_with.escape_debug()));
        }
    }
    if differences.is_empty() || anyway {
        return Ok(());
    }
    let (model, differences) = (record.model.escape_debug(), differences.join("; "));
    Err(wrong(format!(
        "made by another model ({model}): {differences}. Give --model or --server of the same, or try it --anyway"
    )))
}

/// The request whose last image is the record's.
fn request(
    record: &Record,
    (source, mask): (Option<Vec<u8>>, Option<Vec<u8>>),
    max_n: u32,
) -> anyhow::Result<ImageRequest> {
    // Images of a request are numbered, so all up to this one are made.
    let n = record.image.checked_add(1).filter(|n| *n <= max_n);
    let n = n.ok_or_else(|| {
        let number = record.image;
        wrong(format!("the record is of image {number} of a request; this server makes at most {max_n} at once"))
    })?;
    let (options, negative_prompt) = (Some(record.to_options(n)), record.negative_prompt.clone());
    let prompt = record.prompt.clone();
    Ok(match source {
        None => ImageRequest::Draw(pb::GenerateRequest { prompt, negative_prompt, options }),
        Some(image) => {
            let image = image.into();
            let mut edit =
                pb::EditRequest { image, instruction: prompt, negative_prompt, options, ..Default::default() };
            redraw(record, mask, &mut edit);
            ImageRequest::Edit(edit)
        }
    })
}

/// Where an edit redrew its source.
fn redraw(record: &Record, mask: Option<Vec<u8>>, edit: &mut pb::EditRequest) {
    let Some(redraw) = record.source.as_ref().and_then(|source| source.redraw.as_ref()) else { return };
    edit.feather = redraw.feather;
    edit.extend = redraw.extend.map(|[left, top, right, bottom]| pb::Margins { left, top, right, bottom });
    if let (Some(file), Some(recorded)) = (mask, &redraw.mask) {
        let convention = pb::MaskConvention::from(recorded.marks) as i32;
        edit.mask = Some(pb::Mask { image: file.into(), convention });
    }
}

fn tell(event: &ImageEvent, progress: &Progress) {
    match event {
        ImageEvent::Queued(queued) => progress.queued(queued),
        ImageEvent::Progress(step) => progress.step(step),
        ImageEvent::Resumed(resumed) => progress.resumed(resumed),
        ImageEvent::Preview(_) | ImageEvent::Image(_) | ImageEvent::Done(_) => {}
    }
}

fn tell_outcome(
    name: &str,
    record: &Record,
    difference: &Difference,
    path: Option<&Path>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let fields = json!({
        "equal": *difference == Difference::None,
        "difference": difference,
        "path": path,
        "record": record,
    });
    if *difference == Difference::None {
        progress.result(&format!("{name}: made again, the same to the last byte ({})", about(record)), fields);
        return Ok(());
    }
    progress.event("done", fields);
    anyhow::bail!("{name}: made again, and not the same: {difference}")
}

/// What was made, in a few words. They come from a file, so nothing in them may steer a terminal.
fn about(record: &Record) -> String {
    let prompt: String = record.prompt.chars().take(60).collect();
    format!("{:?}, seed {}, {}×{}, {}", prompt, record.seed, record.width, record.height, record.model.escape_debug())
}
