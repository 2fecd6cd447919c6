//! An artist that knows the shapes world: it looks up what is asked of it.

use std::collections::HashMap;
use std::sync::Mutex;

use unipic_api::pb;
use unipic_eval::nano::Nano;
use unipic_eval::{Answer, Artist, ArtistError, Drawing, Editing, Picture, Question, curate};
use unipic_imaging::{DecodeLimits, Format, Rgb8, decode, encode};
use unipic_world::{Category, EditKind, QuestionKind, Sampler, Scene, Split, judge};

/// Draws every held-out prompt of a configuration as the world does, but for those it is told to get wrong.
pub(crate) struct Shapes {
    side: u32,
    scenes: HashMap<String, Scene>,
    edits: HashMap<(String, Vec<u8>), Scene>,
    answers: HashMap<(String, Vec<u8>), String>,
    /// Prompts, instructions and questions that come out wrong.
    pub(crate) wrong: fn(&str) -> bool,
    /// How many requests came.
    pub(crate) asked: Mutex<usize>,
}

fn png(image: &Rgb8) -> Vec<u8> {
    encode(image, Format::Png, &[]).unwrap()
}

impl Shapes {
    pub(crate) fn new(config: &Nano, side: u32, wrong: fn(&str) -> bool) -> Self {
        let sampler = Sampler::new(config.world_seed, config.difficulty.clone(), Split::HeldOut);
        let (mut scenes, mut edits, mut answers) = (HashMap::new(), HashMap::new(), HashMap::new());
        let drawn = |scene: &Scene| png(&scene.draw(side as usize));
        for at in 0..config.per_category {
            let all = Category::ALL.iter().map(|kind| sampler.generation_in(*kind, at));
            scenes.extend(all.map(|sample| (sample.prompt, sample.scene)));
        }
        for at in 0..config.per_edit {
            let all = EditKind::ALL.iter().map(|kind| sampler.edit_in(*kind, at));
            edits.extend(all.map(|sample| ((sample.instruction, drawn(&sample.before)), sample.after)));
        }
        for at in 0..config.per_question {
            let all = QuestionKind::ALL.iter().map(|kind| sampler.question_in(*kind, at));
            answers.extend(all.map(|sample| ((sample.question, drawn(&sample.scene)), sample.answer)));
        }
        for sample in (0..config.captions).map(|at| sampler.caption(at)) {
            answers.insert((sample.question, drawn(&sample.scene)), sample.caption);
        }
        Self { side, scenes, edits, answers, wrong, asked: Mutex::new(0) }
    }

    fn picture(&self, text: &str, scene: Option<&Scene>) -> Result<Picture, ArtistError> {
        *self.asked.lock().unwrap() += 1;
        let scene = scene.ok_or_else(|| ArtistError(format!("`{text}` is not known")))?;
        // A wrong picture lacks the first object.
        let mut scene = scene.clone();
        if (self.wrong)(text) {
            scene.objects.remove(0);
        }
        Ok(Picture { png: png(&scene.draw(self.side as usize)), seconds: Some(2.0) })
    }
}

impl Artist for Shapes {
    async fn model(&self) -> Result<pb::GetModelResponse, ArtistError> {
        let mut model = super::model("5a5a5a5a5a5a5a5a");
        model.image_defaults = model.image_defaults.map(|defaults| pb::ImageOptions {
            width: Some(self.side),
            height: Some(self.side),
            ..defaults
        });
        Ok(model)
    }

    async fn draw(&self, request: Drawing) -> Result<Picture, ArtistError> {
        self.picture(&request.prompt, self.scenes.get(&request.prompt))
    }

    async fn edit(&self, request: Editing) -> Result<Picture, ArtistError> {
        let scene = self.edits.get(&(request.instruction.clone(), request.source));
        self.picture(&request.instruction, scene)
    }

    async fn ask(&self, mut request: Question) -> Result<Answer, ArtistError> {
        *self.asked.lock().unwrap() += 1;
        let known = self.answers.get(&(request.text.clone(), request.images.remove(0)));
        let known = known.ok_or_else(|| ArtistError(format!("`{}` is not known", request.text)))?;
        let text = if (self.wrong)(&request.text) { "mauve".to_owned() } else { format!("{known}.") };
        Ok(Answer { text, seconds: 0.1 })
    }

    async fn weigh(&self, _: Question, _: &[&str]) -> Result<Vec<f64>, ArtistError> {
        Err(ArtistError("nothing is weighed here".into()))
    }
}

/// Says whether a picture shows a caption, by looking at it.
#[derive(Default)]
pub(crate) struct Looker {
    /// Every question with its seed.
    pub(crate) asked: Mutex<Vec<(String, Option<u64>)>>,
    /// Says yes this often of ten whatever it sees, where it is asked with a seed.
    pub(crate) yes_of_ten: usize,
}

impl Artist for Looker {
    async fn model(&self) -> Result<pb::GetModelResponse, ArtistError> {
        Ok(super::model(""))
    }

    async fn draw(&self, _: Drawing) -> Result<Picture, ArtistError> {
        Err(ArtistError("cannot draw".into()))
    }

    async fn edit(&self, _: Editing) -> Result<Picture, ArtistError> {
        Err(ArtistError("cannot edit".into()))
    }

    async fn ask(&self, request: Question) -> Result<Answer, ArtistError> {
        let n = {
            let mut asked = self.asked.lock().unwrap();
            asked.push((request.text.clone(), request.seed));
            asked.len()
        };
        if request.text.contains("fail") {
            return Err(ArtistError("the server is gone".into()));
        }
        let image = decode(request.images.last().unwrap(), &DecodeLimits::default()).unwrap();
        let said = request.text.strip_prefix("Does this figure show ").and_then(|text| text.strip_suffix('?'));
        let claim = said.and_then(curate::parse_claim);
        let yes = match request.seed {
            Some(_) => n % 10 < self.yes_of_ten,
            None => claim.is_none_or(|claim| judge(&image, &claim).right),
        };
        Ok(Answer { text: if yes { "Yes." } else { "No." }.into(), seconds: 0.1 })
    }

    /// Nine tenths sure of what it sees, in two spellings.
    async fn weigh(&self, request: Question, candidates: &[&str]) -> Result<Vec<f64>, ArtistError> {
        let yes = self.ask(request).await?.text == "Yes.";
        let of = |text: &&str| match (text.to_lowercase() == "yes") == yes {
            true if text.starts_with(char::is_uppercase) => 0.6,
            true => 0.35,
            false => 0.02,
        };
        Ok(candidates.iter().map(of).collect())
    }
}
