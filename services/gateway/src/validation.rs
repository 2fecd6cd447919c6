//! Requests judged whole: every violation at once, each with the path of its field, before any compute.

mod change;
mod image;
mod understand;
mod violations;

pub(crate) use image::{EditSpec, ImageSpec, edit, generate};
pub(crate) use understand::{EmbedSpec, TurnPart, UnderstandSpec, embed, understand};
pub(crate) use violations::Violations;
