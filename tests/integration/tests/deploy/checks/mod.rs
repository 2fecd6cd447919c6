//! What must hold in every overlay. Each check tells everything that is wrong.

mod fields;
mod network;
mod pods;
mod references;
mod settings;

use crate::objects::{Objects, Problems};

/// Everything that is wrong with an overlay.
pub(crate) fn problems(objects: &Objects) -> Vec<String> {
    let mut problems = Problems::default();
    for check in [fields::check, references::check, pods::check, settings::check, network::check] {
        check(objects, &mut problems);
    }
    problems.0
}
