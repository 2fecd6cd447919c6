//! The benchmarks' folders, as their scorers read them; and runs that were interrupted, changed or fed with nonsense.

#![allow(clippy::unwrap_used, reason = "functions of tests fail by panicking, as tests do")]

mod support;

use std::path::{Path, PathBuf};

use support::{Flat, files, pixels, silent, write_image};
use unipic_eval::bench::{self, Dpg, Fit, GEdit, GenEval, ImgEdit};
use unipic_eval::{EvalError, Run, Sampling, seed_of};

const GENEVAL: &str = r#"{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
{"tag": "counting", "include": [{"class": "cow", "count": 3}], "exclude": [{"class": "cow", "count": 4}], "prompt": "a photo of three cows"}
"#;

fn geneval(dir: &Path, text: &str) -> GenEval {
    let prompts = dir.join("evaluation_metadata.jsonl");
    std::fs::write(&prompts, text).unwrap();
    GenEval { prompts, n: 2, grid: true, run: Run::into(dir.join("out")) }
}

#[tokio::test]
async fn geneval_has_a_numbered_folder_per_prompt_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = geneval(dir.path(), GENEVAL);
    let artist = Flat::default();
    let report = bench::geneval(&config, &artist, &silent).await.unwrap();
    assert!(report.is_complete() && report.outcome.made == 4, "{report:?}");
    let wanted = [
        "00000/grid.png",
        "00000/metadata.jsonl",
        "00000/samples/00000.png",
        "00000/samples/00001.png",
        "00001/grid.png",
        "00001/metadata.jsonl",
        "00001/samples/00000.png",
        "00001/samples/00001.png",
        "run.json",
    ];
    assert_eq!(files(&config.run.out), wanted);
    let line = std::fs::read_to_string(config.run.out.join("00001/metadata.jsonl")).unwrap();
    assert_eq!(line, GENEVAL.lines().nth(1).unwrap());
    let seed = seed_of(0, "00001", 1);
    assert!(artist.asked.lock().unwrap().contains(&("a photo of three cows".into(), seed, (32, 32))));
    let grid = pixels(&config.run.out.join("00001/grid.png"));
    assert_eq!((grid.width, grid.height), (64, 32));
    let [.., r, g, b] = seed.to_be_bytes();
    assert_eq!(grid.data[32 * 3..32 * 3 + 3], [r, g, b]);
}

#[tokio::test]
async fn an_interrupted_run_goes_on_and_makes_what_a_whole_one_makes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = geneval(dir.path(), GENEVAL);
    config.run.limit = Some(1);
    bench::geneval(&config, &Flat::default(), &silent).await.unwrap();
    let kept = config.run.out.join("00000/samples/00000.png");
    let cut = config.run.out.join("00000/samples/00001.png");
    let whole = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let before = std::fs::metadata(&kept).unwrap().modified().unwrap();

    config.run.limit = None;
    let artist = Flat::default();
    let report = bench::geneval(&config, &artist, &silent).await.unwrap();
    assert_eq!((report.outcome.kept, report.outcome.made, artist.n_asked()), (1, 3, 3));
    assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), before);
    assert_eq!(std::fs::read(&cut).unwrap(), whole);
}

#[tokio::test]
async fn a_failure_is_told_and_does_not_stop_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let config = geneval(dir.path(), GENEVAL);
    let report = bench::geneval(&config, &Flat::failing(&["a photo of a bench"]), &silent).await.unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.outcome.made, report.outcome.failures.len()), (2, 2));
    assert_eq!(report.outcome.failures[1].item, "00000 sample 1");
    let written = std::fs::read_to_string(config.run.out.join("failures.json")).unwrap();
    assert!(written.contains("cannot do `a photo of a bench`"), "{written}");
    // The next run makes what is missing and takes the note away.
    let report = bench::geneval(&config, &Flat::default(), &silent).await.unwrap();
    assert_eq!((report.outcome.made, report.outcome.kept), (2, 2));
    assert!(!config.run.out.join("failures.json").exists());
}

