//! What the model draws at this moment for prompts that training never sees.

use unipic_imaging::Rgb8;
use unipic_models::diffusion::HeadStep;
use unipic_models::generation::{Generation, GuidanceSchedule, ImageGrid, Settings, SynthesisModel, probe_rows};
use unipic_models::prompt::{generate, generate_unconditional};
use unipic_models::qwen2::{self, CacheUse, Run};
use unipic_models::vae;
use unipic_nn::{KvCache, Ops};
use unipic_weights::config::ModelConfig;

use super::feed::Feed;
use crate::TrainError;
use crate::parameters::Parameters;
use crate::pixels::{grid, picture};

/// The networks, for drawing.
struct Artist {
    synthesis: SynthesisModel,
    llm: qwen2::Model,
    decoder: vae::Decoder,
    grid: ImageGrid,
}

/// What the source has to show, drawn; nothing where it has no prompts.
///
/// # Errors
/// When the model fails.
pub(super) fn sheet(
    parameters: &Parameters,
    config: &ModelConfig,
    feed: &Feed<'_>,
) -> Result<Option<Rgb8>, TrainError> {
    let (prompts, columns) = feed.source().prompts_to_show();
    if prompts.is_empty() {
        return Ok(None);
    }
    let build = parameters.build(Ops::Inference, &[]);
    let artist = Artist {
        synthesis: SynthesisModel::load(&build, config)?,
        llm: qwen2::Model::load(&build, &config.llm)?,
        decoder: vae::Decoder::load(&build, &config.vae)?,
        grid: feed.grid(),
    };
    let unconditional = artist.prefill(&feed.ids(&generate_unconditional(None))?)?;
    let mut pictures = Vec::with_capacity(prompts.len());
    for (number, prompt) in prompts.iter().enumerate() {
        let prompt = artist.prefill(&feed.ids(&generate(prompt))?)?;
        pictures.push(artist.draw(&[prompt, unconditional.clone()], (number % columns) as u64)?);
    }
    Ok(Some(grid(&pictures, columns)))
}

impl Artist {
    fn prefill(&self, ids: &[u32]) -> Result<KvCache, TrainError> {
        let mut cache = self.llm.new_cache();
        let x = self.llm.embed(ids)?;
        self.llm.forward(&x, &mut [Run { n_rows: ids.len(), cache: CacheUse::Append(&mut cache) }])?;
        Ok(cache)
    }

    /// One picture behind the two branches' prompts.
    fn draw(&self, prompts: &[KvCache; 2], seed: u64) -> Result<Rgb8, TrainError> {
        let settings = Settings {
            grid: self.grid,
            iterations: 12,
            head_steps: 25,
            guidance_scale: 3.0,
            guidance_schedule: GuidanceSchedule::Constant,
            temperature: 1.0,
            seed,
            first_image: 0,
            n_images: 1,
        };
        let failed = |e: unipic_models::generation::GenerationError| TrainError::Data(e.to_string());
        let mut generation = Generation::seeded(settings, None).map_err(failed)?;
        while let Some(iteration) = generation.next() {
            let encoded = self.synthesis.encode(&generation.encode_inputs(&iteration))?;
            let rows = probe_rows(&encoded, 2)?;
            let n_rows = rows.dim(0)? / 2;
            let mut runs: Vec<Run> = prompts.iter().map(|cache| Run { n_rows, cache: CacheUse::Read(cache) }).collect();
            let hidden = self.llm.forward(&rows, &mut runs)?;
            let inputs = generation.decode_inputs(&iteration, &encoded, &hidden).map_err(failed)?;
            let decoded = self.synthesis.decode(&inputs)?;
            let mut state = generation.head_state(&iteration, &decoded).map_err(failed)?;
            while let Some(head_step) = state.next_step() {
                let noise = generation.head_noise(&iteration, head_step).map_err(failed)?;
                self.synthesis.head.step(&mut [HeadStep { state: &mut state, noise: &noise }])?;
            }
            generation.reveal(&iteration, state.x()).map_err(failed)?;
        }
        let pixels = self.decoder.decode(&generation.latents(self.synthesis.device())?)?;
        picture(&pixels.get(0)?)
    }
}
