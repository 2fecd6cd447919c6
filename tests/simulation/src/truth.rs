//! What every request is to be answered with: pure functions of the request, which the scripted services compute in steps
//! and the clients in one go.
//!
//! They stand in for the model. Every value depends on all that came before it, so an image of a lost, doubled or misplaced
//! step has other pixels than the right one.

use unipic_api::pb;

/// Width of the language model.
pub(crate) const WIDTH: usize = 8;
/// Embeddings of an image, whichever encoder they come from.
pub(crate) const IMAGE_ROWS: usize = 3;
/// Pixels per latent place and side.
pub(crate) const STRIDE: u32 = 16;

/// Two numbers stirred into one.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let golden = 0x9E37_79B9_7F4A_7C15_u64;
    let mut z = a.wrapping_mul(golden).wrapping_add(b).wrapping_add(golden);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bytes as a number.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |key, byte| mix(key, u64::from(*byte)))
}

/// So many values in [-1, 1).
fn values(key: u64, n: usize) -> Vec<f32> {
    (0..n as u64).map(|i| (mix(key, i) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Values as they travel.
pub(crate) fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What a language model makes of a prompt: of its user texts and its embeddings, in any order.
pub(crate) fn prompt<'a>(texts: impl IntoIterator<Item = &'a str>, tensors: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let texts = texts.into_iter().map(|text| mix(1, digest(text.as_bytes())));
    let tensors = tensors.into_iter().map(|tensor| mix(2, digest(tensor)));
    texts.chain(tensors).fold(0, u64::wrapping_add)
}

/// Embeddings `[IMAGE_ROWS, WIDTH]` of an image's pixels.
pub(crate) fn embeddings(pixels: &[u8]) -> Vec<f32> {
    embeddings_of(digest(pixels))
}

/// [`embeddings`], by the pixels' digest.
pub(crate) fn embeddings_of(image: u64) -> Vec<f32> {
    values(image, IMAGE_ROWS * WIDTH)
}

/// The hidden state `[WIDTH]` of a row behind a prompt.
pub(crate) fn hidden(prompt: u64, row: &[f32]) -> Vec<f32> {
    values(mix(prompt, digest(&bytes_of(row))), WIDTH)
}

/// A word of an answer.
pub(crate) fn word(prompt: u64, seed: u64, index: u32) -> String {
    format!("{:x} ", mix(mix(prompt, seed), u64::from(index)) >> 44)
}

/// An image as it is drawn: its seed and everything that it depends on but the prompts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawing {
    settings: u64,
    width: u32,
    height: u32,
}

impl Drawing {
    /// Of what a synthesis is asked for. `source` are the pixels of an edit's image.
    pub(crate) fn new(asked: &pb::SynthesisParameters, source: Option<&[u8]>) -> Self {
        let numbers = [
            asked.seed,
            asked.grid_rows.into(),
            asked.grid_cols.into(),
            asked.iterations.into(),
            asked.head_steps.into(),
            asked.guidance_scale.to_bits().into(),
            asked.temperature.to_bits().into(),
            source.map_or(0, digest),
        ];
        let settings = numbers.into_iter().fold(0, mix);
        Self { settings, width: asked.grid_cols * STRIDE, height: asked.grid_rows * STRIDE }
    }

    /// The state of an image before the first iteration.
    pub(crate) fn begin(&self, image: u32) -> u64 {
        mix(self.settings, image.into())
    }

    /// What the language model is shown of a state, `[WIDTH]`.
    pub(crate) fn row(state: u64) -> Vec<f32> {
        values(mix(state, 3), WIDTH)
    }

    /// The state after an iteration, of the hidden states behind each prompt.
    pub(crate) fn step<'a>(state: u64, hidden: impl IntoIterator<Item = &'a [f32]>) -> u64 {
        hidden.into_iter().fold(state, |state, row| mix(state, digest(&bytes_of(row))))
    }

    /// RGB of a state.
    pub(crate) fn pixels(&self, state: u64) -> Vec<u8> {
        (0..u64::from(self.width) * u64::from(self.height) * 3).map(|i| (mix(state, i) >> 56) as u8).collect()
    }

    /// The pixels of an image after so many iterations behind these prompts.
    pub(crate) fn after(&self, image: u32, iterations: u32, prompts: &[u64]) -> Vec<u8> {
        let mut state = self.begin(image);
        for _ in 0..iterations {
            let row = Self::row(state);
            let seen: Vec<_> = prompts.iter().map(|prompt| hidden(*prompt, &row)).collect();
            state = Self::step(state, seen.iter().map(Vec::as_slice));
        }
        self.pixels(state)
    }
}

/// True where guidance takes a second, unconditional branch.
pub(crate) fn is_guided(scale: f32) -> bool {
    (scale - 1.0).abs() > f32::EPSILON
}
