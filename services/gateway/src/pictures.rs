//! Image files in and out, off the async threads and a bounded number at a time: one decode may take half a gigabyte.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use unipic_api::{ApiError, Reason, pb, record};
use unipic_imaging::{CropBox, DecodeLimits, Format, ImageError, Rgb8};

use crate::config::LimitsConfig;

/// RGB around an image that is padded to a square, as in training.
const PADDING: [u8; 3] = [127; 3];

/// The workshop. Clones share its bound.
#[derive(Debug, Clone)]
pub(crate) struct Pictures {
    limits: DecodeLimits,
    permits: Arc<Semaphore>,
}

/// A source image made to fit the output.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Pixels of the output's size.
    pub(crate) pixels: Rgb8,
    /// What part of the file they show.
    pub(crate) crop: pb::CropBox,
    /// SHA-256 of the file's bytes, in hex.
    pub(crate) sha256: String,
}

impl Pictures {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = DecodeLimits {
            max_bytes: limits.max_image_bytes as usize,
            max_pixels: limits.max_image_pixels,
            max_alloc_bytes: limits.max_decode_bytes,
        };
        Self { limits, permits: Arc::new(Semaphore::new(cores)) }
    }

    /// Runs work on pixels on a blocking thread.
    async fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, ApiError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let span = tracing::Span::current();
        let job = move || {
            // A blocking job runs on when its flow is gone, so the permit goes with the job.
            let _permit = permit;
            span.in_scope(work)
        };
        tokio::task::spawn_blocking(job).await.map_err(|error| {
            tracing::error!(%error, "image work ended without a result");
            ApiError::Fault(Reason::Bug)
        })
    }

    /// Decodes a file. The outer error is ours, the inner one says what is wrong with the file.
    #[tracing::instrument(name = "decode_image", skip_all, fields(bytes = file.len()))]
    pub(crate) async fn decode(&self, file: Bytes) -> Result<Result<Rgb8, ImageError>, ApiError> {
        let limits = self.limits;
        self.run(move || unipic_imaging::decode(&file, &limits)).await
    }

    /// Centre-crops a source to the output's aspect and resizes it to the output's size. `file` is what it was decoded from.
    #[tracing::instrument(name = "crop_source", skip_all)]
    pub(crate) async fn fit(&self, file: Bytes, image: Rgb8, width: u32, height: u32) -> Result<Source, ApiError> {
        self.run(move || {
            let (cropped, area) = unipic_imaging::centre_crop_to_aspect(&image, width, height);
            let pixels = unipic_imaging::resize_bicubic(&cropped, width, height);
            let sha256 = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
            Source { pixels, crop: crop_box(area, &image), sha256 }
        })
        .await
    }

    /// Decodes a file, pads it to a square and resizes it, as the encoders expect. At once, so that a conversation of
    /// many large images holds only small ones.
    #[tracing::instrument(name = "decode_image", skip_all, fields(bytes = file.len()))]
    pub(crate) async fn decode_square(&self, file: Bytes, size: u32) -> Result<Result<Rgb8, ImageError>, ApiError> {
        let limits = self.limits;
        let work = move || Ok(unipic_imaging::square_pad(&unipic_imaging::decode(&file, &limits)?, size, PADDING));
        self.run(work).await
    }

    /// Writes a file; `text`, the image's record, goes into PNG files.
    #[tracing::instrument(name = "encode_image", skip_all, fields(width = image.width, height = image.height))]
    pub(crate) async fn encode(&self, image: Rgb8, format: Format, text: Option<String>) -> Result<Bytes, ApiError> {
        let file = self
            .run(move || {
                let text: Vec<_> = text.iter().map(|json| (record::KEY, json.as_str())).collect();
                unipic_imaging::encode(&image, format, &text)
            })
            .await?;
        file.map(Bytes::from).map_err(|error| {
            tracing::error!(%error, "an image could not be encoded");
            ApiError::Fault(Reason::Bug)
        })
    }
}

fn crop_box(area: CropBox, source: &Rgb8) -> pb::CropBox {
    pb::CropBox {
        x: area.x,
        y: area.y,
        width: area.width,
        height: area.height,
        source_width: source.width,
        source_height: source.height,
    }
}
