//! GEdit-Bench (Liu et al. 2025, arXiv 2504.17761): edits that people asked for, in English and Chinese.
//!
//! Its scorer goes through `fullset/<task_type>/<en|cn>/`, reads `<key>_SRCIMG.png` (the source) and `<key>.png` (the
//! result), resizes the result to the source's size and shows both to a vision-language model.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unipic_imaging::{DecodeLimits, Format, Rgb8, centre_crop_to_aspect, decode, encode};

use super::Report;
use super::lines::{Line, check_name, check_prompt, json_lines, source_image, wrong};
use super::prepared::{Told, first, is_there, read_source};
use crate::files::{self, Folder};
use crate::jobs::{self, Done, Lost};
use crate::manifest::sha256;
use crate::{Artist, Editing, EvalError, Progress, Run, Settings, seed_of};

/// How the benchmark's dataset, which comes as parquet, is turned into what is read here.
pub const EXPORT: &str = r#"The dataset is published as parquet files. Export it once, with Python's `datasets`:

  import json, os
  from datasets import load_dataset
  os.makedirs("gedit/images", exist_ok=True)
  with open("gedit/prompts.jsonl", "w", encoding="utf-8") as out:
      for row in load_dataset("stepfun-ai/GEdit-Bench", split="train"):
          name = f"images/{row['key']}.png"
          row["input_image"].convert("RGB").save(f"gedit/{name}")
          kept = {k: row[k] for k in ("key", "task_type", "instruction", "instruction_language")}
          out.write(json.dumps({**kept, "image": name}, ensure_ascii=False) + "\n")

and give gedit/prompts.jsonl. Image paths are relative to that file's folder."#;

/// The groups that the scorer goes through.
const TASK_TYPES: [&str; 11] = [
    "background_change",
    "color_alter",
    "material_alter",
    "motion_change",
    "ps_human",
    "style_change",
    "subject-add",
    "subject-remove",
    "subject-replace",
    "text_change",
    "tone_transfer",
];

/// A run over GEdit-Bench.
#[derive(Debug, Clone, PartialEq)]
pub struct GEdit {
    /// The exported rows (see [`EXPORT`]).
    pub prompts: PathBuf,
    /// The size of the result beside the size of the source.
    pub fit: Fit,
    /// Folder, seed and sampling.
    pub run: Run,
}

/// The size of an edit's result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// The size of the settings, whatever the source's aspect: the source is centre-cropped, as the released script does.
    /// The scorer sees the whole source, and the result stretched to its aspect.
    #[default]
    Fixed,
    /// As [`Fit::Fixed`], and the scorer sees the part of the source that the model saw.
    FixedCropped,
    /// The source's aspect, as nearly as multiples of the stride allow, with about as many pixels as the settings' size.
    SourceAspect,
}

/// A row of the export.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    key: String,
    task_type: String,
    instruction: String,
    instruction_language: String,
    image: String,
}

/// A row that was found good.
struct Item {
    row: Row,
    source: PathBuf,
}

#[derive(Serialize)]
struct Extra {
    fit: Fit,
}

/// Makes every row's edit.
///
/// # Errors
/// As [`geneval`](crate::bench::geneval)'s.
pub async fn run(config: &GEdit, artist: &impl Artist, progress: &Progress<'_>) -> Result<Report, EvalError> {
    let told = Told::by(artist, &config.run).await?;
    let items = read(&config.prompts, told.max_prompt_bytes)?;
    let hash = sha256([files::read(&config.prompts)?.as_slice()]);
    let folder = told.claim("gedit", &config.run, Extra { fit: config.fit }, hash)?;
    let jobs = first(items, config.run.limit).into_iter().map(|item| (stem(&item.row), item)).collect();
    let (folder, told) = (&folder, &told);
    let work = |item| edit(config, artist, told, folder, item);
    let (_, outcome) = jobs::run(jobs, config.run.in_flight, progress, work).await?;
    let next = format!(
        "Score with GEdit-Bench's own scripts, run for each language and group of `{}`.",
        folder.path("fullset").display()
    );
    told.report("gedit", folder, "fullset", outcome, next)
}

/// The path of a row's files up to their endings.
fn stem(row: &Row) -> String {
    format!("fullset/{}/{}/{}", row.task_type, row.instruction_language, row.key)
}

