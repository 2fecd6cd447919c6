//! What can be wrong with a request to this crate.

/// Why a difficulty was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A knob of the difficulty is outside its range.
    #[error("difficulty: {knob} is {value}; it must be {wanted}")]
    Knob {
        /// Name of the knob as it stands in a recipe.
        knob: &'static str,
        /// The value found.
        value: String,
        /// What is allowed.
        wanted: &'static str,
    },
}
