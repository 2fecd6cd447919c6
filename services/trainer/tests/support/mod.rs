//! A recipe of seconds, and runs of it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use unipic_trainer::{Options, Recipe, StepReport, TrainError, run};

/// All parts at sizes that train in milliseconds a step, on pictures of 2×2 places.
const MODEL: &str = r#"
seed = 7
[model]
name = "short"
[model.vae]
ch = 16
ch_mult = [1, 1, 1, 1, 2]
num_res_blocks = 1
z_channels = 16
embed_dim = 16
scale = 1.0
norm_groups = 4
[model.mar]
embed_dim = 48
depth = 2
num_heads = 4
mlp_ratio = 4
img_size = 32
vae_stride = 16
buffer_size = 4
diffloss_d = 2
diffloss_w = 64
num_sampling_steps = 20
[model.llm]
vocab_size = 512
max_position_embeddings = 4096
hidden_size = 64
intermediate_size = 160
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
rms_norm_eps = 1e-6
rope_theta = 1e6
tie_word_embeddings = true
[model.siglip]
hidden_size = 48
intermediate_size = 112
num_hidden_layers = 2
num_attention_heads = 4
image_size = 32
patch_size = 16
"#;

const AUTOENCODER: &str = r#"
[[stages]]
name = "autoencoder"
steps = 8
batch = 4
micro_batch = 2
train = ["vae"]
learning_rate = 2e-3
warm_up = 0.1
ema = 0.9
save_every = 3
[stages.autoencoder]
resolution = 32
crop = 32
kl = 1e-5
"#;

const JOINT: &str = r#"
[[stages]]
name = "joint"
steps = 8
batch = 8
micro_batch = 2
train = ["mar", "projectors", "llm", "siglip2", "siglip2-proj"]
learning_rate = 2e-3
warm_up = 0.1
ema = 0.9
weight_decay = 0.02
dropout = 0.1
save_every = 3
[stages.joint]
resolution = 32
head_draws = 2
mix = { understanding = 0.25, generation = 0.5, editing = 0.25 }
loss_weights = { understanding = 1.0, generation = 1.0, editing = 1.0 }
"#;

/// An autoencoder's stage and a joint one, of so many steps each.
pub(crate) fn recipe(steps: usize) -> Recipe {
    let mut recipe = Recipe::parse(&[MODEL, AUTOENCODER, JOINT].concat()).unwrap();
    recipe.stages.iter_mut().for_each(|stage| stage.steps = steps);
    recipe
}

/// The first or the second stage of [`recipe`] alone.
pub(crate) fn only(stage: usize, steps: usize) -> Recipe {
    let mut recipe = recipe(steps);
    recipe.stages = vec![recipe.stages.swap_remove(stage)];
    recipe
}

/// Runs a recipe in a folder; `look` hears of every step and says whether to stop.
pub(crate) fn train(
    recipe: &Recipe,
    folder: &Path,
    n_threads: usize,
    mut look: impl FnMut(&StepReport) -> bool,
) -> Result<PathBuf, TrainError> {
    let stop = AtomicBool::new(false);
    let mut on_step = |report: &StepReport| stop.store(look(report), Ordering::Relaxed);
    let folder = folder.to_owned();
    run(recipe, Options { folder, n_threads, device: Device::Cpu, sheet_every: 0, stop: &stop, on_step: &mut on_step })
}

/// Every file of a folder, by name.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}
