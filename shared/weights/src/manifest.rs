//! The exact set of tensors that a model of given sizes has.
//!
//! Loading is checked against this list and nothing else: a name that is not here is surplus and reported, a name that
//! is here and not in the file is an error. The list is computed from the sizes, so it holds for every configuration;
//! a test compares it with the published checkpoint's list (`tests/unipic-1.5b.tensors`, put together apart from this) and with a small checkpoint
//! that the published code wrote.

mod language;
mod mar;
mod vae;
mod vision;

use std::collections::BTreeMap;

use crate::Part;
use crate::config::ModelConfig;

/// A tensor that the model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The part it belongs to.
    pub part: Part,
}

impl TensorSpec {
    /// Number of values.
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether this is the matrix of a linear layer, which may be held quantized.
    ///
    /// Embedding tables are looked up by row and positional tables are added, so both stay as they are.
    pub fn is_linear(&self) -> bool {
        self.shape.len() == 2
            && self.name.ends_with(".weight")
            && !self.name.contains("embed_tokens")
            && !self.name.contains("position_embedding")
    }
}

/// The tensors of `parts`, in checkpoint order of parts and model order within one.
pub fn tensors(config: &ModelConfig, parts: &[Part]) -> Vec<TensorSpec> {
    let mut out = Vec::new();
    for part in Part::ALL.into_iter().filter(|part| parts.contains(part)) {
        let mut list = List { part, specs: Vec::new() };
        match part {
            Part::Vae => vae::list(&mut list, &config.vae),
            Part::Mar => mar::list(&mut list, &config.mar, config.vae.z_channels),
            Part::Projectors => mar::list_projectors(&mut list, config.mar.embed_dim, config.llm.hidden_size),
            Part::Llm => language::list(&mut list, &config.llm),
            Part::Siglip => vision::list(&mut list, &config.siglip),
            Part::SiglipProjector => {
                list.projector(
                    "siglip2_proj",
                    config.siglip.hidden_size,
                    config.llm.hidden_size,
                    config.llm.hidden_size,
                );
            }
        }
        out.append(&mut list.specs);
    }
    out
}

/// Tensors that belong to the published model and that nothing of ours uses: the vision tower's pooling head, and the
/// language model's output matrix where it is the embedding table again.
pub fn skipped(config: &ModelConfig) -> Vec<TensorSpec> {
    let mut head = List { part: Part::Siglip, specs: Vec::new() };
    vision::list_pooling_head(&mut head, &config.siglip);
    let mut list = head.specs;
    if config.llm.tie_word_embeddings {
        let shape = vec![config.llm.vocab_size, config.llm.hidden_size];
        list.push(TensorSpec { name: "llm.lm_head.weight".into(), shape, part: Part::Llm });
    }
    list
}

/// Number of parameters per part.
pub fn parameter_counts(config: &ModelConfig) -> BTreeMap<Part, usize> {
    let mut counts = BTreeMap::new();
    for spec in tensors(config, &Part::ALL) {
        *counts.entry(spec.part).or_insert(0) += spec.n_values();
    }
    counts
}

/// A growing list of one part's tensors.
struct List {
    part: Part,
    specs: Vec<TensorSpec>,
}

impl List {
    fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.specs.push(TensorSpec { name: name.into(), shape: shape.to_vec(), part: self.part });
    }

    /// `weight` `[n_out, n_in]` and `bias` `[n_out]`.
    fn linear(&mut self, name: &str, n_in: usize, n_out: usize) {
        self.tensor(format!("{name}.weight"), &[n_out, n_in]);
        self.tensor(format!("{name}.bias"), &[n_out]);
    }

    /// `weight` and `bias`, both `[width]`.
    fn norm(&mut self, name: &str, width: usize) {
        self.tensor(format!("{name}.weight"), &[width]);
        self.tensor(format!("{name}.bias"), &[width]);
    }

    /// `weight` `[n_out, n_in, kernel, kernel]` and `bias` `[n_out]`.
    fn conv(&mut self, name: &str, n_in: usize, n_out: usize, kernel: usize) {
        self.tensor(format!("{name}.weight"), &[n_out, n_in, kernel, kernel]);
        self.tensor(format!("{name}.bias"), &[n_out]);
    }

    /// Linear, activation, linear, under the names 0 and 2.
    fn projector(&mut self, name: &str, n_in: usize, n_hidden: usize, n_out: usize) {
        self.linear(&format!("{name}.0"), n_in, n_hidden);
        self.linear(&format!("{name}.2"), n_hidden, n_out);
    }
}
