//! Which failures to load a model are the fault of the one who named it.

use std::io::ErrorKind;

use unipic_node::NodeError;
use unipic_trainer::TrainError;
use unipic_weights::WeightsError;

/// Whether the checkpoint, or how it is to be held, is wrong: the next try would fail as this one did.
pub(super) fn is_wrong(error: &anyhow::Error) -> bool {
    if let Some(error) = error.downcast_ref::<NodeError>() {
        return is_nodes(error);
    }
    let of_trainer = match error.downcast_ref::<TrainError>() {
        Some(TrainError::Weights(error)) => Some(error),
        _ => None,
    };
    of_trainer.or_else(|| error.downcast_ref()).is_some_and(is_bad)
}

fn is_nodes(error: &NodeError) -> bool {
    match error {
        NodeError::Load(_) | NodeError::Synthesis(_) | NodeError::Understanding(_) | NodeError::Decoder(_) => true,
        NodeError::Weights(error) => is_bad(error),
        NodeError::System(_) | NodeError::WarmUp(_) => false,
    }
}

fn is_bad(error: &WeightsError) -> bool {
    match error {
        // Another path may be readable; a full disk is nobody's mistake.
        WeightsError::Io { source, .. } => matches!(
            source.kind(),
            ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::IsADirectory
        ),
        WeightsError::Device(_) => false,
        _ => true,
    }
}
