//! What a server's refusal means on this command line: a server names fields of the API, people typed flags and files.

use std::path::Path;

use unipic_api::ApiError;
use unipic_client::ClientError;

use crate::output::STANDARD;

/// The same failure, with the fields that a server refuses named as they were typed. `images` are the files of the
/// request, in their order.
pub(crate) fn named(error: anyhow::Error, images: &[&Path]) -> anyhow::Error {
    match error.downcast::<ClientError>() {
        Ok(refusal) => renamed(refusal, images).into(),
        Err(other) => other,
    }
}

fn renamed(refusal: ClientError, images: &[&Path]) -> ClientError {
    let ApiError::Invalid(violations) = refusal.api() else { return refusal };
    let mut named: Vec<unipic_api::FieldViolation> = Vec::new();
    for mut violation in violations.iter().cloned() {
        violation.field = typed(&violation.field, images).unwrap_or(violation.field);
        // Width and height are one flag, and often wrong in the same way.
        let is_told = |told: &unipic_api::FieldViolation| {
            told.field == violation.field && told.description == violation.description
        };
        if !named.iter().any(is_told) {
            named.push(violation);
        }
    }
    ApiError::Invalid(named).into()
}

/// What stands for a field of the API on the command line.
fn typed(field: &str, images: &[&Path]) -> Option<String> {
    let name = match field {
        "prompt" => "the prompt",
        "instruction" => "the instruction",
        "turns" | "turns[0].parts" => "the question",
        "negative_prompt" => "--negative",
        "options.width" | "options.height" => "--size",
        "options.n" => "--n",
        "options.iterations" => "--iterations",
        "options.head_steps" => "--head-steps",
        "options.guidance_scale" => "--guidance",
        "options.guidance_schedule" => "--guidance-schedule",
        "options.temperature" | "temperature" => "--temperature",
        "options.preview_every" => "--preview-every",
        "mask.image" => "--mask",
        "mask.convention" => "--mask-marks",
        "extend" => "--extend",
        "feather" => "--feather",
        "max_tokens" => "--max-tokens",
        "top_p" => "--top-p",
        "encoder_path" => "--encoder",
        _ => return file(field, images),
    };
    Some(name.to_owned())
}

/// The file of an image's field.
fn file(field: &str, images: &[&Path]) -> Option<String> {
    let at = match field {
        "image" => 0,
        part => part.strip_prefix("turns[0].parts[")?.strip_suffix("].image")?.parse().ok()?,
    };
    let path = *images.get(at)?;
    Some(if path == Path::new(STANDARD) { "standard input".to_owned() } else { path.display().to_string() })
}

#[cfg(test)]
mod tests {
    use unipic_api::FieldViolation;

    use super::*;

    fn said(violations: &[(&str, &str)], images: &[&str]) -> String {
        let violation = |(field, text): &(&str, &str)| FieldViolation::new(*field, *text);
        let refusal = ClientError::from(ApiError::Invalid(violations.iter().map(violation).collect()));
        let images: Vec<&Path> = images.iter().map(Path::new).collect();
        named(refusal.into(), &images).to_string()
    }

    #[test]
    fn a_refusal_names_what_was_typed() {
        let sides = [("options.width", "odd"), ("options.height", "odd"), ("options.iterations", "none")];
        assert_eq!(said(&sides, &[]), "invalid request: --size: odd; --iterations: none");
        let parts = [("turns[0].parts[1].image", "no image"), ("max_tokens", "none")];
        assert_eq!(said(&parts, &["a.png", "b.png"]), "invalid request: b.png: no image; --max-tokens: none");
        assert_eq!(said(&[("image", "no image")], &["-"]), "invalid request: standard input: no image");
        // What is not known here keeps its name.
        let unknown = [("image", "x"), ("turns[0].parts[7].image", "y"), ("future", "z")];
        assert_eq!(said(&unknown, &[]), "invalid request: image: x; turns[0].parts[7].image: y; future: z");
    }
}
