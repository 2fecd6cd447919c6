//! The reproducibility record: everything that a finished PNG says about how it was made, so that it can be made again.
//!
//! It lies in one text chunk of the PNG under the key [`KEY`]: `tEXt` where it is Latin-1, else `iTXt`, uncompressed, before
//! the pixels. Its value is one JSON object with the fields of [`Record`]. The gateway writes it, so images that came over
//! gRPC, over HTTP and through the command line carry the same one; `unipic replay` reads it. JPEG and WebP files carry none.
//!
//! Seed and number make an image whatever else the request asked for, so a record stands for one image and knows nothing of
//! the others that were asked for with it. What a record does not say, because the gateway does not know it, is how the
//! weights were held (device, element type, 8-bit linear layers): the same weights held otherwise make a slightly other
//! image.

use serde::{Deserialize, Serialize};

use crate::pb;

/// The key of the text chunk.
pub const KEY: &str = "unipic";

/// How an image was made, defaults filled in. A field that is not known is an error: whoever wrote it knew something about
/// the image that this version would leave out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was asked for.
    pub task: Task,
    /// Name of the model, for people.
    pub model: String,
    /// Version of the gateway that answered.
    pub version: String,
    /// SHA-256 over the hashes of the weights of all parts, in hex.
    pub weights_sha256: String,
    /// The prompt, or an edit's instruction.
    pub prompt: String,
    /// What to keep away from; left out where nothing was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub negative_prompt: String,
    /// The request's seed.
    pub seed: u64,
    /// Number of the image within the request, from 0.
    pub image: u32,
    /// Iterations of the generation loop.
    pub iterations: u32,
    /// Sampling steps of the diffusion head.
    pub head_steps: u32,
    /// Classifier-free guidance.
    pub guidance_scale: f32,
    /// How guidance grows over the iterations.
    pub guidance_schedule: Schedule,
    /// Factor on the sampler's noise.
    pub temperature: f32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The image that was changed; edits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// An image from a prompt.
    Generate,
    /// An image from an image and an instruction.
    Edit,
}

/// How guidance grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same in every iteration.
    Constant,
    /// From 1, with the places already revealed.
    Linear,
}

/// The image that an edit changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// The part of it that was used: x, y, width and height in pixels of the upright image, with its margins where it has
    /// any.
    pub crop: [u32; 4],
    /// Where it was redrawn; left out for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redraw: Option<Redraw>,
}

/// Where an edit redrew its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redraw {
    /// The mask, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// Margins around the source: left, top, right and bottom, in its pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extend: Option<[u32; 4]>,
    /// How far the seam was blended, in pixels of the result.
    pub feather: u32,
}

/// A mask's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// What it marks.
    pub marks: Marks,
}

/// Which pixels of a mask are redrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marks {
    /// Those brighter than middle grey.
    White,
    /// Those less than half opaque.
    Transparent,
}

/// Why a text is no record.
#[derive(Debug, thiserror::Error)]
#[error("the reproducibility record cannot be read: {0}")]
pub struct InvalidRecord(#[from] serde_json::Error);

impl Record {
    /// Reads the text of the chunk. It comes from a file that anybody may have written: numbers in it are what they claim
    /// to be, but not within anyone's limits.
    ///
    /// # Errors
    /// When it is no JSON object of these fields, with the field or the position.
    pub fn parse(text: &str) -> Result<Self, InvalidRecord> {
        Ok(serde_json::from_str(text)?)
    }

    /// The text for the chunk.
    ///
    /// # Errors
    /// None that is known of: texts, integers and floats always serialize.
    pub fn to_text(&self) -> Result<String, InvalidRecord> {
        Ok(serde_json::to_string(self)?)
    }

    /// The options of a request that makes this image again, as the last of `n` images.
    #[must_use]
    pub fn to_options(&self, n: u32) -> pb::ImageOptions {
        pb::ImageOptions {
            seed: Some(self.seed),
            n: Some(n),
            iterations: Some(self.iterations),
            head_steps: Some(self.head_steps),
            guidance_scale: Some(self.guidance_scale),
            guidance_schedule: pb::GuidanceSchedule::from(self.guidance_schedule).into(),
            temperature: Some(self.temperature),
            width: Some(self.width),
            height: Some(self.height),
            output_format: pb::ImageFormat::Png.into(),
            preview_every: None,
        }
    }
}

impl From<Marks> for pb::MaskConvention {
    fn from(marks: Marks) -> Self {
        match marks {
            Marks::White => Self::White,
            Marks::Transparent => Self::Transparent,
        }
    }
}

impl From<pb::MaskConvention> for Marks {
    /// White is the default of the API.
    fn from(convention: pb::MaskConvention) -> Self {
        match convention {
            pb::MaskConvention::Transparent => Self::Transparent,
            pb::MaskConvention::White | pb::MaskConvention::Unspecified => Self::White,
        }
    }
}

impl From<Schedule> for pb::GuidanceSchedule {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Constant => Self::Constant,
            Schedule::Linear => Self::Linear,
        }
    }
}

