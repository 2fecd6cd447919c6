//! `/v1/images/generations` and `/v1/images/edits`.

mod answer;
mod options;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use unipic_api::{ApiError, pb};

pub(super) use options::{EDIT_FIELDS, GENERATION_FIELDS, IMAGE_FIELDS, MAX_PARTIAL_IMAGES};

use super::body::Form;
use super::error::HttpError;
use super::fields::{Faults, Fields};
use super::{body, json, stream};
use crate::backends::Backends;
use crate::caller::Caller;
use crate::events::EventStream;
use crate::flows::{ImageEvent, rename};
use crate::gateway::Gateway;
use crate::model::Model;
use answer::Told;
use options::Plan;

/// The parts of a form that hold files: the source under either name, and the mask.
const FILES: [&str; 3] = ["image", "image[]", "mask"];

/// Draws images from a prompt.
pub(super) async fn generate<B: Backends>(
    State(gateway): State<Gateway<B>>,
    request: Request,
) -> Result<Response, HttpError> {
    let caller = Caller::of_http(&request)?;
    let model = gateway.model()?;
    let text = body::json(request, body::prompt_bytes(&gateway.shared.config.limits)).await?;
    let given =
        json::object(&text).map_err(|error| ApiError::invalid("body", format!("is no JSON object: {error}")))?;
    let (plan, faults) = Plan::read(Fields::new(given, &[IMAGE_FIELDS, GENERATION_FIELDS]), &model)?;
    let request = pb::GenerateRequest {
        prompt: plan.prompt.clone(),
        negative_prompt: plan.negative_prompt.clone(),
        options: Some(plan.options),
    };
    if !faults.is_empty() {
        return Err(faults.and(gateway.judge_generate(request).map_err(public)).into());
    }
    let events = gateway.start_generate(request, caller).map_err(public)?;
    answer(events, Told::new("image_generation", plan, model)).await
}

/// Changes an image as a prompt says.
pub(super) async fn edit<B: Backends>(
    State(gateway): State<Gateway<B>>,
    request: Request,
) -> Result<Response, HttpError> {
    let caller = Caller::of_http(&request)?;
    let model = gateway.model()?;
    let most = body::form_bytes(&gateway.shared.config.limits);
    let (request, plan, faults) = read_edit(body::form(request, most, &FILES).await?, &model)?;
    if !faults.is_empty() {
        return Err(faults.and(gateway.judge_edit(request, &caller).await.map_err(public)).into());
    }
    let events = gateway.start_edit(request, caller).await.map_err(public)?;
    answer(events, Told::new("image_edit", plan, model)).await
}

/// What an edit's form asks for, and what is wrong with it.
fn read_edit(form: Form, model: &Model) -> Result<(pb::EditRequest, Plan, Faults), HttpError> {
    let mut fields = Fields::of_form(form.texts, &[IMAGE_FIELDS, EDIT_FIELDS]);
    let (masks, sources): (Vec<_>, Vec<_>) = form.files.into_iter().partition(|(name, _)| name == "mask");
    let image = one_file(&mut fields, "image", sources);
    if image.is_none() {
        fields.wrong("image", "must hold the image to edit, as a file");
    }
    let mask = one_file(&mut fields, "mask", masks);
    let convention = pb::MaskConvention::Transparent as i32;
    let extend = margins(&mut fields);
    let feather = fields.count("feather").unwrap_or(0);
    let (mut plan, faults) = Plan::read(fields, model)?;
    if extend.is_some() && !plan.is_sized {
        // Then it follows from the image, which is not decoded yet.
        (plan.options.width, plan.options.height) = (None, None);
    }
    let request = pb::EditRequest {
        image: image.unwrap_or_default(),
        instruction: plan.prompt.clone(),
        negative_prompt: plan.negative_prompt.clone(),
        options: Some(plan.options),
        mask: mask.map(|image| pb::Mask { image, convention }),
        extend,
        feather,
    };
    Ok((request, plan, faults))
}

/// The file of a field, of which there may be one.
fn one_file(fields: &mut Fields, name: &str, mut files: Vec<(String, Bytes)>) -> Option<Bytes> {
    if files.len() > 1 {
        fields.wrong(name, format!("must hold exactly one image, not {}", files.len()));
    }
    files.pop().map(|(_, file)| file)
}

/// Margins to draw around the source, where any side has one.
fn margins(fields: &mut Fields) -> Option<pb::Margins> {
    let [left, top, right, bottom] =
        ["extend_left", "extend_top", "extend_right", "extend_bottom"].map(|name| fields.count(name).unwrap_or(0));
    let margins = pb::Margins { left, top, right, bottom };
    (margins != pb::Margins::default()).then_some(margins)
}

/// Tells a flow's events as they come, or all at its end.
async fn answer(events: EventStream<ImageEvent>, mut told: Told) -> Result<Response, HttpError> {
    let events = events.map(|event| event.map_err(|status| public(ApiError::from_status(&status)).into()));
    if told.is_streamed() {
        let begun = stream::begun(events).await?;
        return Ok(stream::response(begun, move |events| {
            events.map(move |event| told.events(event)).flat_map(futures::stream::iter)
        }));
    }
    told.whole(events).await
}

/// An error with its fields named as in this API.
fn public(error: ApiError) -> ApiError {
    rename(error, |field| match field.strip_prefix("options.").unwrap_or(field) {
        "width" | "height" => "size".to_owned(),
        "preview_every" => "partial_images".to_owned(),
        "instruction" => "prompt".to_owned(),
        "mask.image" => "mask".to_owned(),
        other => other.to_owned(),
    })
}
