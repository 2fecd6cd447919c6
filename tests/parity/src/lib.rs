//! The parity harness: runs a folder of recorded cases through the model code that the services run, and says for every
//! recorded quantity how far off ours is.
//!
//! The folder holds a small model and numbers that the published implementation computed with it; any folder of that
//! form will do, whatever its sizes. Nothing here computes a model's part itself: a case family turns its inputs into
//! calls of `unipic-models`, `unipic-imaging` and `unipic-trainer` and hands the results to [`case::Case::check`], which accounts for every
//! quantity. Whole flows drive the same `generation` state machine as the synthesis service, with the language model called
//! in process and the recorded draws in place of random ones.
//!
//! An unknown file, case, setting or quantity is a failure, because a harness that skips what it does not know would
//! report success about numbers it never looked at.

pub mod bound;
pub mod case;
pub mod report;
pub mod run;
pub mod subject;

mod diffusion;
mod edit;
mod flow;
mod generate;
mod llm;
mod mar;
mod preprocess;
mod tokenizer;
mod train;
mod understand;
mod vae;

pub use report::{Report, Row, Verdict};
pub use run::{Options, run};
