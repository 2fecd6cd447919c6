//! The parts of the model, as processes load them.

use std::fmt;

/// A part of the model that is loaded as a whole (model page, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The autoencoder.
    Vae,
    /// The masked autoregressive encoder and decoder with the diffusion head.
    Mar,
    /// `proj_in` and `proj_out`, between MAR and the language model.
    Projectors,
    /// The language model.
    Llm,
    /// The SigLIP2 vision tower without its pooling head.
    Siglip,
    /// `siglip2_proj`, from the vision tower to the language model.
    SiglipProjector,
}

impl Part {
    /// All parts, in the order they are listed and stored.
    pub const ALL: [Part; 6] = [Part::Vae, Part::Mar, Part::Projectors, Part::Llm, Part::Siglip, Part::SiglipProjector];

    /// A short name, as in listings and in file names of a converted checkpoint.
    pub fn label(self) -> &'static str {
        match self {
            Part::Vae => "vae",
            Part::Mar => "mar",
            Part::Projectors => "projectors",
            Part::Llm => "llm",
            Part::Siglip => "siglip2",
            Part::SiglipProjector => "siglip2-proj",
        }
    }

    /// What the names of its tensors start with.
    pub fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Vae => &["vae."],
            Part::Mar => &["mar."],
            Part::Projectors => &["proj_in.", "proj_out."],
            Part::Llm => &["llm."],
            Part::Siglip => &["siglip2.vision_model."],
            Part::SiglipProjector => &["siglip2_proj."],
        }
    }

    /// The part that a tensor's name belongs to.
    pub fn of(name: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.prefixes().iter().any(|prefix| name.starts_with(prefix)))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
