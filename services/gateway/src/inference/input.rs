//! The picture of a request: its one tensor, judged before an element of it is copied.

use bytes::Bytes;
use unipic_api::inference::model_infer_request::InferInputTensor;
use unipic_api::inference::{InferTensorContents, ModelInferRequest};
use unipic_api::{ApiError, FieldViolation};
use unipic_imaging::Rgb8;

use super::models::{BYTES, FILE, OUTPUT, PIXELS, UINT8};
use crate::validation::{Picture, Violations};

/// Bytes of the length before an element of BYTES.
const LENGTH_BYTES: usize = 4;

/// Reads the picture out of a request.
///
/// # Errors
/// INVALID_ARGUMENT with everything that is wrong: other inputs than one `image` or `pixels`, a type, shape or length that is
/// not the input's, an output that there is not, parameters.
pub(super) fn picture(request: ModelInferRequest) -> Result<Picture, ApiError> {
    let mut violations = Violations::default();
    asked(&mut violations, &request);
    let (n_inputs, n_raw) = (request.inputs.len(), request.raw_input_contents.len());
    let (mut inputs, mut raw) = (request.inputs.into_iter(), request.raw_input_contents.into_iter());
    let input = match (inputs.next(), n_inputs) {
        (Some(input), 1) => input,
        _ => {
            violations.add("inputs", format!("must be one tensor, {FILE} or {PIXELS}, not {n_inputs}"));
            return Err(violations.into_error());
        }
    };
    if n_raw > 1 {
        violations.add("raw_input_contents", format!("must be as many as inputs, not {n_raw}"));
    }
    let picture = read(input, raw.next()).map_err(|wrong| violations.add(wrong.field, wrong.description)).ok();
    match picture {
        Some(picture) if violations.is_empty() => Ok(picture),
        _ => Err(violations.into_error()),
    }
}

/// Judges what surrounds the input.
fn asked(violations: &mut Violations, request: &ModelInferRequest) {
    let lists = request.inputs.iter().map(|input| &input.parameters);
    let lists = lists.chain(request.outputs.iter().map(|output| &output.parameters)).chain([&request.parameters]);
    for name in lists.flat_map(|parameters| parameters.keys()) {
        violations.add(format!("parameters[{name}]"), "is not taken: these models have no parameters");
    }
    let is_known = |name: &str| name == OUTPUT;
    if request.outputs.len() > 1 || !request.outputs.iter().all(|output| is_known(&output.name)) {
        violations.add("outputs", format!("must be nothing or {OUTPUT}, once"));
    }
}

/// Reads the one input; `raw` are its elements where they do not stand in it.
fn read(input: InferInputTensor, raw: Option<Bytes>) -> Result<Picture, FieldViolation> {
    let InferInputTensor { name, datatype, shape, contents, .. } = input;
    let typed = |wanted: &str| match datatype == wanted {
        true => Ok(()),
        false => Err(FieldViolation::new(&name, format!("must have the datatype {wanted}"))),
    };
    if raw.is_some() && contents.is_some() {
        return Err(FieldViolation::new(&name, "has both contents and raw_input_contents"));
    }
    match name.as_str() {
        FILE => {
            typed(BYTES)?;
            if !matches!(shape[..], [1] | [1, 1]) {
                return Err(FieldViolation::new(FILE, "must have the shape [1]: one file in a request"));
            }
            file(raw, contents).map(Picture::File)
        }
        PIXELS => {
            typed(UINT8)?;
            pixels(&shape, raw, contents).map(Picture::Pixels)
        }
        _ => {
            Err(FieldViolation::new("inputs", format!("there is no input of this name; there are {FILE} and {PIXELS}")))
        }
    }
}

/// The one element of a tensor of BYTES.
fn file(raw: Option<Bytes>, contents: Option<InferTensorContents>) -> Result<Bytes, FieldViolation> {
    let wrong = |what: &str| FieldViolation::new(FILE, what);
    let Some(raw) = raw else {
        let mut files = contents.unwrap_or_default().bytes_contents;
        let one = if files.len() == 1 { files.pop() } else { None };
        return one.ok_or_else(|| wrong("must have one element: in raw_input_contents, or in bytes_contents"));
    };
    let Some((length, _)) = raw.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(wrong("must begin with its length in four bytes"));
    };
    match u32::from_le_bytes(*length) as usize == raw.len() - LENGTH_BYTES {
        true => Ok(raw.slice(LENGTH_BYTES..)),
        false => Err(wrong("has another length than the four bytes before it say")),
    }
}

/// A tensor of UINT8 as an image.
fn pixels(shape: &[i64], raw: Option<Bytes>, contents: Option<InferTensorContents>) -> Result<Rgb8, FieldViolation> {
    let wrong = |what: String| FieldViolation::new(PIXELS, what);
    let sides = match *shape {
        [1, height, width, 3] | [height, width, 3] => u32::try_from(width).ok().zip(u32::try_from(height).ok()),
        _ => None,
    };
    let (width, height) = sides.ok_or_else(|| wrong("must have the shape [1, height, width, 3]".to_owned()))?;
    let n = raw.as_ref().map_or_else(|| contents.as_ref().map_or(0, |given| given.uint_contents.len()), Bytes::len);
    let wanted = u128::from(width) * u128::from(height) * 3;
    if wanted != n as u128 {
        return Err(wrong(format!("must have {wanted} elements for its shape, not {n}")));
    }
    let data = match raw {
        Some(raw) => raw.to_vec(),
        None => {
            let numbers = contents.unwrap_or_default().uint_contents;
            let bytes: Result<Vec<u8>, _> = numbers.into_iter().map(u8::try_from).collect();
            bytes.map_err(|_| wrong("must have elements from 0 to 255".to_owned()))?
        }
    };
    Rgb8::new(width, height, data).map_err(|error| wrong(error.to_string()))
}
