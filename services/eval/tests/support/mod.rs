//! An artist of flat colours.

#![allow(clippy::unwrap_used, reason = "functions of tests fail by panicking, as tests do")]
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod shapes;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use unipic_api::pb;
use unipic_eval::{Answer, Artist, ArtistError, Drawing, Editing, Picture, Question, Step};
use unipic_imaging::{DecodeLimits, Format, Rgb8, decode, encode};

/// A prompt with its seed and the size of the image.
pub(crate) type Asked = (String, u64, (u32, u32));

/// Draws one colour, made from the seed, and fails where it is told to.
#[derive(Default)]
pub(crate) struct Flat {
    /// Prompts and instructions that fail.
    pub(crate) fails: HashSet<String>,
    /// The weights' hash it says it has.
    pub(crate) weights: String,
    /// Every prompt and instruction with its seed and size, in the order in which they came.
    pub(crate) asked: Mutex<Vec<Asked>>,
}

impl Flat {
    pub(crate) fn failing(prompts: &[&str]) -> Self {
        Self { fails: prompts.iter().map(|p| (*p).to_owned()).collect(), ..Self::default() }
    }

    pub(crate) fn n_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn picture(&self, text: &str, seed: u64, settings: &unipic_eval::Settings) -> Result<Picture, ArtistError> {
        let size = (settings.width, settings.height);
        self.asked.lock().unwrap().push((text.to_owned(), seed, size));
        if self.fails.contains(text) {
            return Err(ArtistError(format!("cannot do `{text}`")));
        }
        let [.., r, g, b] = seed.to_be_bytes();
        let png = encode(&Rgb8::filled(size.0, size.1, [r, g, b]), Format::Png, &[("seed", &seed.to_string())]);
        Ok(Picture { png: png.unwrap(), seconds: Some(0.5) })
    }
}

impl Artist for Flat {
    async fn model(&self) -> Result<pb::GetModelResponse, ArtistError> {
        Ok(model(&self.weights))
    }

    async fn draw(&self, request: Drawing) -> Result<Picture, ArtistError> {
        self.picture(&request.prompt, request.seed, &request.settings)
    }

    async fn edit(&self, request: Editing) -> Result<Picture, ArtistError> {
        decode(&request.source, &DecodeLimits::default()).map_err(|error| ArtistError(error.to_string()))?;
        self.picture(&request.instruction, request.seed, &request.settings)
    }

    async fn ask(&self, _: Question) -> Result<Answer, ArtistError> {
        Ok(Answer { text: "yes".to_owned(), seconds: 0.1 })
    }

    async fn weigh(&self, _: Question, candidates: &[&str]) -> Result<Vec<f64>, ArtistError> {
        Ok(candidates.iter().map(|text| if *text == "yes" { 1.0 } else { 0.0 }).collect())
    }
}

/// What a small model says of itself.
pub(crate) fn model(weights: &str) -> pb::GetModelResponse {
    let image_defaults = pb::ImageOptions {
        width: Some(32),
        height: Some(32),
        iterations: Some(4),
        head_steps: Some(5),
        guidance_scale: Some(1.0),
        temperature: Some(1.0),
        ..pb::ImageOptions::default()
    };
    let limits = pb::Limits { max_prompt_bytes: 200, ..pb::Limits::default() };
    pb::GetModelResponse {
        name: "flat".into(),
        weights_sha256: weights.into(),
        stride: 16,
        image_defaults: Some(image_defaults),
        limits: Some(limits),
        ..pb::GetModelResponse::default()
    }
}

/// Every file below a folder, relative, in order.
pub(crate) fn files(root: &Path) -> Vec<String> {
    let mut open = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// The pixels of a file.
pub(crate) fn pixels(path: &Path) -> Rgb8 {
    decode(&std::fs::read(path).unwrap(), &DecodeLimits::default()).unwrap()
}

/// Writes a source image.
pub(crate) fn write_image(path: &Path, width: u32, height: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, encode(&Rgb8::filled(width, height, [9; 3]), Format::Png, &[]).unwrap()).unwrap();
}

/// Progress that nobody looks at.
pub(crate) fn silent(_: &Step<'_>) {}
