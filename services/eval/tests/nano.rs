//! The evaluation of the shapes world against an artist whose mistakes are known, and comparisons of two.

#![allow(clippy::unwrap_used, reason = "functions of tests fail by panicking, as tests do")]

mod support;

use std::path::Path;

use support::shapes::Shapes;
use support::{Flat, files, pixels, silent};
use unipic_eval::compare::{self, Compare, Side};
use unipic_eval::nano::{self, Nano, Section};
use unipic_eval::{EvalError, Run, Sampling};
use unipic_world::Difficulty;

fn config(dir: &Path) -> Nano {
    let nano = Nano::new(Difficulty::full(), Run::into(dir.join("out")));
    Nano { per_category: 4, per_edit: 2, per_question: 2, captions: 3, on_sheet: 3, ..nano }
}

#[tokio::test]
async fn a_perfect_artist_is_right_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let artist = Shapes::new(&config, 128, |_| false);
    let report = nano::run(&config, &artist, &silent).await.unwrap();
    assert!(report.is_complete(), "{:?}", report.outcome);
    assert_eq!((report.categories.len(), report.overall), (6, 1.0), "{}", report.markdown());
    assert!(report.categories.values().all(|tally| tally.n == 4));
    assert_eq!((report.edits.kinds.len(), report.edits.all.n, report.edits.all.right), (7, 14, 14));
    assert!(report.edits.untouched_mean_error.unwrap() < 0.5, "{:?}", report.edits);
    assert_eq!((report.questions.len(), report.all_questions.n, report.all_questions.right), (9, 18, 18));
    assert_eq!((report.captions.n, report.captions.right), (3, 3));
    assert_eq!(report.seconds_per_image, Some(2.0));
    assert_eq!(report.confusions, nano::Confusions::default());

    let found = files(&config.run.out);
    for name in ["images/single_object/000.png", "edits/move/001.png", "edits/move/001_source.png", "report.json"] {
        assert!(found.contains(&name.to_owned()), "{name} of {found:?}");
    }
    let sheet = pixels(&config.run.out.join("sheet.png"));
    assert!(sheet.width > 3 * 160 && sheet.height > 13 * 160, "{sheet:?}");
    let table = std::fs::read_to_string(config.run.out.join("report.md")).unwrap();
    assert!(table.contains("| counting | 4 | 1.000 |") && table.contains("weights 5a5a5a5a5a5a;"), "{table}");
    let items = std::fs::read_to_string(config.run.out.join("items.jsonl")).unwrap();
    assert_eq!(items.lines().count(), 24 + 14 + 18 + 3);
}

#[tokio::test]
async fn mistakes_are_counted_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let artist = Shapes::new(&config, 128, |text| text.contains("circle"));
    let (report, items) = nano::run_items(&config, &artist, &silent).await.unwrap();
    assert!(report.is_complete());
    for item in &items {
        assert_eq!(item.right, !item.prompt.contains("circle"), "{item:?}");
        assert!(item.right || !item.said.is_empty());
    }
    let wrong = items.iter().filter(|item| item.section == Section::Drawing && !item.right).count();
    assert!(wrong > 0);
    let confused: usize = report.confusions.count.values().flat_map(|seen| seen.values()).sum();
    assert_eq!(confused, wrong, "an object is missing in each");
    assert!(report.markdown().contains("| number wanted | seen instead |"), "{}", report.markdown());
}

#[tokio::test]
async fn a_second_run_keeps_images_and_more_may_be_added() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Nano { per_question: 0, captions: 0, ..config(dir.path()) };
    let artist = Shapes::new(&config, 128, |_| false);
    config.run.limit = Some(1);
    nano::run(&config, &artist, &silent).await.unwrap();
    config.run.limit = None;
    let report = nano::run(&config, &artist, &silent).await.unwrap();
    assert_eq!((report.outcome.kept, report.outcome.made), (13, 25));
    let report = nano::run(&config, &artist, &silent).await.unwrap();
    assert_eq!((report.outcome.made, report.seconds_per_image), (0, None));
    config.world_seed = 1;
    let error = nano::run(&config, &artist, &silent).await.unwrap_err();
    assert!(matches!(error, EvalError::OtherRun { .. }) && error.to_string().contains("world_seed: 0"), "{error}");
}

