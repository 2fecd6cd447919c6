//! Curation: what is kept, what is dropped and why, and that nothing gets lost.

#![allow(clippy::unwrap_used, reason = "functions of tests fail by panicking, as tests do")]

mod support;

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use support::shapes::Looker;
use support::{silent, write_image};
use unipic_eval::EvalError;
use unipic_eval::curate::{
    self, Curation, EditReward, ImageReward, Reward, RewardError, Row, Score, ShapesReward, THRESHOLD, Task, VqaScore,
};
use unipic_imaging::{Format, encode};
use unipic_world::{Difficulty, EditKind, Sampler, Split};

fn curation(dir: &Path, rows: &str) -> Curation {
    std::fs::create_dir_all(dir.join("data")).unwrap();
    let path = dir.join("data/rows.jsonl");
    std::fs::write(&path, rows).unwrap();
    Curation { rows: path, out: dir.join("out"), threshold: THRESHOLD, in_flight: 3 }
}

fn lines(path: PathBuf) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes pictures of the shapes world, half of them with words that do not fit, and says which fit.
fn corrupted(dir: &Path, n: u64, with_claim: bool) -> (String, Vec<bool>) {
    let sampler = Sampler::new(3, Difficulty::full(), Split::Train);
    std::fs::create_dir_all(dir.join("data")).unwrap();
    let (mut rows, mut fits) = (String::new(), Vec::new());
    for index in 0..n {
        let made = sampler.corrupted(index, 0.5);
        let file = encode(&made.sample.scene.draw(128), Format::Png, &[]).unwrap();
        std::fs::write(dir.join(format!("data/{index}.png")), file).unwrap();
        let mut row = json!({ "image": format!("{index}.png"), "caption": made.sample.prompt });
        if with_claim {
            row["claim"] = serde_json::to_value(&made.sample.claim).unwrap();
            row["caption"] = "whatever".into();
        }
        rows += &format!("{row}\n");
        fits.push(!made.corrupted);
    }
    (rows, fits)
}

#[tokio::test]
async fn the_shapes_reward_keeps_what_fits() {
    for with_claim in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (rows, fits) = corrupted(dir.path(), 60, with_claim);
        let config = curation(dir.path(), &rows);
        let summary = curate::run(&config, &[&ShapesReward], &silent).await.unwrap();
        let n_fit = fits.iter().filter(|fits| **fits).count();
        assert_eq!((summary.rows, summary.kept, summary.bad), (60, n_fit, 0), "{summary:?}");
        assert_eq!(summary.rewards["shapes reward"].histogram[9], n_fit);
        let kept = lines(config.out.join("kept.jsonl"));
        assert!(kept.iter().all(|row| config.out.join(row["image"].as_str().unwrap()).is_file()));
        let dropped = lines(config.out.join("dropped.jsonl"));
        assert_eq!(dropped.len(), 60 - n_fit);
        assert!(dropped.iter().all(|row| !fits[row["line"].as_u64().unwrap() as usize - 1]));
        assert!(dropped[0]["why"].as_str().unwrap().contains("0 is below 0.9"));
        assert!(dropped[0]["scores"][0]["reason"].as_str().unwrap().contains("seen: "), "{}", dropped[0]);
    }
}

#[tokio::test]
async fn the_image_reward_asks_the_published_question() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, fits) = corrupted(dir.path(), 20, false);
    let config = curation(dir.path(), &rows);
    let artist = Looker::default();
    let reward = ImageReward::new(&artist, "looker", 1, 0);
    let summary = curate::run(&config, &[&reward], &silent).await.unwrap();
    assert_eq!(summary.kept, fits.iter().filter(|fits| **fits).count());
    let (question, seed) = artist.asked.lock().unwrap()[0].clone();
    assert!(question.starts_with("Does this figure show ") && question.ends_with('?') && seed.is_none(), "{question}");
}

#[tokio::test]
async fn vqa_score_is_the_probability_of_yes_in_any_spelling() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, fits) = corrupted(dir.path(), 20, false);
    let config = curation(dir.path(), &rows);
    let artist = Looker::default();
    let reward = VqaScore::new(&artist, "looker");
    let summary = curate::run(&config, &[&reward], &silent).await.unwrap();
    let n_fit = fits.iter().filter(|fits| **fits).count();
    assert_eq!(summary.kept, n_fit);
    let mean = (0.95 * n_fit as f64 + 0.04 * (20 - n_fit) as f64) / 20.0;
    assert!((summary.rewards["VQAScore by looker"].mean - mean).abs() < 1e-9, "{summary:?}");
    assert_eq!(artist.asked.lock().unwrap().len(), 20, "one pass a row");
}

