//! Tries inputs on a target, and holds each to the bounds.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::memory::peak_of;
use crate::mutate::Mutator;

/// Memory is counted for the whole process, so targets take turns.
static TURN: Mutex<()> = Mutex::new(());

/// An input that takes this long hangs: the process is ended, since nothing else ends a loop.
const HANGS: Duration = Duration::from_secs(60);

/// What one input may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of memory beyond the input's own.
    pub bytes: usize,
    /// Time. Generous, for machines that do other things meanwhile; what it finds is work out of proportion.
    pub time: Duration,
}

/// What became of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Taken,
    /// It was refused; what the error says.
    Refused(String),
    /// What must not be: a fault of ours, told as such.
    Broken(String),
}

impl Outcome {
    /// Of a result whose errors are typed.
    pub fn of<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Taken,
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// How many inputs became what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Inputs that are right.
    pub seeds: usize,
    /// Files of the corpus.
    pub files: usize,
    /// Damaged copies of both.
    pub damaged: usize,
    /// Inputs that were taken.
    pub taken: usize,
    /// Inputs that were refused.
    pub refused: usize,
    /// The most memory that one took, in bytes.
    pub peak: usize,
    /// The longest that one took.
    pub longest: Duration,
}

/// Something that reads bytes of a stranger.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and its folder's in the corpus.
    pub name: &'static str,
    /// What one input may take.
    pub bounds: Bounds,
    /// Damaged copies of every seed and corpus file, where `UNIPIC_FUZZ_ROUNDS` says nothing else.
    pub rounds: usize,
    /// Words that mean something to it.
    pub words: &'static [&'static str],
}

impl Target {
    /// Tries seeds, corpus and damaged copies of both. Seeds have to be taken.
    ///
    /// # Errors
    /// The first input that panics, breaks a bound, is refused without a word, or, if it is a seed, is refused at all; it is
    /// kept as a file. Nothing refused or nothing taken, since such a run would prove little.
    pub fn replay(&self, seeds: &[Vec<u8>], judge: impl Fn(&[u8]) -> Outcome) -> anyhow::Result<Replayed> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let corpus = self.corpus()?;
        let mut trial = Trial::new(self)?;
        for (number, seed) in seeds.iter().enumerate() {
            let outcome = trial.run(&format!("seed {number}"), seed, &judge)?;
            ensure!(outcome == Outcome::Taken, "{}: seed {number} is right and was not taken: {outcome:?}", self.name);
        }
        for (name, input) in &corpus {
            trial.run(name, input, &judge)?;
        }
        let inputs: Vec<&Vec<u8>> = seeds.iter().chain(corpus.values()).collect();
        let mut mutator = Mutator::new(number("UNIPIC_FUZZ_SEED")?.unwrap_or(1), self.words);
        let rounds = number("UNIPIC_FUZZ_ROUNDS")?.map_or(self.rounds, |rounds| rounds as usize);
        for round in 0..rounds {
            for (which, input) in inputs.iter().enumerate() {
                let other = inputs[(which + round) % inputs.len()];
                trial.run(&format!("round {round} of input {which}"), &mutator.damaged(input, other), &judge)?;
            }
        }
        let damaged = rounds * inputs.len();
        let replayed = Replayed { seeds: seeds.len(), files: corpus.len(), damaged, ..trial.replayed };
        // Nothing failed, so nothing is to be kept.
        std::fs::remove_file(&trial.kept)?;
        println!("{}: {replayed:?}", self.name);
        ensure!(replayed.taken > 0 && replayed.refused > 0, "{}: {replayed:?} proves little", self.name);
        Ok(replayed)
    }

    /// The corpus files, by name.
    fn corpus(&self) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
        ensure!(!files.is_empty(), "{} holds no file", folder.display());
        Ok(files)
    }
}

/// A number in the environment.
fn number(name: &str) -> anyhow::Result<Option<u64>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{name} must be a number, not {text:?}"))
}

/// A run over inputs.
struct Trial<'a> {
    target: &'a Target,
    /// Where the input that is being tried lies, also for the case that the process ends with it.
    kept: PathBuf,
    watch: Sender<()>,
    replayed: Replayed,
}

impl<'a> Trial<'a> {
    fn new(target: &'a Target) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join("unipic-fuzz");
        std::fs::create_dir_all(&folder)?;
        let kept = folder.join(format!("{}-{}", target.name, std::process::id()));
        let replayed = Replayed::default();
        Ok(Self { target, watch: watch(target.name, kept.clone()), kept, replayed })
    }

    fn run(&mut self, what: &str, input: &[u8], judge: &impl Fn(&[u8]) -> Outcome) -> anyhow::Result<Outcome> {
        std::fs::write(&self.kept, input)?;
        // The watcher begins to count anew.
        let _ = self.watch.send(());
        let start = Instant::now();
        let (outcome, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| judge(input))));
        let took = start.elapsed();
        let (name, kept, bounds) = (self.target.name, self.kept.display(), self.target.bounds);
        let Ok(outcome) = outcome else { bail!("{name}: {what} panics; it is kept at {kept}") };
        ensure!(peak <= bounds.bytes, "{name}: {what} takes {peak} bytes of memory; it is kept at {kept}");
        ensure!(took <= bounds.time, "{name}: {what} takes {took:?}; it is kept at {kept}");
        match &outcome {
            Outcome::Taken => self.replayed.taken += 1,
            Outcome::Refused(why) => {
                ensure!(!why.trim().is_empty(), "{name}: {what} is refused without a word; it is kept at {kept}");
                self.replayed.refused += 1;
            }
            Outcome::Broken(how) => bail!("{name}: {what}: {how}; it is kept at {kept}"),
        }
        self.replayed.peak = self.replayed.peak.max(peak);
        self.replayed.longest = self.replayed.longest.max(took);
        Ok(outcome)
    }
}

/// Ends the process when an input hangs. The thread ends with the trial.
fn watch(name: &'static str, kept: PathBuf) -> Sender<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        loop {
            match receiver.recv_timeout(HANGS) {
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: an input hangs for {HANGS:?}; it is kept at {}", kept.display());
                    std::process::abort();
                }
            }
        }
    });
    sender
}
