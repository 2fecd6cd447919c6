//! `llm`: the language model on plain ids. What other families need of it is here too.

use anyhow::{Context, Result};
use candle_core::Tensor;
use unipic_models::prompt::Piece;
use unipic_models::qwen2::{CacheUse, Model, Run};
use unipic_models::sampling::{Sampler, SamplerSettings};
use unipic_nn::KvCache;

use crate::bound::PART;
use crate::case::{Case, NoSettings};
use crate::subject::Subject;

/// Checks the case.
///
/// # Errors
/// When the case is not understood or the model fails.
pub(crate) fn check(subject: &Subject, case: &mut Case) -> Result<()> {
    case.settings::<NoSettings>()?;
    let (llm, prompts) = (&subject.llm, case.take_ids("input_ids")?);
    let prefills = prompts.into_iter().map(|ids| Prefill::run(llm, &[Piece::Ids(ids)])).collect::<Result<Vec<_>>>()?;
    let hidden = Tensor::cat(&prefills.iter().map(|p| &p.hidden).collect::<Vec<_>>(), 0)?;
    case.check_packed("last_hidden", &hidden, PART)?;
    case.check_packed("logits", &llm.logits(&hidden)?, PART)?;
    check_greedy(subject, case, prefills)
}

/// Compares the greedy continuations of prompts with the quantity `greedy`.
///
/// # Errors
/// When the case has none or the model fails.
pub(crate) fn check_greedy(subject: &Subject, case: &mut Case, prompts: Vec<Prefill>) -> Result<()> {
    let expected = case.take_ids("greedy")?;
    let n_tokens = expected.iter().map(Vec::len).max().unwrap_or(0);
    let ours = prompts.into_iter().map(|prompt| prompt.greedy(&subject.llm, n_tokens)).collect::<Result<Vec<_>>>()?;
    case.record_ids("greedy", &ours, &expected);
    Ok(())
}

/// A prompt in the language model.
pub(crate) struct Prefill {
    /// What it left behind.
    pub(crate) cache: KvCache,
    /// Hidden states of all its positions, `[T, H]`.
    pub(crate) hidden: Tensor,
}

impl Prefill {
    /// Runs a prompt at its true length.
    ///
    /// # Errors
    /// When the model fails.
    pub(crate) fn run(llm: &Model, pieces: &[Piece]) -> Result<Self> {
        let embed = |piece: &Piece| match piece {
            Piece::Ids(ids) => llm.embed(ids),
            Piece::Embeddings(x) => Ok(x.clone()),
        };
        let x = Tensor::cat(&pieces.iter().map(embed).collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        let mut cache = llm.new_cache();
        let hidden = append(llm, &x, &mut cache)?;
        Ok(Self { cache, hidden })
    }

    /// Logits behind the last position, `[1, vocab]`.
    ///
    /// # Errors
    /// When the model fails.
    pub(crate) fn last_logits(&self, llm: &Model) -> Result<Tensor> {
        let last = self.hidden.dim(0)?.checked_sub(1).context("an empty prompt")?;
        Ok(llm.logits(&self.hidden.narrow(0, last, 1)?)?)
    }

    /// The likeliest tokens one after the other, end tokens like any others: the recorded ones go on behind them.
    fn greedy(mut self, llm: &Model, n_tokens: usize) -> Result<Vec<u32>> {
        let mut sampler = Sampler::new(SamplerSettings::GREEDY);
        let mut tokens = Vec::with_capacity(n_tokens);
        while tokens.len() < n_tokens {
            let token = sampler.pick(&self.last_logits(llm)?.get(0)?.to_vec1::<f32>()?)?;
            tokens.push(token);
            self.hidden = append(llm, &llm.embed(&[token])?, &mut self.cache)?;
        }
        Ok(tokens)
    }
}

fn append(llm: &Model, x: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
    let mut runs = [Run { n_rows: x.dim(0)?, cache: CacheUse::Append(cache) }];
    Ok(llm.forward(x, &mut runs)?)
}

/// A tokenized prompt as the published code writes it: every embedding is one image token.
pub(crate) fn ids_of(pieces: &[Piece], image_id: u32) -> Vec<u32> {
    let ids = |piece: &Piece| match piece {
        Piece::Ids(ids) => ids.clone(),
        Piece::Embeddings(_) => vec![image_id; piece.n_positions()],
    };
    pieces.iter().flat_map(ids).collect()
}
