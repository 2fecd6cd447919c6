//! Understanding: predict an answer from an image and a question.

use std::ops::Range;

use candle_core::{Result, Tensor};
use unipic_models::mar::ImageGrid;

use super::edit::encode_whole;
use super::packing::{Packing, Part};
use super::{AroundImage, INPUT_GRADIENT, Outcome, indices, named};
use crate::model::TrainModel;

/// A batch of questions, one image each.
#[derive(Clone, Debug)]
pub struct Understanding<'a> {
    /// The images.
    pub images: Images<'a>,
    /// Each image's question in its template, up to the beginning of the answer.
    pub prompts: &'a [AroundImage],
    /// The ids of each answer, its end token included.
    pub answers: &'a [Vec<u32>],
    /// Where answers to earlier questions stand behind each image, as ranges of `prompts[i].after`: they are learnt as
    /// well. Empty where there are none at all.
    pub earlier: &'a [Vec<Range<usize>>],
}

/// By which way images come to the language model.
#[derive(Clone, Copy, Debug)]
pub enum Images<'a> {
    /// Through SigLIP2: RGB `[B, 3, S, S]` in [-1, 1].
    Siglip(&'a Tensor),
    /// Through MAR, with [`INPUT_GRADIENT`] of the gradient.
    Mar {
        /// The grid of all images.
        grid: ImageGrid,
        /// Their latents `[B, N, 16]`, in raster order.
        latents: &'a Tensor,
    },
}

/// The understanding loss: the mean cross-entropy, in nats, over the tokens of all answers.
///
/// Logits are computed where an answer's token is predicted and nowhere else, and an answer's last
/// token is predicted but not read.
///
/// # Errors
/// When the numbers of images, prompts and answers differ, an answer is empty, a token is beyond the vocabulary, or the
/// device fails.
pub fn understand(model: &TrainModel, batch: &Understanding) -> Result<Outcome> {
    let encoded = Encoded::new(model, batch.images)?;
    let n_images = encoded.n_images;
    if batch.prompts.len() != n_images || batch.answers.len() != n_images {
        let (n_prompts, n_answers) = (batch.prompts.len(), batch.answers.len());
        candle_core::bail!("{n_prompts} prompts and {n_answers} answers for {n_images} images");
    }
    let (mut packing, mut rows, mut learnt, mut behind) = (Packing::default(), Vec::new(), Vec::new(), Vec::new());
    for (image, (prompt, answer)) in batch.prompts.iter().zip(batch.answers).enumerate() {
        let (Some((_, read)), false) = (answer.split_last(), prompt.after.is_empty()) else {
            candle_core::bail!("question {image} has an empty answer, or ends with its image")
        };
        let (before, after) = (Part::Text(&prompt.before), Part::Text(&prompt.after));
        let [_, _, asked, place] = packing.sequence([before, encoded.part(image), after, Part::Text(read)]);
        behind.push((prompt, asked.start));
        // A token is predicted by the position before it.
        for earlier in batch.earlier.get(image).into_iter().flatten() {
            let Some(ids) = prompt.after.get(earlier.clone()) else {
                candle_core::bail!("an answer at {earlier:?} of {} tokens of question {image}", prompt.after.len())
            };
            rows.extend((asked.start - 1..).skip(earlier.start).take(ids.len()));
            learnt.extend_from_slice(ids);
        }
        rows.extend(place.start - 1..place.end);
        learnt.extend_from_slice(answer);
    }
    let (hidden, watched) = packing.run(model, &[&encoded.embeddings])?;
    let hidden = hidden.index_select(&indices(rows, model.device())?, 0)?;
    let answers = indices(learnt, model.device())?;
    let loss = candle_nn::loss::cross_entropy(&model.llm.logits(&hidden)?, &answers)?;
    Ok(Outcome { loss, shown: Some(encoded.shown), conditions: None, named: named(&watched, behind.into_iter())? })
}

/// Images as the language model is shown them, `[B·N, H]` in raster order, without a question: for readouts alone.
///
/// # Errors
/// When shapes do not fit, or the device fails.
pub fn shown(model: &TrainModel, images: Images) -> Result<Tensor> {
    Ok(Encoded::new(model, images)?.shown)
}

/// Images as the language model reads them.
struct Encoded {
    /// `[B·(K + places), H]`, any buffers first.
    embeddings: Tensor,
    /// The same without buffers.
    shown: Tensor,
    n_images: usize,
    n_buffers: u32,
}

impl Encoded {
    fn new(model: &TrainModel, images: Images) -> Result<Self> {
        match images {
            Images::Siglip(pixels) => {
                let embeddings = model.siglip_proj.forward(&model.siglip.forward_packed(pixels)?)?;
                Ok(Self { shown: embeddings.clone(), embeddings, n_images: pixels.dim(0)?, n_buffers: 0 })
            }
            Images::Mar { grid, latents } => {
                let whole = encode_whole(model, latents, grid, INPUT_GRADIENT)?;
                let (n_images, n_buffers) = (latents.dim(0)?, model.encoder.n_buffers() as u32);
                Ok(Self { shown: whole.places()?, embeddings: whole.z_full, n_images, n_buffers })
            }
        }
    }

    fn part(&self, image: usize) -> Part<'static> {
        let n_rows = (self.embeddings.dims()[0] / self.n_images) as u32;
        let (first_row, n_buffers) = (image as u32 * n_rows, self.n_buffers);
        Part::BuffersLast { first_row, n_buffers, n_places: n_rows - n_buffers }
    }
}
