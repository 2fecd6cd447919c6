//! GenEval (Ghosh et al. 2023, arXiv 2310.11513): does a picture show the objects, counts, colours and positions asked for?
//!
//! Its scorer walks over the folders with numbers for names, reads `metadata.jsonl` (one JSON object, a line of the prompt
//! file) and every `samples/<digits>.png`, and lets a detector decide.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Report;
use super::lines::{Line, check_prompt, json_lines, wrong};
use super::prepared::{Told, first, is_there, keep_or_make};
use super::tiles::tile;
use crate::files::{self, Folder};
use crate::manifest::sha256;
use crate::{Artist, Drawing, EvalError, Progress, Run, jobs, seed_of};

/// A run over GenEval's prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct GenEval {
    /// The prompt file, `evaluation_metadata.jsonl`.
    pub prompts: PathBuf,
    /// Images per prompt; the paper's tables have 4.
    pub n: u32,
    /// Whether `grid.png` with all images of a prompt is made too. No scorer reads it.
    pub grid: bool,
    /// Folder, seed and sampling.
    pub run: Run,
}

/// A line of the prompt file, as far as it is needed; the scorer gets the line as it stands.
#[derive(Debug, Clone, Deserialize)]
struct Prompt {
    tag: String,
    prompt: String,
    include: Vec<Wanted>,
}

/// Something that must be seen.
#[derive(Debug, Clone, Deserialize)]
struct Wanted {
    class: String,
    count: u32,
}

/// What changes an image or the set of images, beside the run's own parameters.
#[derive(Serialize)]
struct Extra {
    n: u32,
}

/// Draws every prompt's images.
///
/// # Errors
/// When the prompt file is bad, the folder holds another run, the model does not answer at all, or a file cannot be
/// written. Images that failed are in the report.
pub async fn run(config: &GenEval, artist: &impl Artist, progress: &Progress<'_>) -> Result<Report, EvalError> {
    if !(1..=100_000).contains(&config.n) {
        return Err(EvalError::setting("n", config.n, "from 1 to 100000"));
    }
    let told = Told::by(artist, &config.run).await?;
    let prompts = read(&config.prompts, told.max_prompt_bytes)?;
    let hash = sha256([files::read(&config.prompts)?.as_slice()]);
    let folder = told.claim("geneval", &config.run, Extra { n: config.n }, hash)?;
    let prompts = first(prompts, config.run.limit);
    for (at, line) in prompts.iter().enumerate() {
        let path = PathBuf::from(folder_of(at)).join("metadata.jsonl");
        if !folder.path(&path).exists() {
            folder.write(path, line.text.as_bytes())?;
        }
    }
    let all = prompts.iter().enumerate().flat_map(|(at, line)| (0..config.n).map(move |n| (at, n, line)));
    let jobs = all.map(|job| (format!("{} sample {}", folder_of(job.0), job.1), job)).collect();
    let (folder, told) = (&folder, &told);
    let work = |(at, n, line): (usize, u32, &Line<Prompt>)| {
        let seed = seed_of(config.run.seed, &folder_of(at), n);
        let request = Drawing { prompt: line.value.prompt.clone(), seed, settings: told.settings.clone() };
        keep_or_make(folder, sample(at, n), async { Ok(artist.draw(request).await?) })
    };
    let (_, outcome) = jobs::run(jobs, config.run.in_flight, progress, work).await?;
    if config.grid {
        for at in 0..prompts.len() {
            grid(folder, at, config.n).await?;
        }
    }
    let next = format!(
        "Score with GenEval's own evaluation/evaluate_images.py on `{}`, then its evaluation/summary_scores.py.",
        config.run.out.display()
    );
    told.report("geneval", folder, "", outcome, next)
}

/// The folder of a prompt, by its place in the file.
fn folder_of(at: usize) -> String {
    format!("{at:05}")
}

fn sample(at: usize, n: u32) -> PathBuf {
    PathBuf::from(folder_of(at)).join("samples").join(format!("{n:05}.png"))
}

/// Makes a prompt's grid, as square as may be, once all its images are there.
async fn grid(folder: &Folder, at: usize, n: u32) -> Result<(), EvalError> {
    let path = PathBuf::from(folder_of(at)).join("grid.png");
    if is_there(folder, &path).await? {
        return Ok(());
    }
    let mut images = Vec::new();
    for n in 0..n {
        if !is_there(folder, &sample(at, n)).await? {
            return Ok(());
        }
        images.push(files::read(&folder.path(sample(at, n)))?);
    }
    let columns = (1..=n).find(|side| side.saturating_mul(*side) >= n).unwrap_or(n);
    folder.write(path, &tile(&images, columns, n.div_ceil(columns))?)
}

fn read(path: &Path, max_prompt_bytes: u32) -> Result<Vec<Line<Prompt>>, EvalError> {
    let lines: Vec<Line<Prompt>> = json_lines(path)?;
    for line in &lines {
        check(&line.value, max_prompt_bytes).map_err(|problem| wrong(path, line.number, problem))?;
    }
    Ok(lines)
}

fn check(prompt: &Prompt, max_prompt_bytes: u32) -> Result<(), String> {
    check_prompt(&prompt.prompt, max_prompt_bytes)?;
    if prompt.tag.is_empty() {
        return Err("`tag` is empty; the scorer sums up by it".to_owned());
    }
    if prompt.include.is_empty() {
        return Err("`include` is empty; there is nothing to look for".to_owned());
    }
    match prompt.include.iter().find(|wanted| wanted.class.is_empty() || wanted.count == 0) {
        Some(wanted) => {
            Err(format!("`include` wants {} of the class `{}`; both must be given", wanted.count, wanted.class))
        }
        None => Ok(()),
    }
}