#[tokio::test]
async fn several_answers_estimate_the_probability_of_yes() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir.path().join("data/a.png"), 32, 32);
    let config = curation(dir.path(), r#"{"image": "a.png", "caption": "A dog."}"#);
    let artist = Looker { yes_of_ten: 7, ..Looker::default() };
    let reward = ImageReward::new(&artist, "looker", 10, 0);
    let summary = curate::run(&config, &[&reward], &silent).await.unwrap();
    assert!((summary.rewards[&reward.describe()].mean - 0.7).abs() < 1e-9, "{summary:?}");
    assert_eq!((summary.kept, summary.dropped), (0, 1));
    let asked = artist.asked.lock().unwrap();
    assert_eq!(asked[0].0, "Does this figure show a dog?");
    let mut seeds: Vec<_> = asked.iter().map(|(_, seed)| seed.unwrap()).collect();
    seeds.dedup();
    assert_eq!(seeds.len(), 10);
}

#[tokio::test]
async fn each_kind_of_row_has_its_reward() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir.path().join("data/a.png"), 32, 32);
    let rows = [
        r#"{"image": "a.png", "caption": "a dog"}"#,
        r#"{"source": "a.png", "target": "a.png", "instruction": "make it blue"}"#,
        r#"{"image": "a.png", "conversation": [{"role": "user", "text": "what?"}, {"role": "assistant", "text": "a dog"}]}"#,
    ];
    let config = curation(dir.path(), &rows.join("\n"));
    let artist = Looker::default();
    let (images, edits) = (ImageReward::new(&artist, "m", 1, 0), EditReward::new(&artist, "m", 1, 0));
    let summary = curate::run(&config, &[&images, &edits], &silent).await.unwrap();
    assert_eq!((summary.kept, summary.bad), (3, 0), "{summary:?}");
    assert_eq!((summary.rewards[&images.describe()].rows, summary.rewards[&edits.describe()].rows), (2, 1));
    let asked: Vec<String> = artist.asked.lock().unwrap().iter().map(|(text, _)| text.clone()).collect();
    assert!(asked.iter().any(|text| text.contains("make it blue")) && asked.iter().any(|text| text.contains("what?")));
    // A reward that says nothing about a row leaves it unjudged, which is told.
    std::fs::remove_dir_all(&config.out).unwrap();
    let summary = curate::run(&config, &[&edits], &silent).await.unwrap();
    assert_eq!((summary.kept, summary.bad), (1, 2));
    assert!(lines(config.out.join("bad.jsonl"))[0]["problem"].as_str().unwrap().contains("no reward"));
}

#[tokio::test]
async fn edits_of_the_shapes_world_are_judged_by_their_claim() {
    let dir = tempfile::tempdir().unwrap();
    let sampler = Sampler::new(3, Difficulty::full(), Split::Train);
    let mut rows = String::new();
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    for index in 0..4 {
        let edit = sampler.edit_in(EditKind::Recolour, index);
        for (name, scene) in [("before", &edit.before), ("after", &edit.after)] {
            let file = encode(&scene.draw(128), Format::Png, &[]).unwrap();
            std::fs::write(dir.path().join(format!("data/{name}{index}.png")), file).unwrap();
        }
        // Every second edit did nothing.
        let target = if index % 2 == 0 { "after" } else { "before" };
        let claim = serde_json::to_value(&edit.claim_after).unwrap();
        rows += &format!(
            "{}\n",
            json!({ "source": format!("before{index}.png"), "target": format!("{target}{index}.png"),
                    "instruction": edit.instruction, "claim": claim })
        );
    }
    let config = curation(dir.path(), &rows);
    let summary = curate::run(&config, &[&ShapesReward], &silent).await.unwrap();
    assert_eq!((summary.kept, summary.dropped), (2, 2), "{summary:?}");
}

#[tokio::test]
async fn bad_rows_are_counted_and_told_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (good, _) = corrupted(dir.path(), 1, false);
    std::fs::write(dir.path().join("data/text.png"), "text").unwrap();
    let rows = [
        good.trim(),
        "nonsense",
        "",
        r#"{"image": "none.png", "caption": "a star"}"#,
        r#"{"image": "text.png", "caption": "a star"}"#,
        r#"{"image": "0.png", "caption": "a photo of a bench"}"#,
        r#"{"source": "0.png", "target": "0.png", "instruction": "x"}"#,
    ];
    let config = curation(dir.path(), &rows.join("\n"));
    let summary = curate::run(&config, &[&ShapesReward], &silent).await.unwrap();
    assert_eq!((summary.rows, summary.kept + summary.dropped, summary.bad), (6, 1, 5), "{summary:?}");
    assert!(summary.is_complete());
    let bad = lines(config.out.join("bad.jsonl"));
    let told: Vec<_> =
        bad.iter().map(|row| (row["line"].as_u64().unwrap(), row["problem"].as_str().unwrap())).collect();
    for ((line, problem), (wanted, part)) in told.iter().zip([
        (2, "no JSON"),
        (4, "there is no image"),
        (5, "text.png"),
        (6, "not in the shapes world's words"),
        (7, "needs the `claim`"),
    ]) {
        assert!(*line == wanted && problem.contains(part), "{line}: {problem}");
    }
}

