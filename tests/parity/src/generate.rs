//! `t2i_*`: text to image.

use anyhow::{Result, ensure};
use serde::Deserialize;
use unipic_models::generation::ImageGrid;
use unipic_models::prompt;

use crate::case::Case;
use crate::flow::{Flow, FlowSettings, Schedule};
use crate::subject::Subject;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prompt: String,
    prompt_prefix: String,
    cfg_prompt: String,
    n: usize,
    num_iter: usize,
    cfg: f64,
    cfg_schedule: Schedule,
    temperature: f64,
    image_shape: [usize; 2],
}

/// Checks one case.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check(subject: &Subject, case: &mut Case) -> Result<()> {
    let settings: Settings = case.settings()?;
    let texts = (settings.prompt_prefix.as_str(), settings.cfg_prompt.as_str());
    ensure!(
        texts == ("Generate an image: ", "Generate an image."),
        "the recorded texts {texts:?} are not the published ones"
    );
    let [rows, cols] = settings.image_shape;
    let flow_settings = FlowSettings {
        grid: ImageGrid { rows, cols },
        n_images: settings.n,
        num_iter: settings.num_iter,
        cfg: settings.cfg,
        cfg_schedule: settings.cfg_schedule,
        temperature: settings.temperature,
    };
    let prompts = [prompt::generate(&settings.prompt), prompt::generate_unconditional(None)];
    Flow::start(subject, case, &flow_settings, prompts, None)?.finish(case)
}
