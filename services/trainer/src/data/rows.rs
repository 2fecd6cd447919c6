//! Samples from a file of rows, one JSON object a line.
//!
//! The file is read once, when the stage begins, and its rows stay in memory, some hundred bytes each; pictures are read
//! when they are asked for. An epoch takes every row once, in an order that follows from (seed, stage, task, epoch). A
//! picture that turns out to be none leaves its slot to the next row of the file, whoever finds it out and when, so what a
//! slot holds does not depend on threads or on where a run was resumed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use unipic_imaging::{DecodeLimits, Rgb8, decode, square_crop, square_pad};
use unipic_models::prompt::Role;
use unipic_world::DESCRIBE;

use super::order::shuffled;
use super::row::{self, BadRow, Fault, Lesson, Reason};
use super::{Asked, Described, Edited, Kind};
use crate::TrainError;
use crate::draws::{Purpose, draws};

/// What is around an image that is padded to a square (model page, section 7).
const GREY: [u8; 3] = [127; 3];

/// Captions that are drawn for a look.
const SHOWN: usize = 6;

/// What an order of rows is for; each has its own.
#[derive(Clone, Copy)]
enum Use {
    Pictures,
    Captions,
    Questions,
    Edits,
}

/// The rows of a file.
pub(crate) struct Rows {
    path: PathBuf,
    /// The run's seed and the stage's number.
    seed: (u64, usize),
    /// What is good of the file, each with its line.
    lessons: Vec<(usize, Lesson)>,
    /// Which of them have a picture for the autoencoder: all.
    pictures: Vec<u32>,
    /// Which of them say what a picture shows.
    captions: Vec<u32>,
    /// Which of them can be asked about: captions and conversations.
    questions: Vec<u32>,
    /// Which of them are edits.
    edits: Vec<u32>,
    /// Rows of no use, by line.
    bad: Mutex<BTreeMap<usize, Fault>>,
}

/// Why a row's picture did not come.
enum Failure {
    /// It never will: another row takes its slot.
    Bad(Fault),
    /// The disk failed, or the file is gone that was there: the run must not go on as if nothing were.
    Disk(TrainError),
}

