//! A row of a batch: what it may say, judged before the server sees it.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use unipic_api::pb;
use unipic_api::record::Schedule;

use crate::args::{Marks, parse_size};
use crate::digest;
use crate::failure::wrong;
use crate::images::ImageRequest;

/// Most bytes of an id: it becomes a file's name, with a number and an extension.
const MAX_ID_BYTES: usize = 100;

/// Images of a row whose names are held against those of other rows; no server makes more at once.
const MAX_NAMED: u32 = 1024;

/// What a line of the file says. Names are those of the API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    prompt: Option<String>,
    image: Option<String>,
    instruction: Option<String>,
    mask: Option<String>,
    mask_marks: Option<Marks>,
    extend: Option<Margins>,
    feather: Option<u32>,
    #[serde(default)]
    negative_prompt: String,
    seed: Option<u64>,
    n: Option<u32>,
    size: Option<String>,
    iterations: Option<u32>,
    head_steps: Option<u32>,
    guidance_scale: Option<f32>,
    guidance_schedule: Option<Schedule>,
    temperature: Option<f32>,
    output_format: Option<Format>,
}

/// Pixels to draw around an image.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Margins {
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
}

impl From<Margins> for pb::Margins {
    fn from(Margins { left, top, right, bottom }: Margins) -> Self {
        Self { left, top, right, bottom }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Png,
    #[serde(alias = "jpg")]
    Jpeg,
    Webp,
}

impl Line {
    /// Refuses what changes a part of an image where there is none.
    fn check_change(&self) -> anyhow::Result<()> {
        let of_edits = [
            ("mask", self.mask.is_some()),
            ("mask_marks", self.mask_marks.is_some()),
            ("extend", self.extend.is_some()),
            ("feather", self.feather.is_some()),
        ];
        if let Some((name, _)) = of_edits.iter().find(|(_, is_there)| *is_there && self.image.is_none()) {
            return Err(wrong(format!("`{name}` needs an `image` to change")));
        }
        if self.mask_marks.is_some() && self.mask.is_none() {
            return Err(wrong("`mask_marks` needs a `mask`"));
        }
        Ok(())
    }
}

/// A good row.
#[derive(Debug)]
pub(super) struct Row {
    /// Names the row and its files.
    pub(super) id: String,
    /// SHA-256 of the line: another one under the same id is other work.
    pub(super) sha256: String,
    /// How many images.
    pub(super) n: u32,
    /// The extension of its files.
    pub(super) extension: &'static str,
    line: Line,
}

impl Row {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is no JSON object of these fields, or says too much or too little.
    pub(super) fn parse(line: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(line).map_err(|_| wrong("the line is no UTF-8 text"))?;
        let row: Line = serde_json::from_str(text).map_err(|error| wrong(format!("no good row: {error}")))?;
        check_id(&row.id)?;
        match (&row.prompt, &row.image, &row.instruction) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => {}
            _ => return Err(wrong("a row has either a `prompt`, or an `image` and an `instruction`")),
        }
        row.check_change()?;
        let (_, extension) = format(row.output_format);
        let n = row.n.unwrap_or(1);
        Ok(Self { id: row.id.clone(), sha256: digest::sha256(line.trim_ascii()), n, extension, line: row })
    }