/// Makes both files of a row, the result last: where it is, the source is too.
async fn edit(
    config: &GEdit,
    artist: &impl Artist,
    told: &Told,
    folder: &Folder,
    item: Item,
) -> Result<Done<()>, Lost> {
    let stem = stem(&item.row);
    let (result, shown) = (PathBuf::from(format!("{stem}.png")), PathBuf::from(format!("{stem}_SRCIMG.png")));
    if is_there(folder, &result).await? && is_there(folder, &shown).await? {
        return Ok(Done::Kept(()));
    }
    let source = read_source(item.source).await?;
    let image = decode(&source, &DecodeLimits::default()).map_err(|error| Lost::Item(error.to_string()))?;
    let settings = fitted(config.fit, &told.settings, &image, told.model.stride.max(1));
    let scored = match config.fit {
        Fit::FixedCropped => centre_crop_to_aspect(&image, settings.width, settings.height).0,
        Fit::Fixed | Fit::SourceAspect => image,
    };
    let scored = encode(&scored, Format::Png, &[]).map_err(EvalError::from)?;
    let seed = seed_of(config.run.seed, &stem, 0);
    let picture = artist.edit(Editing { source, instruction: item.row.instruction, seed, settings }).await?;
    folder.write_later(shown, scored).await?;
    folder.write_later(result, picture.png).await?;
    Ok(Done::Made(()))
}

/// The settings with the size that an edit of `image` has.
fn fitted(fit: Fit, settings: &Settings, image: &Rgb8, stride: u32) -> Settings {
    if fit != Fit::SourceAspect {
        return settings.clone();
    }
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let pixels = f64::from(settings.width) * f64::from(settings.height);
    let factor = (pixels / (width * height)).sqrt();
    // Rounded down, so that no limit on the settings' own size is passed.
    let side = |length: f64| ((length * factor / f64::from(stride)).floor().max(1.0) as u32).saturating_mul(stride);
    let (mut width, mut height) = (side(width), side(height));
    // A strip is thinner than a place can be; what it is too thick by, it is made shorter by.
    let (shorter, longer) = if width < height { (&mut width, &mut height) } else { (&mut height, &mut width) };
    let most = (pixels / f64::from(*shorter) / f64::from(stride)).floor().max(1.0) as u32;
    *longer = (*longer).min(most.saturating_mul(stride));
    Settings { width, height, ..settings.clone() }
}

fn read(path: &Path, max_prompt_bytes: u32) -> Result<Vec<Item>, EvalError> {
    let lines: Vec<Line<Row>> = json_lines(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut seen = HashSet::new();
    let mut items = Vec::new();
    for line in lines {
        let source = check(&line.value, folder, max_prompt_bytes).map_err(|p| wrong(path, line.number, p))?;
        if !seen.insert(stem(&line.value)) {
            let problem = format!("`{}` was on an earlier line; its file would be overwritten", stem(&line.value));
            return Err(wrong(path, line.number, problem));
        }
        items.push(Item { row: line.value, source });
    }
    Ok(items)
}

fn check(row: &Row, folder: &Path, max_prompt_bytes: u32) -> Result<PathBuf, String> {
    check_name("key", &row.key)?;
    check_prompt(&row.instruction, max_prompt_bytes)?;
    if !TASK_TYPES.contains(&row.task_type.as_str()) {
        let known = TASK_TYPES.join(", ");
        return Err(format!("the task_type `{}` is none that the scorer reads ({known})", row.task_type));
    }
    if !["en", "cn"].contains(&row.instruction_language.as_str()) {
        return Err(format!("the instruction_language `{}` is neither `en` nor `cn`", row.instruction_language));
    }
    source_image(folder, &row.image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;

    #[test]
    fn a_fitted_size_has_the_sources_aspect_and_no_more_pixels() {
        let settings = Settings {
            width: 512,
            height: 512,
            iterations: 1,
            head_steps: 1,
            guidance: 1.0,
            schedule: Schedule::Constant,
            temperature: 1.0,
            negative: String::new(),
        };
        for (size, wanted) in [((512, 512), (512, 512)), ((1000, 500), (720, 352)), ((1, 3000), (16, 16384))] {
            let image = Rgb8::filled(size.0, size.1, [0; 3]);
            let got = fitted(Fit::SourceAspect, &settings, &image, 16);
            assert_eq!((got.width, got.height), wanted);
            let kept = fitted(Fit::Fixed, &settings, &image, 16);
            assert_eq!((kept.width, kept.height), (512, 512));
        }
    }
}
