//! What is asked for, item by item, and how each is done and judged.

use std::path::{Path, PathBuf};

use serde::Serialize;
use unipic_imaging::{DecodeLimits, Format, Rgb8, decode, encode};
use unipic_world::{Category, EditKind, EditSample, QuestionKind, Sampler, judge, judge_edit, names_all};

use super::{Item, Nano, Section};
use crate::bench::is_there;
use crate::files::{self, Folder};
use crate::jobs::{Done, Lost};
use crate::{Artist, Drawing, Editing, EvalError, Picture, Question, Settings, seed_of};

/// Tokens of an answer to a question; the longest answers are two words.
const ANSWER_TOKENS: u32 = 16;

/// Tokens of a caption.
const CAPTION_TOKENS: u32 = 128;

/// One thing to ask for: its kind and its number within the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Draw(Category, u64),
    Edit(EditKind, u64),
    Ask(QuestionKind, u64),
    Describe(u64),
}

impl Task {
    /// Everything that a configuration asks for.
    pub(crate) fn all(config: &Nano) -> Vec<Self> {
        let most = config.run.limit.map_or(u64::MAX, |limit| limit as u64);
        let each = |n: u64| 0..n.min(most);
        // Without textures a model cannot have learnt what they are called.
        let has_textures = config.difficulty.textured_share > 0.0;
        let edits = EditKind::ALL.iter().filter(move |kind| has_textures || **kind != EditKind::Style);
        let draw = Category::ALL.iter().flat_map(|kind| each(config.per_category).map(|at| Self::Draw(*kind, at)));
        let edit = edits.flat_map(|kind| each(config.per_edit).map(|at| Self::Edit(*kind, at)));
        let ask = QuestionKind::ALL.iter().flat_map(|kind| each(config.per_question).map(|at| Self::Ask(*kind, at)));
        draw.chain(edit).chain(ask).chain(each(config.captions).map(Self::Describe)).collect()
    }

    /// Its name, such as "drawing two_objects 3".
    pub(crate) fn name(self) -> String {
        match self {
            Self::Draw(kind, at) => format!("drawing {} {at}", slug(&kind)),
            Self::Edit(kind, at) => format!("edit {} {at}", slug(&kind)),
            Self::Ask(kind, at) => format!("question {} {at}", slug(&kind)),
            Self::Describe(at) => format!("caption {at}"),
        }
    }
}

/// The name of a value as it is in files.
fn slug(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("other").to_owned()
}

/// What every task needs.
pub(crate) struct Tools<'a, A> {
    pub(crate) artist: &'a A,
    pub(crate) sampler: &'a Sampler,
    pub(crate) folder: &'a Folder,
    pub(crate) settings: &'a Settings,
    pub(crate) seed: u64,
}

