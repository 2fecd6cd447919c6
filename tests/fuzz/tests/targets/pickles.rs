//! Released checkpoints: the index of a pickle, read by the process that does nothing else.

use std::time::Duration;

use fuzz::{Bounds, Outcome, Target};
use integration::processes::binary;
use unipic_weights::{Checkpoint, Layout, OpenOptions};

use crate::model;

const TARGET: Target = Target {
    name: "pickles",
    // The reading process has limits of its own, which it sets itself; this is what its answer takes here.
    bounds: Bounds { bytes: 16 << 20, time: Duration::from_secs(70) },
    rounds: 2,
    words: &["\u{8c}\u{2}os", "cos\nsystem\n", "R", "((((", "]]]]", "\u{2}", "PK\u{1}\u{2}", "data.pkl", "Q", "0", "."],
};

#[test]
fn pickles_are_indexed_or_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("checkpoint"))?;
    for name in ["config.json", "tokenizer.json", "checkpoint/kl16.ckpt"] {
        std::fs::copy(model().join(name), dir.path().join(name))?;
    }
    let seed = std::fs::read(model().join("checkpoint/pytorch_model.bin"))?;
    let reader = binary("unipic-convert")?;
    let replayed = TARGET.replay(&[seed], |input| {
        std::fs::write(dir.path().join("checkpoint/pytorch_model.bin"), input).expect("a file of the test");
        let options = OpenOptions { layout: Some(Layout::Pickle), pickle_reader: Some(reader.clone()) };
        match Outcome::of(Checkpoint::open_with(dir.path(), &options)) {
            // A limit that stops it is what the limits are for; another end is a panic.
            Outcome::Refused(why) if why.contains("the pickle reader failed") => Outcome::Broken(why),
            outcome => outcome,
        }
    });
    stated!(replayed?)
}
