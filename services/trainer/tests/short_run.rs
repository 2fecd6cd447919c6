//! Whole runs of seconds: that they learn, repeat, go on, and stop as they should.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use support::{files, only, recipe, train};
use unipic_measures::measured;
use unipic_trainer::{StepReport, TrainError};

#[test]
fn a_shortened_run_lowers_every_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut losses: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut keep = |report: &StepReport| {
        for (name, loss) in &report.losses {
            losses.entry(name.clone()).or_default().push(*loss);
        }
        false
    };
    let mut recipe = recipe(60);
    recipe.stages[0].learning_rate = 4e-3;
    recipe.stages[1].dropout = 0.0;
    train(&recipe, folder.path(), 2, &mut keep).unwrap();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let ends = |losses: &Vec<f64>| (mean(&losses[..4]), mean(&losses[losses.len() - 10..]));
    let ends: BTreeMap<&str, (f64, f64)> = losses.iter().map(|(name, all)| (name.as_str(), ends(all))).collect();
    for name in ["absolute", "square", "generation", "editing", "understanding"] {
        let (first, last) = ends[name];
        assert!(last < 0.8 * first, "{name}: {ends:?}");
    }
    println!("{ends:?}");
    for name in ["losses.png", "samples-0-000060.png", "samples-1-000060.png", "recipe.toml", "metrics.jsonl"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    assert!(unipic_weights::Checkpoint::open(&folder.path().join("model")).is_ok());
}

/// The model's files after a run that stops at some of its steps, counted over both stages, and is begun again.
fn interrupted(n_threads: &[usize], stops: &[usize]) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    const STEPS: usize = 5;
    let (recipe, folder) = (recipe(STEPS), tempfile::tempdir().unwrap());
    let mut threads = n_threads.iter().cycle();
    for stop in stops {
        let stops_here = |report: &StepReport| report.stage * STEPS + report.step == *stop;
        match train(&recipe, folder.path(), *threads.next().unwrap(), stops_here) {
            Err(TrainError::Stopped { step, .. }) => assert_eq!(step, (stop - 1) % STEPS + 1),
            other => panic!("{other:?}"),
        }
    }
    let model = train(&recipe, folder.path(), *threads.next().unwrap(), |_| false).unwrap();
    let lines = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let steps = lines.lines().map(|line| serde_json::from_str::<StepReport>(line).unwrap());
    let steps: Vec<_> = steps.map(|report| (report.stage, report.step)).collect();
    assert_eq!(steps, (0..2).flat_map(|stage| (1..=STEPS).map(move |step| (stage, step))).collect::<Vec<_>>());
    files(&model)
}

#[test]
fn threads_and_interruptions_change_no_bit() {
    let whole = interrupted(&[1], &[]);
    assert!(whole.values().map(Vec::len).sum::<usize>() > 100_000);
    for (n_threads, stops) in [(&[2][..], &[][..]), (&[3], &[]), (&[2, 1], &[2, 8]), (&[1, 3], &[9])] {
        let other = interrupted(n_threads, stops);
        let differ: Vec<_> = whole.keys().filter(|name| whole.get(*name) != other.get(*name)).collect();
        assert!(differ.is_empty() && whole.len() == other.len(), "{n_threads:?}, {stops:?}: {differ:?}");
    }
}