impl From<pb::GuidanceSchedule> for Schedule {
    /// Constant is the default of the API.
    fn from(schedule: pb::GuidanceSchedule) -> Self {
        match schedule {
            pb::GuidanceSchedule::Linear => Self::Linear,
            pb::GuidanceSchedule::Constant | pb::GuidanceSchedule::Unspecified => Self::Constant,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            task: Task::Generate,
            model: "nano".into(),
            version: "1.2.3".into(),
            weights_sha256: "ab".repeat(32),
            prompt: "eine „Mühle“\n\0".into(),
            negative_prompt: String::new(),
            seed: u64::MAX,
            image: 3,
            iterations: 16,
            head_steps: 25,
            guidance_scale: 3.0,
            guidance_schedule: Schedule::Linear,
            temperature: 0.1,
            width: 128,
            height: 64,
            source: None,
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            prompt in any::<String>(),
            negative_prompt in any::<String>(),
            seed in any::<u64>(),
            image in any::<u32>(),
            bits in any::<[u32; 2]>(),
            crop in proptest::option::of(any::<[u32; 4]>()),
            redraw in proptest::option::of(any::<(bool, bool, Option<[u32; 4]>, u32)>()),
        ) {
            let float = |bits: u32| Some(f32::from_bits(bits)).filter(|value| value.is_finite()).unwrap_or(1.5);
            let redraw = redraw.map(|(is_masked, is_white, extend, feather)| {
                let marks = if is_white { Marks::White } else { Marks::Transparent };
                let mask = is_masked.then(|| Mask { sha256: "d0".repeat(32), marks });
                Redraw { mask, extend, feather }
            });
            let source = crop.map(|crop| Source { sha256: "c0".repeat(32), crop, redraw });
            let (guidance_scale, temperature) = (float(bits[0]), float(bits[1]));
            let written = Record { prompt, negative_prompt, seed, image, guidance_scale, temperature, source, ..record() };
            prop_assert_eq!(&Record::parse(&written.to_text().unwrap()).unwrap(), &written);
        }
    }

    #[test]
    fn what_is_no_record_is_refused_by_name() {
        let good = record().to_text().unwrap();
        for (from, to, named) in [
            ("\"seed\":18446744073709551615", "\"seed\":18446744073709551616", "line 1"),
            ("\"seed\":18446744073709551615", "\"seed\":-1", "-1"),
            ("\"image\":3", "\"image\":4294967296", "4294967296"),
            ("\"image\":3,", "", "image"),
            ("\"task\":\"generate\"", "\"task\":\"train\"", "train"),
            ("\"image\":3", "\"image\":3,\"mood\":1", "mood"),
            ("\"width\":128", "\"width\":\"128\"", "string"),
            ("{", "[", "line 1"),
        ] {
            assert!(good.contains(from), "{from}");
            let said = Record::parse(&good.replace(from, to)).unwrap_err().to_string();
            assert!(said.contains(named) && said.contains("record"), "{to}: {said}");
        }
        let deep = "[".repeat(100_000);
        assert!(Record::parse(&deep).is_err() && Record::parse("").is_err());
    }

    #[test]
    fn the_options_are_the_records() {
        let options = record().to_options(4);
        assert_eq!(
            (options.seed, options.n, options.width, options.height),
            (Some(u64::MAX), Some(4), Some(128), Some(64))
        );
        assert_eq!(Schedule::from(options.guidance_schedule()), Schedule::Linear);
        assert_eq!(Schedule::from(pb::GuidanceSchedule::from(Schedule::Constant)), Schedule::Constant);
    }
}
