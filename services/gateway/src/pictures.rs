//! Image files in and out, off the async threads and a bounded number at a time: one decode may take half a gigabyte. A
//! configuration may have it in place instead.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unipic_api::{ApiError, Reason, pb, record};
use unipic_imaging::{Blend, CropBox, DecodeLimits, Format, ImageError, Mask, MaskConvention, Rgb8};

use crate::config::LimitsConfig;

fn sha256(file: &[u8]) -> String {
    format!("{:x}", Sha256::digest(file))
}

/// RGB around an image that is padded to a square, as in training.
const PADDING: [u8; 3] = [127; 3];

/// When a request may come again whose files found no room: decoding one takes less.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The workshop. Clones share its bound.
#[derive(Debug, Clone)]
pub(crate) struct Pictures {
    limits: DecodeLimits,
    /// None where everything is done in place.
    permits: Option<Arc<Semaphore>>,
    /// Bytes of files that may wait.
    waiting: Arc<Semaphore>,
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
    /// Where it is redrawn, unless everywhere.
    pub(crate) redraw: Option<Redraw>,
    /// The same as it was asked for, for the record.
    pub(crate) asked: Option<record::Redraw>,
}

/// The part of a source that is redrawn.
#[derive(Debug, Clone)]
pub(crate) struct Redraw {
    /// Latent places that hold a pixel of it, by their raster numbers in rising order.
    pub(crate) places: Vec<u32>,
    /// Lays what was drawn into the source.
    pub(crate) blend: Arc<Blend>,
}

/// Where a source is to be redrawn, and how softly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// Of the source's size.
    pub(crate) mask: Option<Mask>,
    /// Around the source; redrawn whole.
    pub(crate) margins: pb::Margins,
    /// How far the seam is blended, in pixels of the result.
    pub(crate) feather: u32,
    /// All of that as it was asked for, for the record.
    pub(crate) asked: Option<record::Redraw>,
}

/// The size of an edit's result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Pixels per latent place and side.
    pub(crate) stride: u32,
}

impl Pictures {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let at_once = limits.max_image_jobs.unwrap_or_else(cores);
        let waiting = Arc::new(Semaphore::new(limits.max_waiting_image_bytes as usize));
        let limits = DecodeLimits {
            max_bytes: limits.max_image_bytes as usize,
            max_pixels: limits.max_image_pixels,
            max_alloc_bytes: limits.max_decode_bytes,
        };
        Self { limits, permits: (at_once > 0).then(|| Arc::new(Semaphore::new(at_once))), waiting }
    }

    /// Pixels that a source may have.
    pub(crate) fn max_pixels(&self) -> u64 {
        self.limits.max_pixels
    }

    /// Room for the image files of a request that is being judged, until the answer is dropped.
    ///
    /// # Errors
    /// `Overloaded`, where others have filled it.
    pub(crate) fn room(&self, n_bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let n_bytes = u32::try_from(n_bytes).unwrap_or(u32::MAX);
        let full = |_| ApiError::Overloaded { reason: Reason::QueueFull, retry_after: LOOK_AGAIN };
        Arc::clone(&self.waiting).try_acquire_many_owned(n_bytes).map_err(full)
    }

    /// Runs work on pixels, on a blocking thread unless all is done in place.
    async fn run<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, ApiError> {
        let Some(permits) = &self.permits else { return Ok(work()) };
        let permit = Arc::clone(permits).acquire_owned().await;
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

    /// Decodes a mask's file, as [`Pictures::decode`] does an image's.
    #[tracing::instrument(name = "decode_mask", skip_all, fields(bytes = file.len()))]
    pub(crate) async fn decode_mask(
        &self,
        file: Bytes,
        convention: MaskConvention,
    ) -> Result<Result<Mask, ImageError>, ApiError> {
        let limits = self.limits;
        self.run(move || unipic_imaging::decode_mask(&file, &limits, convention)).await
    }

    /// SHA-256 of a file's bytes, in hex.
    pub(crate) async fn sha256(&self, file: Bytes) -> Result<String, ApiError> {
        self.run(move || sha256(&file)).await
    }

    /// Centre-crops a source to the output's aspect and resizes it to the output's size, and its mask with it. `file` is what
    /// the source was decoded from.
    #[tracing::instrument(name = "crop_source", skip_all)]
    pub(crate) async fn fit(
        &self,
        (file, image): (Bytes, Rgb8),
        change: Change,
        output: Output,
    ) -> Result<Source, ApiError> {
        let fitted = self.run(move || {
            let asked = change.asked.clone();
            let (image, mask) = change.canvas(image);
            let (cropped, area) = unipic_imaging::centre_crop_to_aspect(&image, output.width, output.height);
            let pixels = unipic_imaging::resize_bicubic(&cropped, output.width, output.height);
            let redraw = mask.map(|mask| {
                redraw(&mask.fit(area, output.width, output.height), &pixels, output.stride, change.feather)
            });
            Ok(Source {
                crop: crop_box(area, &image),
                sha256: sha256(&file),
                redraw: redraw.transpose()?,
                asked,
                pixels,
            })
        });
        fitted.await?.map_err(|error| fault(&error))
    }

    /// Lays a picture into the source that it redraws a part of.
    #[tracing::instrument(name = "blend", skip_all)]
    pub(crate) async fn blend(&self, image: Rgb8, blend: &Arc<Blend>) -> Result<Rgb8, ApiError> {
        let blend = Arc::clone(blend);
        self.run(move || blend.lay(image)).await?.map_err(|error| fault(&error))
    }

    /// Decodes a file, pads it to a square and resizes it, as the encoders expect. At once, so that a conversation of
    /// many large images holds only small ones.
    #[tracing::instrument(name = "decode_image", skip_all, fields(bytes = file.len()))]
    pub(crate) async fn decode_square(&self, file: Bytes, size: u32) -> Result<Result<Rgb8, ImageError>, ApiError> {
        let limits = self.limits;
        let work = move || Ok(unipic_imaging::square_pad(&unipic_imaging::decode(&file, &limits)?, size, PADDING));
        self.run(work).await
    }

    /// Pads pixels to a square and resizes them, as [`Pictures::decode_square`] does a file's.
    #[tracing::instrument(name = "square_image", skip_all, fields(bytes = image.data.len()))]
    pub(crate) async fn square(&self, image: Rgb8, size: u32) -> Result<Result<Rgb8, ImageError>, ApiError> {
        let Rgb8 { width, height, .. } = image;
        let limit = self.limits.max_pixels;
        if u64::from(width) * u64::from(height) > limit {
            return Ok(Err(ImageError::TooManyPixels { width, height, limit }));
        }
        self.run(move || Ok(unipic_imaging::square_pad(&image, size, PADDING))).await
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
        file.map(Bytes::from).map_err(|error| fault(&error))
    }
}

