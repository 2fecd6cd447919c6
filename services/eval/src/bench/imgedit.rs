//! ImgEdit-Bench (Ye et al. 2025, arXiv 2505.20275), the basic suite of single-turn edits in nine kinds.
//!
//! Its scorer takes the edits' JSON file, the folder of originals and a folder of results, in which it opens `<id>.png` for
//! each entry of the file, and shows original and result to a vision-language model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Report;
use super::lines::{check_name, check_prompt, source_image};
use super::prepared::{Told, first, keep_or_make, read_source};
use crate::manifest::sha256;
use crate::{Artist, Editing, EvalError, Progress, Run, files, jobs, seed_of};

/// A run over ImgEdit-Bench.
#[derive(Debug, Clone, PartialEq)]
pub struct ImgEdit {
    /// The edits, `singleturn.json` (`basic_edit.json` in newer copies): `{id: {prompt, id: path, edit_type}}`.
    pub edits: PathBuf,
    /// The folder of the originals, below which the entries' paths are.
    pub originals: PathBuf,
    /// Folder, seed and sampling.
    pub run: Run,
}

/// An entry of the file.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    prompt: String,
    #[serde(rename = "id")]
    image: String,
    edit_type: String,
}

/// An entry that was found good.
struct Item {
    key: String,
    entry: Entry,
    source: PathBuf,
}

/// Nothing but the run's own parameters changes an image.
#[derive(Serialize)]
struct Extra {}

/// Makes every entry's edit.
///
/// # Errors
/// As [`geneval`](crate::bench::geneval)'s.
pub async fn run(config: &ImgEdit, artist: &impl Artist, progress: &Progress<'_>) -> Result<Report, EvalError> {
    let told = Told::by(artist, &config.run).await?;
    let items = read(config, told.max_prompt_bytes)?;
    let hash = sha256([files::read(&config.edits)?.as_slice()]);
    let folder = told.claim("imgedit", &config.run, Extra {}, hash)?;
    let jobs = first(items, config.run.limit).into_iter().map(|item| (item.key.clone(), item)).collect();
    let (folder, settings) = (&folder, &told.settings);
    let work = |item: Item| {
        let seed = seed_of(config.run.seed, &item.key, 0);
        keep_or_make(folder, PathBuf::from(format!("{}.png", item.key)), async move {
            let source = read_source(item.source).await?;
            let settings = settings.clone();
            Ok(artist.edit(Editing { source, instruction: item.entry.prompt, seed, settings }).await?)
        })
    };
    let (_, outcome) = jobs::run(jobs, config.run.in_flight, progress, work).await?;
    let next = format!(
        "Score with ImgEdit's own basic_bench.py --result_img_folder {} --edit_json {} --origin_img_root {}.",
        config.run.out.display(),
        config.edits.display(),
        config.originals.display()
    );
    told.report("imgedit", folder, "", outcome, next)
}

/// The entries: those with a number for a key by number, then the others.
fn read(config: &ImgEdit, max_prompt_bytes: u32) -> Result<Vec<Item>, EvalError> {
    let wrong = |place: String, problem: String| EvalError::Input { path: config.edits.clone(), place, problem };
    let text = files::read_text(&config.edits)?;
    let entries: BTreeMap<String, Value> =
        serde_json::from_str(&text).map_err(|error| wrong(format!("line {}", error.line()), error.to_string()))?;
    if entries.is_empty() {
        return Err(wrong("line 1".to_owned(), "no edits; `{id: {prompt, id, edit_type}}` was expected".to_owned()));
    }
    let mut items = Vec::new();
    for (key, value) in entries {
        let item = item(&key, value, &config.originals, max_prompt_bytes);
        items.push(item.map_err(|problem| wrong(format!("entry `{key}`"), problem))?);
    }
    items.sort_by_cached_key(|item| (item.key.parse::<u64>().unwrap_or(u64::MAX), item.key.clone()));
    Ok(items)
}

fn item(key: &str, value: Value, originals: &Path, max_prompt_bytes: u32) -> Result<Item, String> {
    let entry: Entry = serde_json::from_value(value).map_err(|error| error.to_string())?;
    check_name("key", key)?;
    check_prompt(&entry.prompt, max_prompt_bytes)?;
    if entry.edit_type.is_empty() {
        return Err("`edit_type` is empty; the scorer picks its question by it".to_owned());
    }
    let source = source_image(originals, &entry.image)?;
    Ok(Item { key: key.to_owned(), entry, source })
}