#[test]
fn another_seed_gives_another_model() {
    let run = |seed| {
        let (mut recipe, folder) = (only(0, 1), tempfile::tempdir().unwrap());
        recipe.seed = seed;
        files(&train(&recipe, folder.path(), 1, |_| false).unwrap())
    };
    assert_ne!(run(1), run(2));
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_last_one() {
    let (recipe, folder) = (only(0, 6), tempfile::tempdir().unwrap());
    let state = folder.path().join("state.safetensors");
    train(&recipe, folder.path(), 1, |report| report.step == 2).unwrap_err();
    let before = std::fs::read(&state).unwrap();
    // A folder where the file is written before it is renamed.
    let obstacle = folder.path().join("state.partial");
    std::fs::create_dir(&obstacle).unwrap();
    let error = train(&recipe, folder.path(), 1, |_| false).unwrap_err();
    assert!(matches!(&error, TrainError::Io { path, .. } if *path == state), "{error}");
    assert!(std::fs::read(&state).unwrap() == before);
    std::fs::remove_dir(&obstacle).unwrap();
    train(&recipe, folder.path(), 1, |_| false).unwrap();
}

#[test]
fn a_folder_with_the_model_of_another_is_left_alone() {
    let (recipe, folder) = (only(0, 1), tempfile::tempdir().unwrap());
    let precious = folder.path().join("model/config.json");
    std::fs::create_dir(folder.path().join("model")).unwrap();
    std::fs::write(&precious, "precious").unwrap();
    let error = train(&recipe, folder.path(), 1, |_| false).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, TrainError::Folder { .. }), "{said}");
    assert!(said.contains(&folder.path().display().to_string()) && said.contains("move that away"), "{said}");
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_first_stage_whose_end_could_not_be_saved_is_gone_on_with() {
    let (mut recipe, folder) = (only(0, 2), tempfile::tempdir().unwrap());
    recipe.stages[0].save_every = 100;
    let obstacle = folder.path().join("state.partial");
    let block = |report: &StepReport| {
        if report.step == 2 {
            std::fs::create_dir(&obstacle).unwrap();
        }
        false
    };
    train(&recipe, folder.path(), 1, block).unwrap_err();
    std::fs::remove_dir(&obstacle).unwrap();
    train(&recipe, folder.path(), 1, |_| false).unwrap();
}

