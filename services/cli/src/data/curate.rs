//! `data curate`: rows scored by a model or by the shapes world's judge.

use serde_json::json;
use unipic_eval::curate::{Curation, EditReward, ImageReward, Reward, ShapesReward, Summary, VqaScore};
use unipic_eval::{Artist, ClientArtist};

use crate::args::{self, Curate};
use crate::connect::Connection;
use crate::progress::Progress;

/// Scores the rows and sorts them.
///
/// # Errors
/// When the rows, the folder or the model cannot be used, or some rows could not be scored.
pub(crate) async fn curate(args: &Curate, progress: &Progress) -> anyhow::Result<()> {
    let wanted = |reward| args.rewards.contains(&reward);
    let shapes = ShapesReward;
    let mut rewards: Vec<&dyn Reward> = Vec::new();
    if wanted(args::Reward::Shapes) {
        rewards.push(&shapes);
    }
    // The judge of pixels needs no model, and none is loaded for it.
    if !wanted(args::Reward::Model) && !wanted(args::Reward::Vqa) {
        return run(args, &rewards, progress).await;
    }
    let connection = Connection::open(&args.target, progress).await?;
    let artist = ClientArtist::new(connection.client());
    let model = artist.model().await?;
    let name = format!("{} {}", model.name, model.weights_sha256.get(..12).unwrap_or_default());
    let image = ImageReward::new(&artist, &name, args.answers, args.seed);
    let edit = EditReward::new(&artist, &name, args.answers, args.seed);
    let vqa = VqaScore::new(&artist, &name);
    if wanted(args::Reward::Model) {
        rewards.extend([&image as &dyn Reward, &edit]);
    }
    if wanted(args::Reward::Vqa) {
        rewards.push(&vqa);
    }
    run(args, &rewards, progress).await?;
    drop(rewards);
    connection.close().await
}

async fn run(args: &Curate, rewards: &[&dyn Reward], progress: &Progress) -> anyhow::Result<()> {
    let Curate { rows, out, threshold, in_flight, .. } = args;
    let config = Curation { rows: rows.clone(), out: out.clone(), threshold: *threshold, in_flight: *in_flight };
    let summary = unipic_eval::curate::run(&config, rewards, &|step| progress.item(step)).await?;
    tell(&summary, args, progress);
    let failed = summary.failures().len() + summary.not_tried;
    anyhow::ensure!(summary.is_complete(), "{failed} rows were not scored; run the same command to try them again");
    Ok(())
}

fn tell(summary: &Summary, args: &Curate, progress: &Progress) {
    let Summary { rows, kept, dropped, bad, threshold, .. } = summary;
    progress.line(&format!(
        "{}: {kept} of {rows} rows kept at {threshold} or more, {dropped} dropped, {bad} bad",
        args.out.display()
    ));
    progress.event("done", json!({ "summary": summary }));
}
