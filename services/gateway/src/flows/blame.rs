//! A backend's INVALID_ARGUMENT in the terms of the public request.
//!
//! The gateway refuses what it can judge itself; what only a backend can judge (how many tokens a text makes) comes back
//! with the field names of an internal message, which a caller has never seen.

use unipic_api::ApiError;

/// Renames the fields of a refused synthesis; `text` is the name of the user's text.
pub(super) fn image_request(error: ApiError, text: &str) -> ApiError {
    rename(error, |field| match field.strip_prefix("parameters.").unwrap_or(field) {
        "prompt" => text.to_owned(),
        "negative_prompt" => "negative_prompt".to_owned(),
        "grid_rows" => "options.height".to_owned(),
        "grid_cols" => "options.width".to_owned(),
        "n_images" => "options.n".to_owned(),
        option @ ("iterations" | "head_steps" | "guidance_scale" | "guidance_schedule" | "temperature") => {
            format!("options.{option}")
        }
        "redrawn_places" => "mask.image".to_owned(),
        source if source.starts_with("source") => "image".to_owned(),
        _ => text.to_owned(),
    })
}

/// Renames the fields of a refused answer.
pub(super) fn question(error: ApiError) -> ApiError {
    rename(error, |field| match field.strip_prefix("open.").unwrap_or(field) {
        known @ ("max_tokens" | "temperature" | "top_p" | "seed") => known.to_owned(),
        stop if stop.starts_with("stop") => stop.to_owned(),
        _ => "turns".to_owned(),
    })
}

/// Renames the fields of an INVALID_ARGUMENT.
pub(crate) fn rename(error: ApiError, name: impl Fn(&str) -> String) -> ApiError {
    match error {
        ApiError::Invalid(mut violations) => {
            for violation in &mut violations {
                violation.field = name(&violation.field);
            }
            ApiError::Invalid(violations)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(error: ApiError) -> String {
        match error {
            ApiError::Invalid(violations) => violations[0].field.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn internal_names_become_public_ones() {
        let internal = |field: &str| ApiError::invalid(field, "is wrong");
        for (from, to) in [
            ("parameters.prompt", "instruction"),
            ("parameters.grid_rows", "options.height"),
            ("parameters.head_steps", "options.head_steps"),
            ("source.header.shape", "image"),
            ("parameters.redrawn_places", "mask.image"),
            ("anything", "instruction"),
        ] {
            assert_eq!(field(image_request(internal(from), "instruction")), to);
        }
        for (from, to) in [("open.prompt", "turns"), ("open.top_p", "top_p"), ("open.stop[1]", "stop[1]")] {
            assert_eq!(field(question(internal(from))), to);
        }
        assert!(matches!(question(ApiError::Cancelled), ApiError::Cancelled));
    }
}