impl<A: Artist> Tools<'_, A> {
    /// Does a task and judges the result.
    pub(crate) async fn perform(&self, task: Task) -> Result<Done<Item>, Lost> {
        match task {
            Task::Draw(kind, at) => self.draw(kind, at).await,
            Task::Edit(kind, at) => self.edit(kind, at).await,
            Task::Ask(kind, at) => self.ask(kind, at).await,
            Task::Describe(at) => self.describe(at).await,
        }
    }

    async fn draw(&self, category: Category, at: u64) -> Result<Done<Item>, Lost> {
        let sample = self.sampler.generation_in(category, at);
        let stem = format!("{}/{at:03}", slug(&category));
        let path = PathBuf::from(format!("images/{stem}.png"));
        let request = Drawing {
            prompt: sample.prompt.clone(),
            seed: seed_of(self.seed, &stem, 0),
            settings: self.settings.clone(),
        };
        let made = self.keep_or_make(&path, async { Ok(self.artist.draw(request).await?) }).await?;
        let (pixels, claim) = (pixels(&made.png)?, sample.claim.clone());
        let verdict = aside(move || judge(&pixels, &claim)).await?;
        let item = Item {
            right: verdict.right,
            said: verdict.reasons.join("; "),
            claim: Some(sample.claim),
            seen: Some(verdict.seen),
            images: vec![path],
            seconds: made.seconds,
            ..blank(Section::Drawing, slug(&category), at, sample.prompt)
        };
        Ok(made.done(item))
    }

    async fn edit(&self, kind: EditKind, at: u64) -> Result<Done<Item>, Lost> {
        let sample = self.sampler.edit_in(kind, at);
        let stem = format!("{}/{at:03}", slug(&kind));
        let path = PathBuf::from(format!("edits/{stem}.png"));
        let shown = PathBuf::from(format!("edits/{stem}_source.png"));
        let before = sample.before.draw(self.settings.width as usize);
        let source = encode(&before, Format::Png, &[]).map_err(EvalError::from)?;
        if !is_there(self.folder, &shown).await? {
            self.folder.write_later(shown.clone(), source.clone()).await?;
        }
        let request = Editing {
            source,
            instruction: sample.instruction.clone(),
            seed: seed_of(self.seed, &stem, 1),
            settings: self.settings.clone(),
        };
        let made = self.keep_or_make(&path, async { Ok(self.artist.edit(request).await?) }).await?;
        let result = pixels(&made.png)?;
        let EditSample { instruction, claim_after, .. } = sample.clone();
        let verdict = aside(move || judge_edit(&before, &result, &sample)).await?;
        let item = Item {
            right: verdict.right,
            said: verdict.reasons.join("; "),
            claim: Some(claim_after),
            seen: Some(verdict.seen),
            untouched_error: Some(verdict.untouched_mean_error),
            images: vec![shown, path],
            seconds: made.seconds,
            ..blank(Section::Edit, slug(&kind), at, instruction)
        };
        Ok(made.done(item))
    }

    async fn ask(&self, kind: QuestionKind, at: u64) -> Result<Done<Item>, Lost> {
        let sample = self.sampler.question_in(kind, at);
        let image = sample.scene.draw(self.settings.width as usize);
        let said = self.answer(&image, sample.question.clone(), ANSWER_TOKENS).await?;
        let item = Item {
            right: plain(&said) == plain(&sample.answer),
            said,
            answer: Some(sample.answer),
            ..blank(Section::Question, slug(&kind), at, sample.question)
        };
        Ok(Done::Made(item))
    }

    async fn describe(&self, at: u64) -> Result<Done<Item>, Lost> {
        let sample = self.sampler.caption(at);
        let image = sample.scene.draw(self.settings.width as usize);
        let said = self.answer(&image, sample.question.clone(), CAPTION_TOKENS).await?;
        let item = Item {
            right: names_all(&said, &sample.scene),
            said,
            answer: Some(sample.caption),
            ..blank(Section::Caption, "caption".to_owned(), at, sample.question)
        };
        Ok(Done::Made(item))
    }

    async fn answer(&self, image: &Rgb8, text: String, max_tokens: u32) -> Result<String, Lost> {
        let image = encode(image, Format::Png, &[]).map_err(EvalError::from)?;
        let request = Question { images: vec![image], text, max_tokens, seed: None };
        Ok(self.artist.ask(request).await?.text.trim().to_owned())
    }

    /// Keeps an image that is there, or has it made and written.
    async fn keep_or_make(
        &self,
        path: &Path,
        make: impl Future<Output = Result<Picture, Lost>>,
    ) -> Result<OneImage, Lost> {
        if is_there(self.folder, path).await? {
            let png = files::read(&self.folder.path(path))?;
            return Ok(OneImage { png, seconds: None, kept: true });
        }
        let Picture { png, seconds } = make.await?;
        self.folder.write_later(path.to_owned(), png.clone()).await?;
        Ok(OneImage { png, seconds, kept: false })
    }
}

/// An image that was kept or made.
struct OneImage {
    png: Vec<u8>,
    seconds: Option<f64>,
    kept: bool,
}

impl OneImage {
    fn done(&self, item: Item) -> Done<Item> {
        if self.kept { Done::Kept(item) } else { Done::Made(item) }
    }
}

/// An item of which nothing came yet.
fn blank(section: Section, group: String, index: u64, prompt: String) -> Item {
    Item {
        section,
        group,
        index,
        prompt,
        right: false,
        said: String::new(),
        answer: None,
        claim: None,
        seen: None,
        untouched_error: None,
        images: Vec::new(),
        seconds: None,
    }
}

/// An answer without capitals, article and full stop: "A circle." is "circle".
fn plain(answer: &str) -> String {
    let lower = answer.trim().trim_end_matches(['.', '!']).trim().to_lowercase();
    let bare = ["a ", "an ", "the "].iter().find_map(|article| lower.strip_prefix(article));
    bare.unwrap_or(&lower).to_owned()
}

/// The pixels of an image that a model made; one that cannot be read is the model's failure.
fn pixels(png: &[u8]) -> Result<Rgb8, Lost> {
    decode(png, &DecodeLimits::default()).map_err(|error| Lost::Item(error.to_string()))
}

/// Computes on a thread of its own, so that requests go on meanwhile.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EvalError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| EvalError::Defect(format!("the judge ended badly ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_without_their_dress() {
        for (said, answer) in [("Red.", "red"), ("A circle", "circle"), (" two\n", "two"), ("No!", "no")] {
            assert_eq!(plain(said), plain(answer));
        }
        assert_ne!(plain("dark red"), plain("red"));
    }
}
