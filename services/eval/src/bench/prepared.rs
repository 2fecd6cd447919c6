//! What all benchmarks do first: ask the model, settle the parameters, claim the folder; and how one image is kept or made.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use unipic_api::pb;

use super::Report;
use crate::files::{Folder, is_whole_png};
use crate::jobs::{Done, Lost};
use crate::manifest::{Manifest, to_json};
use crate::{Artist, EvalError, Outcome, Picture, Run, Settings};

/// Where failures are written, inside the run's folder.
const FAILURES: &str = "failures.json";

/// A model that answered and settings that it takes.
pub(crate) struct Told {
    pub(crate) model: pb::GetModelResponse,
    pub(crate) settings: Settings,
    /// Bytes of a prompt; 0 is no limit.
    pub(crate) max_prompt_bytes: u32,
    pub(crate) began: Instant,
}

impl Told {
    /// Asks the model and settles the settings.
    pub(crate) async fn by(artist: &impl Artist, run: &Run) -> Result<Self, EvalError> {
        if run.in_flight == 0 {
            return Err(EvalError::setting("in flight", 0, "at least 1"));
        }
        let began = Instant::now();
        let model = artist.model().await.map_err(EvalError::Model)?;
        let settings = run.sampling.resolve(&model)?;
        let max_prompt_bytes = model.limits.unwrap_or_default().max_prompt_bytes;
        Ok(Self { model, settings, max_prompt_bytes, began })
    }

    /// Opens the run's folder and claims it for these parameters. `extra` is whatever else changes an image.
    pub(crate) fn claim(
        &self,
        benchmark: &'static str,
        run: &Run,
        extra: impl Serialize,
        input_sha256: String,
    ) -> Result<Folder, EvalError> {
        #[derive(Serialize)]
        struct Parameters<'a, E> {
            seed: u64,
            label: &'a str,
            #[serde(flatten)]
            settings: &'a Settings,
            #[serde(flatten)]
            extra: E,
        }
        let parameters = Parameters { seed: run.seed, label: &run.label, settings: &self.settings, extra };
        let manifest = Manifest::new(benchmark, &parameters, input_sha256, &self.model)?;
        let folder = Folder::open(&run.out)?;
        manifest.claim(&folder)?;
        Ok(folder)
    }

    /// Writes the failures down and makes the report.
    pub(crate) fn report(
        &self,
        benchmark: &'static str,
        folder: &Folder,
        images: &str,
        outcome: Outcome,
        next: String,
    ) -> Result<Report, EvalError> {
        let failures = folder.path(FAILURES);
        match outcome.is_complete() {
            true if failures.exists() => {
                std::fs::remove_file(&failures).map_err(|source| EvalError::Write { path: failures, source })?
            }
            true => {}
            false => folder.write(FAILURES, &to_json(&outcome)?)?,
        }
        folder.close();
        let seconds = self.began.elapsed().as_secs_f64();
        Ok(Report { benchmark, images: folder.path(images), outcome, seconds, next })
    }
}

/// Keeps an image that is there, or has it made and written.
pub(crate) async fn keep_or_make(
    folder: &Folder,
    relative: PathBuf,
    make: impl Future<Output = Result<Picture, Lost>>,
) -> Result<Done<()>, Lost> {
    if is_there(folder, &relative).await? {
        return Ok(Done::Kept(()));
    }
    let picture = make.await?;
    folder.write_later(relative, picture.png).await?;
    Ok(Done::Made(()))
}

/// Whether a whole image is there; read on a thread that may wait for the disk.
pub(crate) async fn is_there(folder: &Folder, relative: &Path) -> Result<bool, EvalError> {
    let path = folder.path(relative);
    let looked = tokio::task::spawn_blocking(move || is_whole_png(&path)).await;
    looked.map_err(|error| EvalError::Defect(format!("the reader of a file ended badly ({error})")))
}

/// Reads a source image on a thread that may wait for the disk; a file that cannot be read is that item's failure.
pub(crate) async fn read_source(path: PathBuf) -> Result<Vec<u8>, Lost> {
    let read = tokio::task::spawn_blocking(move || crate::files::read(&path)).await;
    let read = read.map_err(|error| EvalError::Defect(format!("the reader of a file ended badly ({error})")))?;
    read.map_err(|error| Lost::Item(error.to_string()))
}

/// The first so many of the prompts, or all.
pub(crate) fn first<T>(mut prompts: Vec<T>, limit: Option<usize>) -> Vec<T> {
    prompts.truncate(limit.unwrap_or(usize::MAX));
    prompts
}
