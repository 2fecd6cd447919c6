//! Runs on rows of JSON and image files.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use support::{files, only, recipe, train};
use unipic_imaging::{Format, Rgb8, encode};
use unipic_trainer::{Recipe, TrainError};
use unipic_world::{Difficulty, Sampler, Split};

/// Rows of all three forms over pictures of the shapes world, and some of no use: lines 1 to 15 are good but for line 4,
/// whose picture is none; then come two that are told when they are read.
fn rows(folder: &Path) -> PathBuf {
    let sampler = Sampler::new(1, Difficulty::default(), Split::Train);
    let write = |name: &str, picture: &Rgb8| {
        std::fs::write(folder.join(name), encode(picture, Format::Png, &[]).unwrap()).unwrap();
    };
    let mut lines = Vec::new();
    for index in 0..5 {
        let edit = sampler.edit(index);
        let names = ["before", "after"].map(|what| format!("{what}-{index}.png"));
        write(&names[0], &edit.before.draw(40));
        write(&names[1], &edit.after.draw(40));
        let caption = sampler.generation(index).prompt;
        let said = [("user", "what is it?"), ("assistant", "a picture"), ("user", "sure?"), ("assistant", "yes")];
        let said = said.map(|(role, text)| serde_json::json!({ "role": role, "text": text }));
        lines.push(serde_json::json!({ "image": names[0], "caption": caption }).to_string());
        lines.push(serde_json::json!({ "image": names[1], "conversation": said }).to_string());
        let edit = serde_json::json!({ "source": names[0], "instruction": edit.instruction, "target": names[1] });
        lines.push(edit.to_string());
    }
    std::fs::write(folder.join("none.png"), b"no picture").unwrap();
    lines[3] = r#"{"image": "none.png", "caption": "nothing"}"#.into();
    lines.extend(["{".to_owned(), r#"{"image": "gone.png", "caption": "a star"}"#.into(), String::new()]);
    let path = folder.join("rows.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn over(mut recipe: Recipe, rows: &Path) -> Recipe {
    recipe.stages.iter_mut().for_each(|stage| stage.rows = Some(rows.to_owned()));
    recipe
}

#[test]
fn rows_of_all_forms_are_learnt_from_and_bad_ones_are_told() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recipe = over(recipe(6), &rows(data.path()));
    let mut seen = Vec::new();
    let model = train(&recipe, folder.path(), 2, |report| {
        seen.push((report.stage, report.bad_rows.clone(), report.losses.clone()));
        false
    });
    let model = files(&model.unwrap());
    assert_eq!(seen[0].1["unparsable"], 1);
    assert_eq!(seen[0].1["missing_file"], 1);
    let (_, counts, losses) = seen.last().unwrap();
    assert_eq!(counts["undecodable"], 1);
    assert_eq!(losses.keys().collect::<Vec<_>>(), ["editing", "generation", "understanding"]);
    let listed = std::fs::read_to_string(folder.path().join("bad-rows.jsonl")).unwrap();
    let listed: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for stage in 0..2 {
        let lines = listed.iter().filter(|row| row["stage"] == stage).map(|row| (&row["line"], &row["reason"]));
        let mut lines: Vec<_> =
            lines.map(|(line, reason)| (line.as_u64().unwrap(), reason.as_str().unwrap())).collect();
        lines.sort_unstable();
        assert_eq!(lines, [(4, "undecodable"), (16, "unparsable"), (17, "missing_file")], "stage {stage}");
    }
    // The same whatever the threads, and through an interruption.
    let folder = tempfile::tempdir().unwrap();
    train(&recipe, folder.path(), 1, |report| (report.stage, report.step) == (1, 2)).unwrap_err();
    assert!(files(&train(&recipe, folder.path(), 3, |_| false).unwrap()) == model);
}

#[test]
fn rows_that_changed_are_refused() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rows = rows(data.path());
    let recipe = over(only(0, 3), &rows);
    train(&recipe, folder.path(), 1, |report| report.step == 1).unwrap_err();
    let text = std::fs::read_to_string(&rows).unwrap();
    std::fs::write(&rows, text.replace("sure?", "really?")).unwrap();
    let error = train(&recipe, folder.path(), 1, |_| false).unwrap_err();
    assert!(matches!(&error, TrainError::Resume { .. }) && error.to_string().contains("other rows"), "{error}");
}

#[test]
fn files_of_no_use_are_told() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = data.path().join("rows.jsonl");
    let told = |recipe: &Recipe, what: &str| {
        let error = train(recipe, folder.path(), 1, |_| false).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("rows.jsonl"), "{error}");
    };
    let (autoencoder, joint) = (over(only(0, 1), &path), over(only(1, 1), &path));
    told(&autoencoder, "stage `autoencoder`: rows: ");
    told(&autoencoder, "No such file");
    std::fs::write(&path, "{}\n[]\n").unwrap();
    told(&autoencoder, r#"{"unparsable": 2}; line 1"#);
    std::fs::write(data.path().join("none.png"), b"no picture").unwrap();
    std::fs::write(&path, r#"{"image": "none.png", "caption": "nothing"}"#).unwrap();
    told(&joint, "`source`, `target` and `instruction`");
    told(&autoencoder, "no picture of");
}

#[test]
fn every_stage_is_judged_before_the_first_one_trains() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = rows(data.path());
    let mut recipe = recipe(2);
    let mut refused = |later: PathBuf, parts: &[&str]| {
        recipe.stages[0].rows = Some(path.clone());
        recipe.stages[1].rows = Some(later);
        let never = |_: &unipic_trainer::StepReport| unreachable!("a step was taken");
        let said = train(&recipe, folder.path(), 1, never).unwrap_err().to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let here = std::env::current_dir().unwrap();
    let missing = format!("rows: `none/rows.jsonl` (relative to {}): No such file", here.display());
    refused("none/rows.jsonl".into(), &["stage `joint`", &missing]);
    let captions = data.path().join("captions.jsonl");
    std::fs::write(&captions, r#"{"image": "before-0.png", "caption": "a star"}"#).unwrap();
    refused(captions.clone(), &["stage `joint`: rows: ", "captions.jsonl has no good row with `source`"]);
    // One file for both.
    std::fs::write(&path, std::fs::read_to_string(&captions).unwrap()).unwrap();
    refused(path.clone(), &["stage `joint`: rows: ", "rows.jsonl has no good row with `source`"]);
}