#[tokio::test]
async fn a_picture_that_is_none_is_a_bad_row_whoever_scores() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir.path().join("data/a.png"), 32, 32);
    std::fs::write(dir.path().join("data/text.png"), "text").unwrap();
    let rows = [
        r#"{"image": "text.png", "caption": "a dog"}"#,
        r#"{"source": "a.png", "target": "text.png", "instruction": "make it blue"}"#,
        r#"{"image": "text.png", "conversation": [{"role": "user", "text": "what?"}, {"role": "assistant", "text": "a dog"}]}"#,
    ];
    let config = curation(dir.path(), &rows.join("\n"));
    let artist = Looker::default();
    let (images, edits) = (ImageReward::new(&artist, "m", 1, 0), EditReward::new(&artist, "m", 1, 0));
    let vqa = VqaScore::new(&artist, "m");
    let summary = curate::run(&config, &[&images, &edits], &silent).await.unwrap();
    assert!(summary.bad == 3 && summary.is_complete(), "{summary:?}");
    assert!(lines(config.out.join("bad.jsonl"))[0]["problem"].as_str().unwrap().contains("text.png"));
    std::fs::remove_dir_all(&config.out).unwrap();
    let summary = curate::run(&config, &[&vqa], &silent).await.unwrap();
    assert!(summary.bad == 3 && summary.is_complete(), "{summary:?}");
    assert!(artist.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_line_that_is_no_text_is_a_bad_row_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (good, _) = corrupted(dir.path(), 1, true);
    let config = curation(dir.path(), "");
    std::fs::write(&config.rows, [b"{\"image\": \"\xff\"}\r\n", good.as_bytes()].concat()).unwrap();
    let summary = curate::run(&config, &[&ShapesReward], &silent).await.unwrap();
    assert_eq!((summary.rows, summary.kept + summary.dropped, summary.bad), (2, 1, 1), "{summary:?}");
    let bad = lines(config.out.join("bad.jsonl"));
    assert!(bad[0]["line"] == 1 && bad[0]["problem"].as_str().unwrap().contains("not UTF-8"), "{bad:?}");
    assert_eq!(bad[0]["text"], "{\"image\": \"\u{fffd}\"}");
}

/// Scores a caption by the number in it.
struct Number;

impl Reward for Number {
    fn describe(&self) -> String {
        "number".into()
    }

    fn score<'a>(&'a self, row: &'a Row) -> BoxFuture<'a, Result<Option<Score>, RewardError>> {
        Box::pin(async move {
            let Task::Caption { caption, .. } = &row.task else { return Ok(None) };
            let value = caption.parse().map_err(|_| RewardError::Scorer(format!("{caption} is down")))?;
            Ok(Some(Score { value, reason: "so it says".into() }))
        })
    }
}

#[tokio::test]
async fn scores_are_kept_for_another_run_and_another_threshold() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir.path().join("data/a.png"), 8, 8);
    let row = |caption: &str| format!("{{\"image\": \"a.png\", \"caption\": \"{caption}\"}}\n");
    let rows: String = ["0.95", "0.9", "0.5", "server"].iter().map(|text| row(text)).collect();
    let mut config = curation(dir.path(), &rows);
    let summary = curate::run(&config, &[&Number], &silent).await.unwrap();
    assert_eq!((summary.kept, summary.dropped, summary.failures.len()), (2, 1, 1));
    assert!(!summary.is_complete());
    assert_eq!(summary.failures[0].item, "line 4");
    assert_eq!(summary.rewards["number"].histogram, [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);

    config.threshold = 0.4;
    let seen = std::sync::Mutex::new(0);
    let count = |step: &unipic_eval::Step<'_>| {
        *seen.lock().unwrap() += usize::from(step.outcome == unipic_eval::StepOutcome::Kept);
    };
    let summary = curate::run(&config, &[&Number], &count).await.unwrap();
    assert_eq!((summary.kept, *seen.lock().unwrap()), (3, 3));
    let error = curate::run(&config, &[&Number, &ShapesReward], &silent).await.unwrap_err();
    assert!(matches!(error, EvalError::OtherRun { .. }), "{error}");
}

#[tokio::test]
async fn scores_beyond_their_range_and_settings_without_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir.path().join("data/a.png"), 8, 8);
    let config = curation(dir.path(), r#"{"image": "a.png", "caption": "7"}"#);
    let summary = curate::run(&config, &[&Number], &silent).await.unwrap();
    assert!(summary.failures[0].error.contains("scored 7"), "{summary:?}");
    let refused = async |config: &Curation, rewards: &[&dyn Reward], part: &str| {
        let said = curate::run(config, rewards, &silent).await.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    refused(&Curation { threshold: f64::NAN, ..config.clone() }, &[&Number], "threshold is NaN").await;
    refused(&Curation { in_flight: 0, ..config.clone() }, &[&Number], "in flight is 0").await;
    refused(&config, &[], "rewards is none").await;
    refused(&Curation { rows: dir.path().join("none"), ..config.clone() }, &[&Number], "none").await;
}
