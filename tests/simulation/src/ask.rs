//! Requests as clients draw them, each with what it is to be answered.

use std::time::Duration;

use fastrand::Rng;
use unipic_api::pb;
use unipic_imaging::{Format, Rgb8, encode};

use crate::truth::{self, Drawing, STRIDE};

/// A request to come.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) what: What,
    /// Time for all of it.
    pub(crate) deadline: Duration,
    /// When its client loses interest and goes away, where it does.
    pub(crate) leaves_after: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// With the pixels of the source, where it is an edit.
    Draw { text: String, negative: String, options: pb::ImageOptions, source: Option<Rgb8> },
    /// A question, perhaps about an image.
    Answer { question: String, image: Option<Rgb8>, path: pb::EncoderPath, seed: u64, words: u32 },
    /// Embeddings of an image.
    Embed { image: Rgb8, path: pb::EncoderPath },
    /// What is served.
    Describe,
}

/// Noise of a size.
fn picture(rng: &mut Rng, width: u32, height: u32) -> Rgb8 {
    Rgb8 { width, height, data: (0..width * height * 3).map(|_| rng.u8(..)).collect() }
}

/// An image as a file.
pub(crate) fn png(image: &Rgb8) -> Vec<u8> {
    encode(image, Format::Png, &[]).unwrap_or_default()
}

impl Ask {
    /// Draws one. `side` tells the input size of an encoder path.
    pub(crate) fn draw(rng: &mut Rng, side: impl Fn(pb::EncoderPath) -> u32) -> Self {
        let deadline = Duration::from_millis(*rng.choice(&[300, 1000, 3000, 8000, 20_000]).unwrap_or(&8000));
        let leaves_after = (rng.u32(..8) == 0).then(|| Duration::from_millis(rng.u64(1..1500)));
        let path = if rng.bool() { pb::EncoderPath::Siglip2 } else { pb::EncoderPath::Mar };
        let image = |rng: &mut Rng| picture(rng, side(path), side(path));
        let what = match rng.u32(..10) {
            0..=3 => What::drawing(rng, false),
            4..=5 => What::drawing(rng, true),
            6..=7 => What::Answer {
                question: format!("what is {}?", rng.u32(..100)),
                image: rng.bool().then(|| image(rng)),
                path,
                seed: rng.u64(..),
                words: rng.u32(1..12),
            },
            8 => What::Embed { image: image(rng), path },
            _ => What::Describe,
        };
        Self { what, deadline, leaves_after }
    }

    /// The plainest image, for as long as it takes.
    pub(crate) fn plain(seed: u64, deadline: Duration) -> Self {
        Self { what: What::drawing(&mut Rng::with_seed(seed), false), deadline, leaves_after: None }
    }
}

impl What {
    fn drawing(rng: &mut Rng, is_edit: bool) -> Self {
        let sides = [2 * STRIDE, 3 * STRIDE];
        let (width, height) = (sides[rng.usize(..2)], sides[rng.usize(..2)]);
        let options = pb::ImageOptions {
            seed: Some(rng.u64(..)),
            n: Some(rng.u32(1..=2)),
            iterations: Some(rng.u32(1..=4)),
            head_steps: Some(rng.u32(1..=4)),
            guidance_scale: Some(if rng.bool() { 1.0 } else { 3.0 }),
            temperature: Some(0.5),
            width: Some(width),
            height: Some(height),
            preview_every: Some(rng.u32(..=2)),
            ..Default::default()
        };
        let negative = if rng.bool() { String::new() } else { "blur".to_owned() };
        let source = is_edit.then(|| picture(rng, width, height));
        Self::Draw { text: format!("a red circle {}", rng.u32(..100)), negative, options, source }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Draw { source: None, .. } => "generate",
            Self::Draw { source: Some(_), .. } => "edit",
            Self::Answer { .. } => "understand",
            Self::Embed { .. } => "embed",
            Self::Describe => "get model",
        }
    }
}

/// The right images of a drawing.
pub(crate) struct RightImages {
    drawing: Drawing,
    prompts: Vec<u64>,
}

impl RightImages {
    pub(crate) fn of(text: &str, negative: &str, options: &pb::ImageOptions, source: Option<&Rgb8>) -> Self {
        let asked = pb::SynthesisParameters {
            seed: options.seed.unwrap_or_default(),
            grid_rows: options.height.unwrap_or_default() / STRIDE,
            grid_cols: options.width.unwrap_or_default() / STRIDE,
            iterations: options.iterations.unwrap_or_default(),
            head_steps: options.head_steps.unwrap_or_default(),
            guidance_scale: options.guidance_scale.unwrap_or_default(),
            temperature: options.temperature.unwrap_or_default(),
            ..Default::default()
        };
        let source = source.map(|image| image.data.as_slice());
        let shown = source.map(|pixels| truth::bytes_of(&truth::embeddings(pixels)));
        let prompt = |text| truth::prompt(Some(text), shown.as_deref());
        let unconditional = || match negative {
            "" => truth::prompt(None, shown.as_deref()),
            negative => prompt(negative),
        };
        let mut prompts = vec![prompt(text)];
        if truth::is_guided(asked.guidance_scale) {
            prompts.push(unconditional());
        }
        Self { drawing: Drawing::new(&asked, source), prompts }
    }

    /// The pixels of an image after so many iterations.
    pub(crate) fn after(&self, image: u32, iterations: u32) -> Vec<u8> {
        self.drawing.after(image, iterations, &self.prompts)
    }
}

/// The right answer to a question.
pub(crate) fn right_answer(question: &str, image: Option<&Rgb8>, seed: u64, words: u32) -> String {
    let shown = image.map(|image| truth::bytes_of(&truth::embeddings(&image.data)));
    let prompt = truth::prompt(Some(question), shown.as_deref());
    (0..words).map(|index| truth::word(prompt, seed, index)).collect()
}