#[test]
fn a_first_stage_whose_model_could_not_be_written_is_gone_on_with_to_the_same_weights() {
    let (mut recipe, whole, broken) = (only(0, 2), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    recipe.stages[0].save_every = 100;
    let whole = files(&train(&recipe, whole.path(), 1, |_| false).unwrap());
    // A file where the model's folder is written before it is renamed.
    let obstacle = broken.path().join("model.partial");
    let block = |report: &StepReport| {
        if report.step == 2 {
            std::fs::write(&obstacle, "").unwrap();
        }
        false
    };
    train(&recipe, broken.path(), 1, block).unwrap_err();
    std::fs::remove_file(&obstacle).unwrap();
    let never = |_: &StepReport| unreachable!("all steps had been taken");
    assert!(files(&train(&recipe, broken.path(), 1, never).unwrap()) == whole);
}

#[test]
fn a_folder_is_of_one_run_at_a_time() {
    let (recipe, folder) = (only(0, 2), tempfile::tempdir().unwrap());
    let mut said = Vec::new();
    let meanwhile = |_: &StepReport| {
        said.push(train(&recipe, folder.path(), 1, |_| false).unwrap_err().to_string());
        false
    };
    train(&recipe, folder.path(), 1, meanwhile).unwrap();
    assert_eq!(said.len(), 2);
    for said in said {
        assert!(said.contains("another process") && said.contains(&folder.path().display().to_string()), "{said}");
    }
    // It is free again.
    train(&recipe, folder.path(), 1, |_| false).unwrap();
}

/// A disk of memory; none where this user may not mount.
#[cfg(target_os = "linux")]
struct Disk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Disk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    /// Takes all that is left.
    fn fill(folder: &Path) {
        let mut file = std::fs::File::create(folder.join("filling")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_last_state() {
    let Some(disk) = Disk::mount() else {
        return println!("skipped: this user may not mount a small disk");
    };
    let (recipe, folder) = (only(0, 6), disk.0.path());
    train(&recipe, folder, 1, |report| report.step == 2).unwrap_err();
    let before = std::fs::read(folder.join("state.safetensors")).unwrap();
    let fill = |report: &StepReport| {
        if report.step == 3 {
            Disk::fill(folder);
        }
        false
    };
    let error = train(&recipe, folder, 1, fill).unwrap_err();
    assert!(matches!(&error, TrainError::Io { source, .. } if source.to_string().contains("No space")), "{error}");
    let is_kept = std::fs::read(folder.join("state.safetensors")).unwrap() == before;
    measured!("states tried", 1);
    measured!("half states", usize::from(!is_kept));
    assert!(is_kept);
    std::fs::remove_file(folder.join("filling")).unwrap();
    train(&recipe, folder, 1, |_| false).unwrap();
}

#[test]
fn a_changed_recipe_is_refused() {
    let (mut recipe, folder) = (only(0, 3), tempfile::tempdir().unwrap());
    train(&recipe, folder.path(), 1, |report| report.step == 1).unwrap_err();
    recipe.stages[0].learning_rate *= 2.0;
    let error = train(&recipe, folder.path(), 1, |_| false).unwrap_err();
    assert!(matches!(&error, TrainError::Resume { .. }) && error.to_string().contains("another recipe"), "{error}");
    assert!(error.to_string().contains("`stages[0].learning_rate` was 0.002 and is 0.004"), "{error}");
    recipe.stages[0].learning_rate /= 2.0;
    recipe.begin_with = Some("nano".into());
    let said = train(&recipe, folder.path(), 1, |_| false).unwrap_err().to_string();
    assert!(said.contains("begun with nothing and is now to begin with \"nano\""), "{said}");
}

#[test]
fn a_checkpoint_of_other_sizes_is_refused_by_its_first_tensor() {
    let (mut recipe, folder) = (only(0, 1), tempfile::tempdir().unwrap());
    recipe.begin_with = Some("nano".into());
    let said = train(&recipe, folder.path(), 1, |_| false).unwrap_err().to_string();
    assert!(said.contains("begin_with: nano has other sizes") && said.contains("in `model`"), "{said}");
    println!("{said}");
}

#[test]
fn a_stage_that_trains_nothing_of_a_part_is_refused() {
    let refused = |change: fn(&mut unipic_trainer::Recipe), parts: &[&str]| {
        let (mut recipe, folder) = (only(1, 3), tempfile::tempdir().unwrap());
        change(&mut recipe);
        let never = |_: &StepReport| unreachable!("a step was taken");
        let said = train(&recipe, folder.path(), 1, never).unwrap_err().to_string();
        assert!(said.starts_with("stage `joint`: train: "), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    refused(
        |recipe| {
            recipe.stages[0].joint.as_mut().unwrap().mix =
                unipic_trainer::recipe::Mix { generation: 1.0, ..Default::default() };
        },
        &["`siglip2`, `siglip2-proj` get no gradient in this stage"],
    );
    // A task without weight teaches nothing either.
    refused(
        |recipe| {
            recipe.stages[0].train = vec!["mar".into(), "siglip2".into()];
            recipe.stages[0].joint.as_mut().unwrap().loss_weights.understanding = 0.0;
            recipe.stages[0].joint.as_mut().unwrap().loss_weights.editing = 0.0;
        },
        &["`siglip2` gets no gradient in this stage"],
    );
}

#[test]
fn numbers_that_are_none_stop_a_run_and_name_its_batch() {
    for stage in [0, 1] {
        let (mut recipe, folder) = (only(stage, 9), tempfile::tempdir().unwrap());
        (recipe.stages[0].learning_rate, recipe.stages[0].save_every) = (1e30, 1);
        let error = train(&recipe, folder.path(), 1, |_| false).unwrap_err();
        assert!(error.to_string().contains("lower `learning_rate`"), "{error}");
        match error {
            TrainError::NotFinite { step, batch, .. } => {
                assert!(step > 0);
                let text = std::fs::read_to_string(batch).unwrap();
                let batch: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert!(!batch["samples"].as_array().unwrap().is_empty(), "{text}");
                // What has been saved is the last step that was whole.
                let again = train(&recipe, folder.path(), 1, |_| false).unwrap_err();
                assert!(matches!(again, TrainError::NotFinite { step: same, .. } if same == step), "{again}");
            }
            other => panic!("{other}"),
        }
    }
}