    /// The request, with source and mask read from beside the file of rows.
    ///
    /// # Errors
    /// When a file cannot be read, or the size is none.
    pub(super) fn request(&self, beside: &Path) -> anyhow::Result<ImageRequest> {
        let (line, options) = (&self.line, Some(self.options()?));
        let negative_prompt = line.negative_prompt.clone();
        let Some(image) = &line.image else {
            let prompt = line.prompt.clone().unwrap_or_default();
            return Ok(ImageRequest::Draw(pb::GenerateRequest { prompt, negative_prompt, options }));
        };
        let read = |what: &str, name: &String| {
            let path = beside.join(name);
            let file = std::fs::read(&path).with_context(|| format!("read the {what} `{}`", path.display()))?;
            anyhow::Ok(bytes::Bytes::from(file))
        };
        let mask = match &line.mask {
            Some(name) => {
                let convention = pb::MaskConvention::from(line.mask_marks.unwrap_or_default()).into();
                Some(pb::Mask { image: read("mask", name)?, convention })
            }
            None => None,
        };
        Ok(ImageRequest::Edit(pb::EditRequest {
            image: read("image", image)?,
            instruction: line.instruction.clone().unwrap_or_default(),
            negative_prompt,
            options,
            mask,
            extend: line.extend.map(Into::into),
            feather: line.feather.unwrap_or(0),
        }))
    }

    fn options(&self) -> anyhow::Result<pb::ImageOptions> {
        let line = &self.line;
        let size = line.size.as_deref().map(parse_size).transpose().map_err(wrong)?;
        let schedule = line.guidance_schedule.map_or(pb::GuidanceSchedule::Unspecified, Into::into);
        Ok(pb::ImageOptions {
            seed: line.seed,
            n: line.n,
            iterations: line.iterations,
            head_steps: line.head_steps,
            guidance_scale: line.guidance_scale,
            guidance_schedule: schedule.into(),
            temperature: line.temperature,
            width: size.map(|s| s.0),
            height: size.map(|s| s.1),
            output_format: format(line.output_format).0.into(),
            preview_every: None,
        })
    }

    /// The names of its files.
    pub(super) fn file_names(&self) -> impl Iterator<Item = String> {
        (0..self.n.clamp(1, MAX_NAMED)).map(|number| self.file_name(number))
    }

    /// The name of an image's file.
    pub(super) fn file_name(&self, number: u32) -> String {
        match self.n {
            0 | 1 => format!("{}.{}", self.id, self.extension),
            _ => format!("{}-{number}.{}", self.id, self.extension),
        }
    }
}

/// The id of a line that is no good row, where it has one.
pub(super) fn id_of(line: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    Some(value.get("id")?.as_str()?.chars().take(MAX_ID_BYTES).collect())
}

fn check_id(id: &str) -> anyhow::Result<()> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fine = !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.starts_with('.') && id.chars().all(is_good);
    match fine {
        true => Ok(()),
        false => Err(wrong(format!(
            "the id {:?} names no file: use 1 to {MAX_ID_BYTES} letters, digits, `-`, `_` and `.`, and no `.` first",
            id.chars().take(MAX_ID_BYTES).collect::<String>()
        ))),
    }
}

