//! DPG-Bench (Hu et al. 2024, arXiv 2403.05135): long prompts, about which a visual question answering model is asked.
//!
//! Its scorer lists a folder, takes each file's name up to the first dot for the prompt's id, and cuts the image into a
//! square of two by two images of `--resolution` pixels, of which it uses the first `--pic-num`. The images go into a folder
//! of their own, so that it finds nothing else there.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Report;
use super::lines::{check_name, check_prompt};
use super::prepared::{Told, first, keep_or_make};
use super::tiles::tile;
use crate::jobs::{self, Lost};
use crate::manifest::sha256;
use crate::{Artist, Drawing, EvalError, Picture, Progress, Run, Settings, files, seed_of};

/// The folder of the images, inside the run's.
const IMAGES: &str = "images";

/// A run over DPG-Bench's prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct Dpg {
    /// The folder of the prompt files, `dpg_bench/prompts` with one `<id>.txt` per prompt.
    pub prompts: PathBuf,
    /// Images per prompt, 1 to 4; the paper's tables have 4. More than one are laid out two by two.
    pub n: u32,
    /// Folder, seed and sampling. Images must be square.
    pub run: Run,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq)]
struct Prompt {
    id: String,
    text: String,
}

#[derive(Serialize)]
struct Extra {
    n: u32,
}

/// Draws every prompt's image of images.
///
/// # Errors
/// As [`geneval`](crate::bench::geneval)'s, and when images are not square.
pub async fn run(config: &Dpg, artist: &impl Artist, progress: &Progress<'_>) -> Result<Report, EvalError> {
    if !(1..=4).contains(&config.n) {
        return Err(EvalError::setting("n", config.n, "from 1 to 4: the scorer cuts an image into at most four"));
    }
    let told = Told::by(artist, &config.run).await?;
    let Settings { width, height, .. } = told.settings;
    if width != height {
        return Err(EvalError::setting("size", format!("{width}x{height}"), "square: the scorer cuts out squares"));
    }
    let prompts = read(&config.prompts, told.max_prompt_bytes)?;
    let texts = prompts.iter().flat_map(|prompt| [prompt.id.as_bytes(), prompt.text.as_bytes()]);
    let folder = told.claim("dpg", &config.run, Extra { n: config.n }, sha256(texts))?;
    let jobs = first(prompts, config.run.limit).into_iter().map(|prompt| (prompt.id.clone(), prompt)).collect();
    let (folder, settings) = (&folder, &told.settings);
    let work = |prompt: Prompt| {
        let path = Path::new(IMAGES).join(format!("{}.png", prompt.id));
        keep_or_make(folder, path, draw(config, artist, settings, prompt))
    };
    let (_, outcome) = jobs::run(jobs, config.run.in_flight, progress, work).await?;
    let next = format!(
        "Score with DPG-Bench's own dpg_bench/compute_dpg_bench.py --image-root-path {} --resolution {width} --pic-num {}.",
        folder.path(IMAGES).display(),
        config.n
    );
    told.report("dpg", folder, IMAGES, outcome, next)
}

/// Draws one prompt's images and lays them out.
async fn draw(config: &Dpg, artist: &impl Artist, settings: &Settings, prompt: Prompt) -> Result<Picture, Lost> {
    let mut pictures = Vec::new();
    for n in 0..config.n {
        let seed = seed_of(config.run.seed, &prompt.id, n);
        let request = Drawing { prompt: prompt.text.clone(), seed, settings: settings.clone() };
        pictures.push(artist.draw(request).await?.png);
    }
    let png = match pictures.len() {
        1 => pictures.swap_remove(0),
        // What the server sent is at fault when its images do not fit together.
        _ => tile(&pictures, 2, 2).map_err(|error| Lost::Item(error.to_string()))?,
    };
    Ok(Picture { png, seconds: None })
}

/// The prompts in the order of their names.
fn read(folder: &Path, max_prompt_bytes: u32) -> Result<Vec<Prompt>, EvalError> {
    let fail = |source| EvalError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let problem = "no prompt here; one `<id>.txt` per prompt was expected".to_owned();
        return Err(EvalError::Input { path: folder.to_owned(), place: "the folder".to_owned(), problem });
    }
    paths.into_iter().map(|path| read_one(&path, max_prompt_bytes)).collect()
}

fn read_one(path: &Path, max_prompt_bytes: u32) -> Result<Prompt, EvalError> {
    let wrong = |place: &str, problem| EvalError::Input { path: path.to_owned(), place: place.to_owned(), problem };
    let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    check_name("id", &id).map_err(|problem| wrong("its name", problem))?;
    if id.contains('.') {
        let problem = format!("the scorer would take `{id}` for the id up to its first dot");
        return Err(wrong("its name", problem));
    }
    let text = files::read_text(path)?.trim().to_owned();
    check_prompt(&text, max_prompt_bytes).map_err(|problem| wrong("line 1", problem))?;
    Ok(Prompt { id, text })
}