#[tokio::test]
async fn a_failure_is_not_a_wrong_picture() {
    let dir = tempfile::tempdir().unwrap();
    let config = Nano { per_edit: 0, per_question: 0, captions: 0, ..config(dir.path()) };
    let known = Shapes::new(&Nano { per_category: 3, ..config.clone() }, 128, |_| false);
    let report = nano::run(&config, &known, &silent).await.unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.outcome.failures.len(), report.overall), (6, 1.0));
    assert!(report.markdown().contains("Not complete: 6 failed"), "{}", report.markdown());
}

#[tokio::test]
async fn pictures_of_nothing_are_wrong_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let config = Nano { per_edit: 1, per_question: 0, captions: 0, ..config(dir.path()) };
    let report = nano::run(&config, &Flat::default(), &silent).await.unwrap();
    assert_eq!((report.overall, report.edits.all.right), (0.0, 0));
    assert!(config.run.out.join("sheet.png").exists());
}

#[tokio::test]
async fn settings_without_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = async |change: fn(&mut Nano), part: &str| {
        let mut config = config(dir.path());
        change(&mut config);
        let said = nano::run(&config, &Flat::default(), &silent).await.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    refused(|c| c.run.sampling.size = Some((32, 48)), "square").await;
    refused(|c| c.run.in_flight = 0, "in flight").await;
    refused(|c| c.difficulty.lattice = 3.0, "lattice").await;
}

fn sides(dir: &Path) -> Compare {
    let side = |label: &str, head_steps| Side {
        label: label.into(),
        sampling: Sampling { head_steps: Some(head_steps), ..Sampling::default() },
    };
    let nano = Nano { per_category: 10, per_edit: 0, per_question: 1, captions: 0, ..config(dir) };
    Compare { nano, a: side("100 steps", 100), b: side("25 steps", 25) }
}

#[tokio::test]
async fn equal_sides_differ_by_nothing_and_the_interval_says_how_sure_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = sides(dir.path());
    let artist = Shapes::new(&config.nano, 128, |_| false);
    let found = compare::run(&config, &artist, &artist, &silent).await.unwrap();
    let all = found.drawings().unwrap();
    assert_eq!((all.n, all.difference), (60, 0.0));
    assert!(all.interval[0] < 0.0 && all.interval[0] > -0.1, "{all:?}");
    assert_eq!((found.pixels.identical, found.pixels.mean_difference), (60, 0.0));
    assert!(found.holds(0.5) && !found.holds(0.001));
    let table = std::fs::read_to_string(config.nano.run.out.join("comparison.md")).unwrap();
    assert!(table.contains("| 100 steps | 25 steps |") && table.contains("all drawn right | 60 |"), "{table}");
    assert!(config.nano.run.out.join("a/report.json").exists() && config.nano.run.out.join("b/sheet.png").exists());
}

#[tokio::test]
async fn a_worse_side_is_told_and_does_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    let config = sides(dir.path());
    let good = Shapes::new(&config.nano, 128, |_| false);
    let bad = Shapes::new(&config.nano, 128, |text| text.contains("star") || text.contains("cross"));
    let found = compare::run(&config, &good, &bad, &silent).await.unwrap();
    let all = found.drawings().unwrap();
    assert!(all.difference < -0.2 && all.interval[1] < 0.0 && all.only_b == 0, "{all:?}");
    assert!(found.pixels.mean_difference > 0.0 && found.pixels.identical < 60);
    assert!(!found.holds(0.05));
}
