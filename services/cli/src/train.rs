//! `train`: a recipe run to its end, or stopped so that it can go on.

mod skipped;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::HumanDuration;
use serde_json::json;
use unipic_models::load::LoadOptions;
use unipic_trainer::{Options, Recipe, StepReport, recipe};
use unipic_weights::Part;

use crate::args::Train;
use crate::connect::device_name;
use crate::failure::{self, wrong};
use crate::progress::Progress;
use skipped::Skipped;

/// What the libraries below take their number of threads from, when they are first used.
const LIBRARY_THREADS: &str = "RAYON_NUM_THREADS";

/// Between two lines where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Trains.
///
/// # Errors
/// When the recipe or the folder cannot be used, training fails, or it was stopped.
pub(crate) fn train(args: &Train, progress: &Progress) -> anyhow::Result<()> {
    // The command line asks for one of the two.
    let (Some(run), false) = (&args.run, args.print) else { return print(&args.recipe, progress) };
    let recipe = read(args)?;
    restart_with_one_library_thread();
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(Arc::clone(&stop));
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let mut told = Told { recipe: &recipe, last_line: None, pace: None, skipped: Skipped::new(run), progress };
    progress.stage("preparing");
    let folder = unipic_trainer::run(
        &recipe,
        Options {
            folder: run.clone(),
            n_threads: args.threads.map_or_else(processors, usize::from),
            device: unipic_models::load::device(device_name(args.device))?,
            sheet_every: args.sheets_every,
            stop: &stop,
            on_step: &mut |report| told.step(report),
        },
    )?;
    tell_model(&folder, progress)
}

/// Prints a built-in recipe.
fn print(name: &str, progress: &Progress) -> anyhow::Result<()> {
    let Some(text) = recipe::text(name) else {
        return Err(wrong(format!("`{name}` is no built-in recipe ({}); those alone can be printed", names())));
    };
    progress.result(text.trim_end(), json!({ "recipe": text }));
    Ok(())
}

/// The built-in recipes' names.
fn names() -> String {
    recipe::names().collect::<Vec<_>>().join(", ")
}

/// The recipe that is named, a built-in one first.
fn read(args: &Train) -> anyhow::Result<Recipe> {
    let path = Path::new(&args.recipe);
    let mut recipe = match recipe::builtin(&args.recipe) {
        Some(recipe) => recipe?,
        None if path.is_file() => Recipe::read(path)?,
        None => {
            return Err(wrong(format!("`{}` is neither a file nor a built-in recipe ({})", args.recipe, names())));
        }
    };
    if let Some(model) = &args.begin_with {
        recipe.begin_with = Some(model.clone());
    }
    Ok(recipe)
}

/// Starts this program again with one thread for the libraries below, unless their number is set already. It cannot be
/// set from within: the environment must not change while other threads may read it.
fn restart_with_one_library_thread() {
    if std::env::var_os(LIBRARY_THREADS).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // It returns only when it fails; then training is slower, and no less right.
    let _ = Command::new(program).args(std::env::args_os().skip(1)).env(LIBRARY_THREADS, "1").exec();
}

/// Sets the flag at the first SIGINT or SIGTERM and ends the process at the second: a step may take long.
fn stop_on_signals(stop: Arc<AtomicBool>) {
    let wait = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            unipic_serving::shutdown_signal().await;
            stop.store(true, Ordering::Relaxed);
            eprintln!("stopping after this step; once more to stop at once, back to the last saved state");
            unipic_serving::shutdown_signal().await;
            std::process::exit(failure::STOPPED.into());
        });
    };
    // Without the thread, a signal ends the process, and the run goes on from its last saved state.
    let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
}

/// What has been told so far.
struct Told<'a> {
    recipe: &'a Recipe,
    last_line: Option<Instant>,
    /// A stage, and the running mean of the time of its steps in seconds.
    pace: Option<(usize, f64)>,
    skipped: Skipped,
    progress: &'a Progress,
}

impl Told<'_> {
    fn step(&mut self, report: &StepReport) {
        if self.progress.is_json() {
            if let Ok(fields) = serde_json::to_value(report) {
                self.progress.event("step", fields);
            }
            return;
        }
        if let Some(line) = self.skipped.line(report) {
            self.progress.line(&line);
        }
        let line = self.line(report);
        let is_due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) || report.step == report.n_steps;
        if self.progress.is_plain() && is_due {
            self.last_line = Some(Instant::now());
            self.progress.line(&format!("step {} of {}: {line}", report.step, report.n_steps));
        }
        self.progress.position(report.step as u64, report.n_steps as u64, line);
    }

    fn line(&mut self, report: &StepReport) -> String {
        let losses: Vec<String> = report.losses.iter().map(|(name, loss)| format!("{name} {loss:.4}")).collect();
        let StepReport { stage, name, learning_rate, samples_per_s, .. } = report;
        let left = HumanDuration(Duration::from_secs_f64(self.seconds_left(report)));
        format!(
            "stage {} of {} `{name}`: {}, rate {learning_rate:.1e}, {samples_per_s:.1} samples/s, {left} left of the stage",
            stage + 1,
            self.recipe.stages.len(),
            losses.join(", "),
        )
    }

    /// Of the stage, by the pace of the last twenty steps or so.
    fn seconds_left(&mut self, report: &StepReport) -> f64 {
        let batch = self.recipe.stages.get(report.stage).map_or(0, |stage| stage.batch);
        let step = batch as f64 / report.samples_per_s.max(f64::MIN_POSITIVE);
        let pace = match self.pace {
            Some((stage, pace)) if stage == report.stage => pace + 0.05 * (step - pace),
            _ => step,
        };
        self.pace = Some((report.stage, pace));
        // A year is as good as any longer time.
        (pace * report.n_steps.saturating_sub(report.step) as f64).clamp(0.0, 31_536_000.0)
    }
}

/// Says where the model is and which it is.
fn tell_model(folder: &Path, progress: &Progress) -> anyhow::Result<()> {
    let model = unipic_weights::Checkpoint::open(folder).context("open the trained model")?;
    let loaded = LoadOptions::cpu().load(&model, &Part::ALL)?;
    progress.line(&format!("{}: SHA-256 {}", folder.display(), loaded.sha256()));
    progress.event("done", json!({ "model": folder, "sha256": loaded.sha256() }));
    Ok(())
}