impl Change {
    /// Width and height of a source with its margins.
    pub(crate) fn canvas_size(&self, source: &Rgb8) -> (u64, u64) {
        let pb::Margins { left, top, right, bottom } = self.margins;
        let sum = |sides: [u32; 3]| sides.into_iter().map(u64::from).sum();
        (sum([left, source.width, right]), sum([top, source.height, bottom]))
    }

    /// The source with its margins, and what is redrawn of that, unless everything.
    fn canvas(&self, source: Rgb8) -> (Rgb8, Option<Mask>) {
        if self.margins == pb::Margins::default() {
            return (source, self.mask.clone());
        }
        // Judged before: the canvas is no larger than a source may be.
        let (width, height) = self.canvas_size(&source);
        let (width, height, corner) = (width as u32, height as u32, (self.margins.left, self.margins.top));
        let none = || Mask::new(source.width, source.height, |_, _| false);
        let mask = self.mask.clone().unwrap_or_else(none).on_canvas(corner, width, height);
        (unipic_imaging::on_canvas(&source, corner, width, height), Some(mask))
    }
}

/// What is redrawn of a source of the output's size.
fn redraw(mask: &Mask, source: &Rgb8, stride: u32, feather: u32) -> Result<Redraw, ImageError> {
    let blend = Blend::new(source.clone(), mask, feather)?;
    Ok(Redraw { places: mask.squares(stride), blend: Arc::new(blend) })
}

/// Work on pixels of our own that cannot fail, and did.
fn fault(error: &ImageError) -> ApiError {
    tracing::error!(%error, "work on an image failed");
    ApiError::Fault(Reason::Bug)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_wait_are_bounded_together() {
        let pictures = Pictures::new(&LimitsConfig { max_waiting_image_bytes: 100, ..LimitsConfig::default() });
        let first = pictures.room(60).unwrap();
        assert!(matches!(pictures.clone().room(60), Err(ApiError::Overloaded { .. })));
        let _second = pictures.room(40).unwrap();
        drop(first);
        assert!(pictures.room(60).is_ok());
    }
}