#[tokio::test]
async fn other_parameters_prompts_or_weights_are_not_mixed_in() {
    let dir = tempfile::tempdir().unwrap();
    let config = geneval(dir.path(), GENEVAL);
    bench::geneval(&config, &Flat::default(), &silent).await.unwrap();
    let refused = async |config: &GenEval, artist: &Flat, part: &str| {
        let error = bench::geneval(config, artist, &silent).await.unwrap_err();
        assert!(matches!(error, EvalError::OtherRun { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(artist.n_asked(), 0);
    };
    let mut seed = config.clone();
    seed.run.seed = 1;
    refused(&seed, &Flat::default(), "seed: 0 there, 1 now").await;
    let mut steps = config.clone();
    steps.run.sampling.head_steps = Some(9);
    refused(&steps, &Flat::default(), "head_steps: 5 there, 9 now").await;
    refused(&config, &Flat { weights: "ff".into(), ..Flat::default() }, "weights_sha256").await;
    let changed = geneval(dir.path(), &GENEVAL.replace("three", "3"));
    refused(&changed, &Flat::default(), "prompts' sha256").await;
}

#[tokio::test]
async fn bad_prompt_files_are_refused_with_file_line_and_reason() {
    let good = GENEVAL.lines().next().unwrap();
    let long = "x".repeat(201);
    let long = format!(r#"{{"tag": "a", "include": [{{"class": "b", "count": 1}}], "prompt": "{long}"}}"#);
    let cases: &[(&str, &str)] = &[
        ("", "empty"),
        ("{\"tag\": \"a\"", "EOF"),
        ("[1]", "invalid"),
        (r#"{"tag": "a", "include": [{"class": "b", "count": 1}]}"#, "missing field `prompt`"),
        (r#"{"tag": "a", "include": [{"class": "b"}], "prompt": "c"}"#, "missing field `count`"),
        (r#"{"tag": "a", "include": [{"class": "b", "count": -1}], "prompt": "c"}"#, "-1"),
        (r#"{"tag": "a", "include": [{"class": "b", "count": 0}], "prompt": "c"}"#, "include"),
        (r#"{"tag": "a", "include": [], "prompt": "c"}"#, "include"),
        (r#"{"tag": "", "include": [{"class": "b", "count": 1}], "prompt": "c"}"#, "tag"),
        (r#"{"tag": "a", "include": [{"class": "b", "count": 1}], "prompt": " "}"#, "the prompt is empty"),
        (&long, "201 bytes; the model takes 200"),
    ];
    for (line, part) in cases {
        let dir = tempfile::tempdir().unwrap();
        // The bad line is the second, and a third follows where there is a bad line at all.
        let text = if line.is_empty() { String::new() } else { format!("{good}\n{line}\n{good}\n") };
        let config = geneval(dir.path(), &text);
        let said = bench::geneval(&config, &Flat::default(), &silent).await.unwrap_err().to_string();
        let place = if line.is_empty() { "line 1" } else { "line 2" };
        assert!(said.contains(part) && said.contains(place) && said.contains("evaluation_metadata"), "{line}: {said}");
        assert!(!config.run.out.exists(), "nothing is begun");
    }
    let dir = tempfile::tempdir().unwrap();
    let config = geneval(dir.path(), GENEVAL);
    std::fs::write(&config.prompts, b"{}\n\xff").unwrap();
    let said = bench::geneval(&config, &Flat::default(), &silent).await.unwrap_err().to_string();
    assert!(said.contains("line 2") && said.contains("UTF-8"), "{said}");
    let missing = GenEval { prompts: dir.path().join("none.jsonl"), ..config };
    let said = bench::geneval(&missing, &Flat::default(), &silent).await.unwrap_err().to_string();
    assert!(said.contains("none.jsonl"), "{said}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let good = geneval(dir.path(), GENEVAL);
    let refused = async |config: GenEval, part: &str| {
        let said = bench::geneval(&config, &Flat::default(), &silent).await.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    refused(GenEval { n: 0, ..good.clone() }, "n is 0").await;
    let run = |change: fn(&mut Run)| {
        let mut run = good.run.clone();
        change(&mut run);
        GenEval { run, ..good.clone() }
    };
    refused(run(|r| r.in_flight = 0), "in flight is 0").await;
    refused(run(|r| r.sampling.size = Some((30, 32))), "size is 30x32").await;
}

fn dpg(dir: &Path) -> Dpg {
    let prompts = dir.join("prompts");
    std::fs::create_dir_all(&prompts).unwrap();
    for (id, text) in [("drawtext1", "A sign.\n"), ("COCOval2014000000000042", "Two dogs.")] {
        std::fs::write(prompts.join(format!("{id}.txt")), text).unwrap();
    }
    Dpg { prompts, n: 4, run: Run::into(dir.join("out")) }
}

#[tokio::test]
async fn dpg_has_one_square_of_four_per_prompt_and_nothing_else_beside() {
    let dir = tempfile::tempdir().unwrap();
    let config = dpg(dir.path());
    let artist = Flat::default();
    let report = bench::dpg(&config, &artist, &silent).await.unwrap();
    assert!(report.is_complete());
    assert_eq!(files(&report.images), ["COCOval2014000000000042.png", "drawtext1.png"]);
    assert!(report.next.contains("--resolution 32 --pic-num 4"), "{}", report.next);
    let square = pixels(&report.images.join("drawtext1.png"));
    assert_eq!((square.width, square.height), (64, 64));
    for (n, (x, y)) in [(0, 0), (32, 0), (0, 32), (32, 32)].into_iter().enumerate() {
        let [.., r, g, b] = seed_of(0, "drawtext1", n as u32).to_be_bytes();
        let at = (y * 64 + x) * 3;
        assert_eq!(square.data[at..at + 3], [r, g, b], "sample {n}");
    }
    assert!(artist.asked.lock().unwrap().iter().any(|(prompt, ..)| prompt == "A sign."));
    assert_eq!(bench::dpg(&config, &Flat::default(), &silent).await.unwrap().outcome.kept, 2);
}

#[tokio::test]
async fn dpg_refuses_what_its_scorer_would_misread() {
    let dir = tempfile::tempdir().unwrap();
    let config = dpg(dir.path());
    let refused = async |config: &Dpg, part: &str| {
        let said = bench::dpg(config, &Flat::default(), &silent).await.unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    };
    refused(&Dpg { n: 5, ..config.clone() }, "n is 5").await;
    let mut oblong = config.clone();
    oblong.run.sampling = Sampling { size: Some((32, 48)), ..Sampling::default() };
    refused(&oblong, "square").await;
    refused(&Dpg { prompts: dir.path().join("nowhere"), ..config.clone() }, "nowhere").await;
    refused(&Dpg { prompts: dir.path().to_owned(), ..config.clone() }, "no prompt here").await;
    std::fs::write(config.prompts.join("a.b.txt"), "x").unwrap();
    refused(&config, "first dot").await;
    std::fs::remove_file(config.prompts.join("a.b.txt")).unwrap();
    std::fs::write(config.prompts.join("blank.txt"), "\n").unwrap();
    refused(&config, "the prompt is empty").await;
}

fn gedit_row(key: &str, task: &str, language: &str, image: &str) -> String {
    format!(
        r#"{{"key": "{key}", "task_type": "{task}", "instruction": "edit {key}", "instruction_language": "{language}", "image": "{image}"}}"#
    )
}

fn gedit(dir: &Path, rows: &[String]) -> GEdit {
    write_image(&dir.join("images/a.png"), 60, 40);
    let prompts = dir.join("prompts.jsonl");
    std::fs::write(&prompts, rows.join("\n")).unwrap();
    GEdit { prompts, fit: Fit::Fixed, run: Run::into(dir.join("out")) }
}

#[tokio::test]
async fn gedit_has_source_and_result_by_group_and_language() {
    let dir = tempfile::tempdir().unwrap();
    let rows =
        [gedit_row("k1", "color_alter", "en", "images/a.png"), gedit_row("k2", "subject-add", "cn", "images/a.png")];
    let mut config = gedit(dir.path(), &rows);
    let report = bench::gedit(&config, &Flat::default(), &silent).await.unwrap();
    assert!(report.is_complete());
    let wanted = [
        "color_alter/en/k1.png",
        "color_alter/en/k1_SRCIMG.png",
        "subject-add/cn/k2.png",
        "subject-add/cn/k2_SRCIMG.png",
    ];
    assert_eq!(files(&report.images), wanted);
    let size = |name: &str| {
        let image = pixels(&dir.path().join("out/fullset").join(name));
        (image.width, image.height)
    };
    assert_eq!((size(wanted[0]), size(wanted[1])), ((32, 32), (60, 40)));
    config.fit = Fit::FixedCropped;
    let error = bench::gedit(&config, &Flat::default(), &silent).await.unwrap_err();
    assert!(error.to_string().contains("fit: \"fixed\" there, \"fixed_cropped\" now"), "{error}");
    std::fs::remove_dir_all(&config.run.out).unwrap();
    bench::gedit(&config, &Flat::default(), &silent).await.unwrap();
    assert_eq!(size(wanted[1]), (40, 40));
}

#[tokio::test]
async fn gedit_rows_that_its_scorer_would_miss_are_refused() {
    let good = gedit_row("k", "color_alter", "en", "images/a.png");
    for (bad, part) in [
        (gedit_row("k2", "colour_alter", "en", "images/a.png"), "colour_alter"),
        (gedit_row("k2", "color_alter", "zh", "images/a.png"), "neither `en` nor `cn`"),
        (gedit_row("k2", "color_alter", "en", "images/b.png"), "there is no image"),
        (gedit_row("k2", "color_alter", "en", "../a.png"), "no path below"),
        (gedit_row("k2", "color_alter", "en", "/etc/hostname"), "no path below"),
        (gedit_row("../k2", "color_alter", "en", "images/a.png"), "cannot be a file name"),
        (gedit_row("", "color_alter", "en", "images/a.png"), "cannot be a file name"),
        (good.clone(), "earlier line"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = gedit(dir.path(), &[good.clone(), bad]);
        let said = bench::gedit(&config, &Flat::default(), &silent).await.unwrap_err().to_string();
        assert!(said.contains(part) && said.contains("line 2"), "{said}");
    }
}

#[tokio::test]
async fn a_source_that_is_no_image_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let rows =
        [gedit_row("k1", "color_alter", "en", "images/a.png"), gedit_row("k2", "color_alter", "en", "images/bad.png")];
    std::fs::create_dir_all(dir.path().join("images")).unwrap();
    std::fs::write(dir.path().join("images/bad.png"), "text").unwrap();
    let config = gedit(dir.path(), &rows);
    let report = bench::gedit(&config, &Flat::default(), &silent).await.unwrap();
    assert_eq!((report.outcome.made, report.outcome.failures.len()), (1, 1));
    assert_eq!(report.outcome.failures[0].item, "fullset/color_alter/en/k2");
}

fn imgedit(dir: &Path, text: &str) -> ImgEdit {
    write_image(&dir.join("originals/animal/1.jpg"), 20, 20);
    let edits: PathBuf = dir.join("singleturn.json");
    std::fs::write(&edits, text).unwrap();
    ImgEdit { edits, originals: dir.join("originals"), run: Run::into(dir.join("out")) }
}

#[tokio::test]
async fn imgedit_has_one_result_per_key() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{
        "1082": {"id": "animal/1.jpg", "prompt": "smooth it", "edit_type": "adjust"},
        "68": {"id": "animal/1.jpg", "prompt": "darken it", "edit_type": "adjust"}
    }"#;
    let mut config = imgedit(dir.path(), text);
    config.run.limit = Some(1);
    bench::imgedit(&config, &Flat::default(), &silent).await.unwrap();
    assert_eq!(files(&config.run.out), ["68.png", "run.json"]);
    config.run.limit = None;
    let report = bench::imgedit(&config, &Flat::default(), &silent).await.unwrap();
    assert_eq!((report.outcome.made, report.outcome.kept), (1, 1));
    assert_eq!(files(&config.run.out), ["1082.png", "68.png", "run.json"]);
}

#[tokio::test]
async fn imgedit_names_the_entry_that_is_wrong() {
    let good = r#""1": {"id": "animal/1.jpg", "prompt": "p", "edit_type": "style"}"#;
    for (bad, part) in [
        (r#""7": {"id": "animal/1.jpg", "prompt": "p"}"#, "missing field `edit_type`"),
        (r#""7": {"id": "animal/1.jpg", "prompt": "", "edit_type": "style"}"#, "the prompt is empty"),
        (r#""7": {"id": "animal/1.jpg", "prompt": "p", "edit_type": ""}"#, "edit_type"),
        (r#""7": {"id": "animal/2.jpg", "prompt": "p", "edit_type": "style"}"#, "there is no image"),
        (r#""7": 3"#, "invalid type"),
        (r#""a/7": {"id": "animal/1.jpg", "prompt": "p", "edit_type": "style"}"#, "cannot be a file name"),
        (r#""7": "#, "line 1"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = imgedit(dir.path(), &format!("{{{good}, {bad}}}"));
        let said = bench::imgedit(&config, &Flat::default(), &silent).await.unwrap_err().to_string();
        assert!(said.contains(part) && said.contains("singleturn.json"), "{said}");
        assert!(said.contains("7`") || part == "line 1", "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(bench::imgedit(&imgedit(dir.path(), "{}"), &Flat::default(), &silent).await.is_err());
}
