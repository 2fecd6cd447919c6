//! `eval`: the evaluations of `unipic-eval`, through a server or a node in this process.

mod settings;

use serde_json::json;
use unipic_eval::compare::{Comparison, Side};
use unipic_eval::{ClientArtist, Step, bench, compare, nano};

use crate::args::{Compare, Eval, Target};
use crate::connect::Connection;
use crate::progress::Progress;

/// Runs one of the evaluations.
///
/// # Errors
/// When it cannot be run, or did not come to its end; what was made stays.
pub(crate) async fn eval(command: &Eval, progress: &Progress) -> anyhow::Result<()> {
    let on_step = |step: &Step<'_>| progress.item(step);
    match command {
        Eval::Nano(args) => {
            let config = settings::nano(&args.items, &args.run);
            let work = async |artist| tell_nano(&nano::run(&config, &artist, &on_step).await?, progress);
            with_artist(&args.target, progress, work).await
        }
        Eval::Geneval(args) => {
            let (prompts, run) = (args.prompts.clone(), settings::run(&args.run));
            let config = bench::GenEval { prompts, n: args.n, grid: args.grid, run };
            let work = async |artist| tell_bench(&bench::geneval(&config, &artist, &on_step).await?, progress);
            with_artist(&args.target, progress, work).await
        }
        Eval::Dpg(args) => {
            let config = bench::Dpg { prompts: args.prompts.clone(), n: args.n, run: settings::run(&args.run) };
            let work = async |artist| tell_bench(&bench::dpg(&config, &artist, &on_step).await?, progress);
            with_artist(&args.target, progress, work).await
        }
        Eval::Gedit(args) => {
            let (prompts, run) = (args.prompts.clone(), settings::run(&args.run));
            let config = bench::GEdit { prompts, fit: settings::fit(args.fit), run };
            let work = async |artist| tell_bench(&bench::gedit(&config, &artist, &on_step).await?, progress);
            with_artist(&args.target, progress, work).await
        }
        Eval::Imgedit(args) => {
            let (edits, originals) = (args.edits.clone(), args.originals.clone());
            let config = bench::ImgEdit { edits, originals, run: settings::run(&args.run) };
            let work = async |artist| tell_bench(&bench::imgedit(&config, &artist, &on_step).await?, progress);
            with_artist(&args.target, progress, work).await
        }
        Eval::Compare(args) => two_sides(args, progress).await,
    }
}

/// Opens a model for `work`, and closes it when that went well.
async fn with_artist(
    target: &Target,
    progress: &Progress,
    work: impl AsyncFnOnce(ClientArtist) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let connection = Connection::open(target, progress).await?;
    work(ClientArtist::new(connection.client())).await?;
    connection.close().await
}

/// Compares side b with side a; one model is loaded for both where nothing of it differs.
async fn two_sides(args: &Compare, progress: &Progress) -> anyhow::Result<()> {
    let sampling = settings::sampling(&args.run.sampling);
    let a = Side { label: args.run.label.clone(), sampling: sampling.clone() };
    let b = Side { label: args.other.b_label.clone(), sampling: settings::other_sampling(sampling, &args.other) };
    let config = compare::Compare { nano: settings::nano(&args.items, &args.run), a, b };
    let on_step = |step: &Step<'_>| progress.item(step);
    let judge = |comparison| tell_comparison(&comparison, args, progress);
    match settings::other_target(&args.target, &args.other) {
        None => {
            let work = async |artist| judge(compare::run(&config, &artist, &artist, &on_step).await?);
            with_artist(&args.target, progress, work).await
        }
        Some(other) => {
            let work = async |a| {
                let inner = async |b| judge(compare::run(&config, &a, &b, &on_step).await?);
                with_artist(&other, progress, inner).await
            };
            with_artist(&args.target, progress, work).await
        }
    }
}

fn tell_nano(report: &nano::Report, progress: &Progress) -> anyhow::Result<()> {
    progress.result(&report.markdown(), json!({ "report": report }));
    anyhow::ensure!(report.is_complete(), "not everything was judged; run the same command to try the rest again");
    Ok(())
}

fn tell_bench(report: &bench::Report, progress: &Progress) -> anyhow::Result<()> {
    let bench::Report { images, outcome, next, .. } = report;
    let text = format!("{}: {} images made, {} were there. {next}", images.display(), outcome.made, outcome.kept);
    progress.result(&text, json!({ "report": report }));
    let failed = outcome.failures.len() + outcome.not_tried;
    anyhow::ensure!(report.is_complete(), "{failed} images are missing; run the same command to try them again");
    Ok(())
}

fn tell_comparison(comparison: &Comparison, args: &Compare, progress: &Progress) -> anyhow::Result<()> {
    progress.result(&comparison.markdown(), json!({ "comparison": comparison }));
    anyhow::ensure!(comparison.is_complete, "not everything was judged; run the same command to try the rest again");
    if let Some(loss) = args.max_loss {
        anyhow::ensure!(
            comparison.holds(loss),
            "side `{}` is not shown to lose at most {loss} in every section",
            args.other.b_label
        );
    }
    Ok(())
}
