//! The embedded model: nano, which every service and the command line take where no other is named.
//!
//! It has every part of the published model at a few hundredths of the width, draws 128×128 pixels of the shapes world
//! (coloured shapes, counts, positions, edits and questions about them) and knows nothing else. It is here so that the
//! program does something true before anyone has downloaded gigabytes, and so that tests and evaluations have a trained
//! model to hold to. What it was trained on, how well it does and what it cannot do is in its card, `shared/models/nano.md`.
//!
//! The three files under `shared/models/nano` are written by `unipic model pack RUN/model shared/models/nano` from a
//! finished run of the recipe `nano`. They are read where they lie in the program: nothing is unpacked, so a machine with a
//! read-only disk serves it too.

use unipic_weights::{Checkpoint, EmbeddedFiles, WeightsError};

/// What stands for the embedded model wherever a checkpoint's folder is asked for; a folder of this name is `./nano`.
pub const NAME: &str = "nano";

const FILES: EmbeddedFiles = EmbeddedFiles {
    name: NAME,
    config: include_bytes!("../nano/config.json"),
    tokenizer: include_bytes!("../nano/tokenizer.json"),
    tensors: include_bytes!("../nano/model.safetensors"),
};

/// Opens it; no values are read yet.
///
/// # Errors
/// When the program's file is damaged.
pub fn checkpoint() -> Result<Checkpoint, WeightsError> {
    Checkpoint::embedded(&FILES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::LoadOptions;
    use crate::prompt::PromptTokenizer;

    #[test]
    fn the_embedded_files_are_one_whole_model() {
        let checkpoint = checkpoint().unwrap();
        let parts = unipic_weights::Part::ALL;
        assert_eq!(checkpoint.parts(), parts);
        assert_eq!(checkpoint.notices(), Vec::<String>::new());
        LoadOptions::cpu().load(&checkpoint, &parts).unwrap();
        let tokenizer = PromptTokenizer::from_json(&checkpoint.tokenizer().unwrap()).unwrap();
        assert!((tokenizer.last_id() as usize) < checkpoint.config().llm.vocab_size);
        assert_eq!(checkpoint.config().name, NAME);
    }
}
