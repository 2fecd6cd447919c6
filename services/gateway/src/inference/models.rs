//! The encoders by the names that clients of the protocol ask for.

use tonic::Code;
use unipic_api::inference::model_metadata_response::TensorMetadata;
use unipic_api::inference::{ModelMetadataResponse, ServerMetadataResponse};
use unipic_api::{ApiError, pb};

use crate::model::{Model, Named};

/// The one version of every model: other weights are another server's.
pub(super) const VERSION: &str = "1";
/// The input that holds an image file.
pub(super) const FILE: &str = "image";
/// The input that holds pixels.
pub(super) const PIXELS: &str = "pixels";
/// The output.
pub(super) const OUTPUT: &str = "embeddings";
/// The protocol's word for elements of any length.
pub(super) const BYTES: &str = "BYTES";
/// The protocol's word for bytes as numbers.
pub(super) const UINT8: &str = "UINT8";
/// The protocol's word for f32.
pub(super) const FP32: &str = "FP32";

/// Who answers.
const SERVER: &str = "unipic";

/// The encoder of a name, where these weights have it.
///
/// # Errors
/// NOT_FOUND with the names that there are; another version than the one there is.
pub(super) fn find(model: &Model, name: &str, version: &str) -> Result<pb::EncoderPath, ApiError> {
    let paths = &model.encoder_paths;
    let Some(path) = paths.iter().copied().find(|path| path.name() == name) else {
        let known: Vec<_> = paths.iter().map(|path| path.name()).collect();
        return Err(not_found(format!("there is no such model here; those that are: {}", known.join(", "))));
    };
    match version {
        "" | VERSION => Ok(path),
        _ => Err(not_found(format!("{name} has no such version here; it has {VERSION}"))),
    }
}

fn not_found(message: String) -> ApiError {
    ApiError::Other { code: Code::NotFound, message }
}

/// What the server says of itself.
pub(super) fn server() -> ServerMetadataResponse {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    ServerMetadataResponse { name: SERVER.to_owned(), version, extensions: Vec::new() }
}

/// What an encoder takes and returns.
pub(super) fn metadata(model: &Model, path: pb::EncoderPath) -> ModelMetadataResponse {
    let tensor = |name: &str, datatype: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
    };
    let (tokens, width) = (model.image_tokens(path), model.facts.decoder.llm_width);
    ModelMetadataResponse {
        name: path.name().to_owned(),
        versions: vec![VERSION.to_owned()],
        platform: SERVER.to_owned(),
        inputs: vec![tensor(FILE, BYTES, &[1]), tensor(PIXELS, UINT8, &[1, -1, -1, 3])],
        outputs: vec![tensor(OUTPUT, FP32, &[1, i64::from(tokens), i64::from(width)])],
    }
}
