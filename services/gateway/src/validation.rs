//! Requests judged whole: every violation at once, each with the path of its field, before any compute.

mod change;
mod embed;
mod image;
mod understand;
mod violations;

pub(crate) use embed::{EmbedSpec, Picture, embed};
pub(crate) use image::{EditSpec, ImageSpec, edit, generate};
pub(crate) use understand::{TurnPart, UnderstandSpec, understand};
pub(crate) use violations::Violations;
