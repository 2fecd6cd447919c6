//! Between the messages of the API and the core's own types.

use unipic_api::frames::{Frames, RawTensor};
use unipic_api::pb;
use unipic_api::pb::synthesize_response::Message;
use unipic_api::{ApiError, Reason};
use unipic_models::generation::{GuidanceSchedule, Settings};
use unipic_models::mar::ImageGrid;

use crate::event::{Picture, Progress, SynthesisEvent, Timings};
use crate::image::RgbImage;
use crate::language::LanguageModel;
use crate::spec::SynthesisSpec;
use crate::synthesis::Synthesis;

impl SynthesisSpec {
    /// What a message asks for; `source` is the image that came behind it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a guidance schedule that does not exist, and for places to redraw of no source. Values are
    /// judged by [`SynthesisSpec::violations`].
    pub fn from_message(parameters: pb::SynthesisParameters, source: Option<RgbImage>) -> Result<Self, ApiError> {
        let schedule = match pb::GuidanceSchedule::try_from(parameters.guidance_schedule) {
            Ok(pb::GuidanceSchedule::Unspecified | pb::GuidanceSchedule::Constant) => GuidanceSchedule::Constant,
            Ok(pb::GuidanceSchedule::Linear) => GuidanceSchedule::Linear,
            Err(_) => {
                let number = parameters.guidance_schedule;
                return Err(ApiError::invalid(
                    "parameters.guidance_schedule",
                    format!("there is no schedule {number}"),
                ));
            }
        };
        if !parameters.has_source && !parameters.redrawn_places.is_empty() {
            return Err(ApiError::invalid("parameters.redrawn_places", "need a source image to keep the rest of"));
        }
        let settings = Settings {
            grid: ImageGrid { rows: parameters.grid_rows as usize, cols: parameters.grid_cols as usize },
            iterations: parameters.iterations as usize,
            head_steps: parameters.head_steps as usize,
            guidance_scale: f64::from(parameters.guidance_scale),
            guidance_schedule: schedule,
            temperature: f64::from(parameters.temperature),
            seed: parameters.seed,
            first_image: parameters.first_image,
            n_images: parameters.n_images as usize,
        };
        Ok(Self {
            prompt: parameters.prompt,
            negative_prompt: Some(parameters.negative_prompt).filter(|text| !text.is_empty()),
            source,
            redrawn: parameters.redrawn_places,
            settings,
            preview_every: parameters.preview_every as usize,
        })
    }
}

impl<L: LanguageModel> Synthesis<L> {
    /// Sizes of the loaded parts and what is accepted, as a message.
    pub fn info_message(&self) -> pb::GetSynthesisInfoResponse {
        let (info, bounds) = (self.info(), self.bounds());
        pb::GetSynthesisInfoResponse {
            base_image_size: info.base_image_size as u32,
            stride: info.stride as u32,
            n_buffers: info.n_buffers as u32,
            llm_width: info.llm_width as u32,
            default_head_steps: info.default_head_steps as u32,
            weights_sha256: info.weights_sha256.clone(),
            notices: info.notices.clone(),
            max_places: bounds.max_places as u32,
        }
    }
}

impl Progress {
    /// As a message.
    pub fn message(&self) -> pb::SynthesisProgress {
        pb::SynthesisProgress {
            iteration: self.iteration as u32,
            iterations: self.iterations as u32,
            known_tokens: self.known_tokens as u32,
            total_tokens: self.total_tokens as u32,
        }
    }
}

impl Timings {
    /// As a message.
    pub fn message(&self) -> pb::SynthesisTimings {
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        pb::SynthesisTimings {
            queue_ms: ms(self.queue),
            source_ms: ms(self.source),
            prefill_ms: ms(self.prefill),
            mar_ms: ms(self.mar),
            probe_ms: ms(self.probe),
            head_ms: ms(self.head),
            vae_ms: ms(self.vae),
            total_ms: ms(self.total),
            bytes_to_decoder: self.traffic.sent,
            bytes_from_decoder: self.traffic.received,
        }
    }
}

/// The messages of an event: one, or the frames of an image.
pub(crate) fn messages(event: SynthesisEvent) -> Result<Messages, ApiError> {
    let one = |message| Ok(Messages::One(Some(message)));
    match event {
        SynthesisEvent::Progress(progress) => one(Message::Progress(progress.message())),
        SynthesisEvent::Done(timings) => one(Message::Done(pb::SynthesisDone { timings: Some(timings.message()) })),
        SynthesisEvent::Resumed { attempt } => {
            one(Message::Resumed(pb::Resumed { what: pb::Backend::Decoder.into(), attempt }))
        }
        SynthesisEvent::Preview(picture) => Messages::frames(picture, true),
        SynthesisEvent::Image(picture) => Messages::frames(picture, false),
    }
}

/// Messages still to send of one event.
pub(crate) enum Messages {
    One(Option<Message>),
    Image { image: u32, preview: bool, frames: Frames },
}

impl Messages {
    fn frames(picture: Picture, preview: bool) -> Result<Self, ApiError> {
        let RgbImage { width, height, rgb } = picture.pixels;
        let raw = RawTensor::new(pb::DType::DtypeU8, vec![height as u32, width as u32, 3], rgb);
        // Our own pixels are as many as their size says, or we are wrong.
        let frames = raw.map_err(|_| ApiError::Fault(Reason::Bug))?.into_frames();
        Ok(Self::Image { image: picture.image, preview, frames })
    }
}

impl Iterator for Messages {
    type Item = pb::SynthesizeResponse;

    fn next(&mut self) -> Option<pb::SynthesizeResponse> {
        let message = match self {
            Self::One(message) => message.take()?,
            Self::Image { image, preview, frames } => {
                let frame = Some(frames.next()?);
                Message::Image(pb::ImageFrame { image: *image, preview: *preview, frame })
            }
        };
        Some(pb::SynthesizeResponse { message: Some(message) })
    }
}
