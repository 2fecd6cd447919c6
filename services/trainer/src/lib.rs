//! Training: the published stages, losses and schedules, on the model code that the services run.
//!
//! A [`Recipe`] says everything a run does, and [`run`] does it: stage after stage, each with its trained and its frozen
//! parts, its data, its loss and its schedule. The model is the one that serves, built over variables and on
//! differentiable operations, so what is trained is what is served. Every draw is a function of (seed, stage, step,
//! sample), and saved states are written whole or not at all: a run that was stopped anywhere ends with the same weights
//! as one that was not.

mod curves;
mod data;
mod draws;
mod error;
mod folder;
mod optimizer;
mod parameters;
mod pixels;
mod report;
mod run;
mod state;
mod task;
mod tokenizer;
mod workers;

pub mod loss;
pub mod model;
pub mod recipe;

pub use error::TrainError;
pub use recipe::Recipe;
pub use report::StepReport;
pub use run::{Options, run};
