//! What is refused after a step's gradients are known.

use unipic_weights::Part;

use crate::TrainError;
use crate::optimizer::Gradients;
use crate::recipe::Stage;
use crate::report::{Journal, StepReport};
use crate::task::Task;

/// Refuses a stage in which a trained part gets no gradient: it would come to its end and leave the part as it was.
pub(super) fn check_learning(stage: &Stage, parts: &[Part], gradients: &Gradients) -> Result<(), TrainError> {
    let learns = |part: &Part| gradients.keys().any(|name| Part::of(name) == Some(*part));
    let idle: Vec<String> =
        parts.iter().filter(|part| !learns(part)).map(|part| format!("`{}`", part.label())).collect();
    if idle.is_empty() {
        return Ok(());
    }
    let why = format!(
        "train: {} {} no gradient in this stage; leave that out of `train`, or give a share in `joint.mix` and a weight in \
         `joint.loss_weights` to a task that reaches it",
        idle.join(", "),
        if idle.len() == 1 { "gets" } else { "get" },
    );
    Err(TrainError::Stage { stage: stage.name.clone(), why })
}

/// Refuses to go on from a step with a number that is not one.
pub(super) fn check_finite(report: &StepReport, task: &dyn Task, journal: &Journal) -> Result<(), TrainError> {
    let losses = report.losses.iter().map(|(name, loss)| (name.as_str(), *loss));
    let bad = losses.chain([("the gradients' norm", report.gradient_norm)]).find(|(_, x)| !x.is_finite());
    let Some((what, _)) = bad else { return Ok(()) };
    let step = report.step - 1;
    let batch = serde_json::json!({ "report": report, "samples": task.describe(step) });
    let batch = journal.file(&format!("bad-batch-{}-{step}.json", report.stage), batch.to_string().as_bytes())?;
    Err(TrainError::NotFinite { stage: report.name.clone(), step, what: what.to_owned(), batch })
}