impl Rows {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read. Rows of no use are none of its errors.
    pub(super) fn read(path: &Path, seed: (u64, usize)) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let file = File::open(path)?;
        let (mut lessons, mut bad) = (Vec::new(), BTreeMap::new());
        for (line, text) in (1..).zip(BufReader::new(file).split(b'\n')) {
            let text = text?;
            if text.trim_ascii().is_empty() {
                continue;
            }
            match row::read(&text, folder) {
                Ok(lesson) => lessons.push((line, lesson)),
                Err(fault) => {
                    bad.insert(line, fault);
                }
            }
        }
        let those = |has: fn(&Lesson) -> bool| {
            let numbered = lessons.iter().zip(0..);
            numbered.filter(|((_, lesson), _)| has(lesson)).map(|(_, number)| number).collect()
        };
        Ok(Self {
            path: path.to_owned(),
            seed,
            pictures: those(|_| true),
            captions: those(|lesson| matches!(lesson, Lesson::Caption { .. })),
            questions: those(|lesson| !matches!(lesson, Lesson::Edit { .. })),
            edits: those(|lesson| matches!(lesson, Lesson::Edit { .. })),
            lessons,
            bad: Mutex::new(bad),
        })
    }

    /// Refuses a file that has nothing for one of these tasks, or nothing at all.
    ///
    /// # Errors
    /// Which it is, and what was wrong with the rows.
    pub(super) fn check(&self, wanted: &[Kind]) -> Result<(), String> {
        let lacks = |kind: &Kind| match kind {
            Kind::Understanding => self.questions.is_empty(),
            Kind::Generation => self.captions.is_empty(),
            Kind::Editing => self.edits.is_empty(),
        };
        let what = match wanted.iter().find(|kind| lacks(kind)) {
            Some(Kind::Understanding) => "`caption` or `conversation`",
            Some(Kind::Generation) => "`caption`",
            Some(Kind::Editing) => "`source`, `target` and `instruction`",
            None if self.lessons.is_empty() => "a picture",
            None => return Ok(()),
        };
        let (path, counts) = (self.path.display(), self.bad_counts());
        let first = self.bad().first().map(|row| format!("; line {}: {}", row.line, row.why)).unwrap_or_default();
        Err(format!("rows: {path} has no good row with {what}; bad ones: {counts:?}{first}"))
    }

    /// Captions and edits.
    pub(super) fn n_drawn(&self) -> u64 {
        (self.captions.len() + self.edits.len()) as u64
    }

    pub(super) fn position(&self, kind: Kind, slot: u64) -> u64 {
        match kind {
            Kind::Generation => self.place(Use::Captions, &self.captions, slot),
            Kind::Editing => self.place(Use::Edits, &self.edits, slot),
            Kind::Understanding => self.place(Use::Questions, &self.questions, slot),
        }
    }

    pub(super) fn generation(&self, position: u64, side: usize) -> Result<Described, TrainError> {
        self.first_good(&self.captions, position, |line, lesson| match lesson {
            Lesson::Caption { image, caption } => Ok(Some(Described {
                picture: cropped(image, side)?,
                words: caption.clone(),
                scene: None,
                line: Some(line),
            })),
            _ => Ok(None),
        })
    }

    pub(super) fn editing(&self, position: u64, side: usize) -> Result<Edited, TrainError> {
        self.first_good(&self.edits, position, |line, lesson| match lesson {
            Lesson::Edit { source, target, instruction } => {
                let (source, target) = (cropped(source, side)?, cropped(target, side)?);
                Ok(Some(Edited { source, target, instruction: instruction.clone(), scenes: None, line: Some(line) }))
            }
            _ => Ok(None),
        })
    }

    pub(super) fn understanding(&self, position: u64, side: usize) -> Result<Asked, TrainError> {
        self.first_good(&self.questions, position, |line, lesson| {
            let (image, said, answer) = match lesson {
                Lesson::Caption { image, caption } => (image, vec![(Role::User, DESCRIBE.to_owned())], caption),
                Lesson::Conversation { image, said, answer } => (image, said.clone(), answer),
                Lesson::Edit { .. } => return Ok(None),
            };
            let picture = square_pad(&load(image)?, side as u32, GREY);
            Ok(Some(Asked { picture, said, answer: answer.clone(), scene: None, line: Some(line) }))
        })
    }

    /// Of an edit, the picture that comes of it.
    pub(super) fn picture(&self, slot: u64, side: usize) -> Result<Rgb8, TrainError> {
        self.pictured(slot, side).map(|(_, picture)| picture)
    }

    /// The line of [`Rows::picture`].
    pub(super) fn picture_line(&self, slot: u64) -> Option<usize> {
        self.pictured(slot, 1).ok().map(|(line, _)| line)
    }

    fn pictured(&self, slot: u64, side: usize) -> Result<(usize, Rgb8), TrainError> {
        let position = self.place(Use::Pictures, &self.pictures, slot);
        self.first_good(&self.pictures, position, |line, lesson| match lesson {
            Lesson::Caption { image, .. } | Lesson::Conversation { image, .. } | Lesson::Edit { target: image, .. } => {
                Ok(Some((line, cropped(image, side)?)))
            }
        })
    }

    /// The file's first captions: rows have no side that is held out.
    pub(super) fn prompts_to_show(&self) -> (Vec<String>, usize) {
        let caption = |number: &u32| match &self.lessons[*number as usize].1 {
            Lesson::Caption { caption, .. } => Some(caption.clone()),
            _ => None,
        };
        (self.captions.iter().filter_map(caption).take(SHOWN).collect(), SHOWN)
    }

    /// Rows of no use, in the order of lines.
    pub(super) fn bad(&self) -> Vec<BadRow> {
        let of = |(line, fault): (&usize, &Fault)| BadRow {
            stage: self.seed.1,
            rows: self.path.clone(),
            line: *line,
            reason: fault.reason,
            why: fault.why.clone(),
        };
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).iter().map(of).collect()
    }

    /// How many rows are of no use, by reason.
    pub(super) fn bad_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for fault in self.bad.lock().unwrap_or_else(PoisonError::into_inner).values() {
            *counts.entry(fault.reason.name().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Where in `list` a slot looks: each epoch takes every place once, in an order of its own.
    fn place(&self, purpose: Use, list: &[u32], slot: u64) -> u64 {
        let n = list.len().max(1) as u64;
        let epoch = slot / n;
        let key = draws(self.seed, (Purpose::Rows, purpose as u16), epoch).bits();
        shuffled(key, n, slot % n)
    }

    /// What `read` makes of the row at a place of `list`, or of the first behind it whose pictures are good.
    fn first_good<T>(
        &self,
        list: &[u32],
        place: u64,
        read: impl Fn(usize, &Lesson) -> Result<Option<T>, Failure>,
    ) -> Result<T, TrainError> {
        for step in 0..list.len() {
            let number = list[(place as usize + step) % list.len()];
            let (line, lesson) = &self.lessons[number as usize];
            match read(*line, lesson) {
                Ok(Some(sample)) => return Ok(sample),
                Ok(None) => {}
                Err(Failure::Disk(error)) => return Err(error),
                Err(Failure::Bad(fault)) => {
                    let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
                    bad.entry(*line).or_insert(fault);
                }
            }
        }
        Err(TrainError::Data(format!("rows: no picture of {} can be decoded", self.path.display())))
    }
}

fn cropped(path: &Path, side: usize) -> Result<Rgb8, Failure> {
    Ok(square_crop(&load(path)?, side as u32))
}

/// Reads a picture's file, no further than one may be long.
fn load(path: &Path) -> Result<Rgb8, Failure> {
    let limits = DecodeLimits::default();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limits.max_bytes as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|e| Failure::Disk(TrainError::io(path)(e)))?;
    let fault = |why| Failure::Bad(Fault::new(Reason::Undecodable, format!("{}: {why}", path.display())));
    decode(&bytes, &limits).map_err(|e| fault(e.to_string()))
}
