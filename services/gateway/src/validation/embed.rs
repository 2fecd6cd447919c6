//! Embed: one picture for an encoder.

use bytes::Bytes;
use unipic_api::{ApiError, pb};
use unipic_imaging::Rgb8;

use super::Violations;
use super::understand::encoder_path;
use crate::admission::{Kind, Work};
use crate::model::Model;
use crate::pictures::Pictures;

/// A picture as it came.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    /// An image file.
    File(Bytes),
    /// Its pixels, already decoded.
    Pixels(Rgb8),
}

impl Picture {
    /// Its size in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::File(file) => file.len(),
            Self::Pixels(pixels) => pixels.data.len(),
        }
    }
}

/// An image to embed.
#[derive(Debug, Clone)]
pub(crate) struct EmbedSpec {
    pub(crate) image: Rgb8,
    pub(crate) path: pb::EncoderPath,
}

impl EmbedSpec {
    /// What it makes the server do.
    pub(crate) fn work(&self, model: &Model) -> Work {
        Work { kind: Kind::Embed, cost: u64::from(model.image_tokens(self.path)), pixels: 0 }
    }
}

/// Judges a picture and makes it ready for an encoder, by its number in the API.
pub(crate) async fn embed(
    picture: Picture,
    encoder: i32,
    model: &Model,
    pictures: &Pictures,
) -> Result<EmbedSpec, ApiError> {
    let mut violations = Violations::default();
    let path = encoder_path(&mut violations, encoder, model);
    let size = model.input_size(path);
    let (field, made) = match picture {
        Picture::File(file) => ("image", pictures.decode_square(file, size).await?),
        Picture::Pixels(pixels) => ("pixels", pictures.square(pixels, size).await?),
    };
    let image = made.map_err(|error| violations.add(field, error.to_string())).ok();
    violations.into_result()?;
    let image = image.ok_or_else(|| ApiError::invalid(field, "must be an image"))?;
    Ok(EmbedSpec { image, path })
}