fn format(format: Option<Format>) -> (pb::ImageFormat, &'static str) {
    match format {
        None | Some(Format::Png) => (pb::ImageFormat::Png, "png"),
        Some(Format::Jpeg) => (pb::ImageFormat::Jpeg, "jpg"),
        Some(Format::Webp) => (pb::ImageFormat::Webp, "webp"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_the_api_can_be_asked() {
        let line = br#"{"id": "a.1", "prompt": "a cat", "seed": 18446744073709551615, "n": 2, "size": "64x32",
            "guidance_scale": 1.5, "guidance_schedule": "linear", "output_format": "jpeg"}"#;
        let row = Row::parse(line).unwrap();
        assert_eq!((row.file_name(0), row.file_name(1)), ("a.1-0.jpg".into(), "a.1-1.jpg".into()));
        let ImageRequest::Draw(request) = row.request(Path::new("")).unwrap() else { panic!("no drawing") };
        let options = request.options.unwrap();
        assert_eq!(
            (options.seed, options.n, options.width, options.height),
            (Some(u64::MAX), Some(2), Some(64), Some(32))
        );
        assert_eq!((options.guidance_scale, options.output_format()), (Some(1.5), pb::ImageFormat::Jpeg));
        assert_eq!(options.guidance_schedule(), pb::GuidanceSchedule::Linear);
    }

    #[test]
    fn an_edits_source_lies_beside_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s.png"), b"bytes").unwrap();
        let row = |image: &str| {
            Row::parse(format!(r#"{{"id":"e","image":"{image}","instruction":"i"}}"#).as_bytes()).unwrap()
        };
        let ImageRequest::Edit(request) = row("s.png").request(dir.path()).unwrap() else { panic!("no edit") };
        assert_eq!((&request.image[..], request.instruction.as_str()), (&b"bytes"[..], "i"));
        assert!(request.mask.is_none() && request.extend.is_none());
        assert!(row("missing.png").request(dir.path()).unwrap_err().to_string().contains("missing.png"));
    }

    #[test]
    fn a_part_of_an_image_is_told_by_mask_and_margins() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s.png"), b"image").unwrap();
        std::fs::write(dir.path().join("m.png"), b"mask").unwrap();
        let row = |mask: &str| {
            let more = r#""mask_marks":"transparent","extend":{"left":16,"bottom":8},"feather":4"#;
            let line = format!(r#"{{"id":"e","image":"s.png","instruction":"i","mask":"{mask}",{more}}}"#);
            Row::parse(line.as_bytes()).unwrap().request(dir.path())
        };
        let ImageRequest::Edit(request) = row("m.png").unwrap() else { panic!("no edit") };
        let mask = request.mask.unwrap();
        assert_eq!((&mask.image[..], mask.convention()), (&b"mask"[..], pb::MaskConvention::Transparent));
        let margins = pb::Margins { left: 16, top: 0, right: 0, bottom: 8 };
        assert_eq!((request.extend, request.feather), (Some(margins), 4));
        let said = row("n.png").unwrap_err().to_string();
        assert!(said.contains("mask") && said.contains("n.png"), "{said}");
    }

    #[test]
    fn bad_rows_are_refused_by_name() {
        for (line, named) in [
            ("", "no good row"),
            ("[]", "no good row"),
            (r#"{"prompt": "a"}"#, "id"),
            (r#"{"id": "a"}"#, "prompt"),
            (r#"{"id": "a", "prompt": "b", "image": "c"}"#, "either"),
            (r#"{"id": "a", "prompt": "b", "instruction": "c"}"#, "either"),
            (r#"{"id": "a", "image": "c"}"#, "either"),
            (r#"{"id": "a", "prompt": "b", "sede": 1}"#, "sede"),
            (r#"{"id": "a", "prompt": "b", "seed": -1}"#, "-1"),
            (r#"{"id": "a", "prompt": "b", "output_format": "gif"}"#, "gif"),
            (r#"{"id": "a", "prompt": "b", "mask": "c"}"#, "`mask` needs an `image`"),
            (r#"{"id": "a", "prompt": "b", "feather": 0}"#, "`feather` needs an `image`"),
            (r#"{"id": "a", "image": "b", "instruction": "c", "mask_marks": "white"}"#, "needs a `mask`"),
            (r#"{"id": "a", "image": "b", "instruction": "c", "extend": {"up": 1}}"#, "up"),
            (r#"{"id": "../a", "prompt": "b"}"#, "../a"),
            (r#"{"id": ".a", "prompt": "b"}"#, ".a"),
            (r#"{"id": "", "prompt": "b"}"#, "names no file"),
            (r#"{"id": "ä", "prompt": "b"}"#, "ä"),
            ("{\"id\": \"a\u{1b}[2J\", \"prompt\": \"b\"}", "no good row"),
        ] {
            let said = Row::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(named), "{line}: {said}");
        }
        assert!(Row::parse(b"\xff").unwrap_err().to_string().contains("UTF-8"));
        let wide = Row::parse(br#"{"id": "a", "prompt": "b", "size": "wide"}"#).unwrap();
        assert!(wide.request(Path::new("")).unwrap_err().to_string().contains("wide"));
    }
}
