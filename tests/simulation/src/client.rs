//! The callers: the shipped client, asking one thing after another and holding every answer against the right one.

mod door;
mod hearing;

use std::time::Duration;

use fastrand::Rng;
use futures::{Stream, StreamExt, stream};
use tonic::Code;
use unipic_api::{ApiError, pb};
use unipic_client::{CallOptions, ClientError, UniPicClient};

use crate::ask::{Ask, RightImages, What, png, right_answer};
use crate::hosts::side_of;
use crate::invariant::{Invariant, Wrong};
use crate::mutant::Mutant;
use crate::record::Record;
use crate::truth;
use door::{Door, Event};
use hearing::{Drawn, Said};

/// What a request may take beyond its deadline: the client's own grace is half a second.
const SLACK: Duration = Duration::from_millis(600);
/// Once everything is whole again, a client has a good answer within this time: dead peers are noticed in 4 s, a connection
/// is made in 2 s or given up, breakers try again after 5 s, and an image takes a second.
const RECOVERY: Duration = Duration::from_secs(15);

/// A request that has not ended so long after its deadline never will.
const NEVER: Duration = Duration::from_secs(10);

/// A caller on a host of its own.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) client: UniPicClient,
    pub(crate) record: Record,
    /// When all faults are over, in simulated time.
    pub(crate) healed: Duration,
    /// What is wrong with what it is told, where a mutant is run.
    pub(crate) mutant: Option<Mutant>,
}

/// How a request ended.
enum End {
    Right { resumed: usize },
    Left,
    Failed(ClientError),
    Wrong(Wrong),
}

pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Caller {
    /// Asks until everything is whole again, then until one image has come.
    pub(crate) async fn ask_on(self, mut rng: Rng) {
        while now() < self.healed {
            tokio::time::sleep(Duration::from_millis(rng.u64(1..700))).await;
            self.ask(&Ask::draw(&mut rng, side_of)).await;
        }
        let began = now().max(self.healed);
        for attempt in 0.. {
            let plain = Ask::plain(rng.u64(..), RECOVERY);
            if self.ask(&plain).await {
                break;
            }
            if now() > began + RECOVERY {
                let text = format!("{}: no image {attempt} attempts after everything was whole again", self.name);
                self.record.violation(now(), Invariant::Heals, &text);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = now().saturating_sub(began);
        if took > RECOVERY {
            let text = format!("{}: the first image took {took:?} after the repair", self.name);
            self.record.violation(now(), Invariant::Heals, &text);
        }
        self.record.with(|run| run.recovery = run.recovery.max(took));
    }

    /// Asks, and judges how it ended. True where the right answer came.
    async fn ask(&self, ask: &Ask) -> bool {
        let (began, name) = (now(), ask.what.name());
        let options = CallOptions { deadline: self.door().deadline(ask.deadline), ..CallOptions::default() };
        let client = self.client.clone().with_options(options);
        let answering = self.answer(&client, &ask.what);
        let limit = ask.leaves_after.unwrap_or(ask.deadline + NEVER);
        let end = match tokio::time::timeout(limit, answering).await {
            Ok(end) => end,
            Err(_) if ask.leaves_after.is_some() => End::Left,
            Err(_) => End::Wrong((Invariant::Ends, "did not end".to_owned())),
        };
        let took = now().saturating_sub(began);
        let outcome = match &end {
            End::Right { .. } => "right".to_owned(),
            End::Left => "left".to_owned(),
            End::Failed(error) => format!("{:?}", error.code()),
            End::Wrong(_) => "wrong".to_owned(),
        };
        self.record.event(now(), &format!("{}: {name} {outcome} after {} ms", self.name, took.as_millis()));
        self.judge(ask, &end, took);
        self.record.with(|run| {
            *run.outcomes.entry((name, outcome)).or_default() += 1;
            if let End::Right { resumed } = end {
                run.resumed += resumed;
            }
        });
        matches!(end, End::Right { .. })
    }

    fn judge(&self, ask: &Ask, end: &End, took: Duration) {
        let wrong = |invariant, what: &str| {
            let text = format!("{}: {}: {what}", self.name, ask.what.name());
            self.record.violation(now(), invariant, &text);
        };
        match end {
            End::Wrong((invariant, what)) => return wrong(*invariant, what),
            End::Failed(error) => {
                if let Some((invariant, what)) = wrong_with(error, took, ask.deadline) {
                    wrong(invariant, &what);
                }
            }
            End::Right { .. } | End::Left => {}
        }
        if took > ask.deadline + SLACK {
            let text = format!("ended {took:?} after it began, with a deadline of {:?}", ask.deadline);
            wrong(Invariant::OnTime, &text);
        }
    }

    fn door(&self) -> Door {
        Door(self.mutant)
    }

    async fn answer(&self, client: &UniPicClient, what: &What) -> End {
        match what {
            What::Draw { text, negative, options, source } => {
                let right = RightImages::of(text, negative, options, source.as_ref());
                let (text, negative_prompt, image_options) = (text.clone(), negative.clone(), Some(*options));
                let drawn = Drawn::new(right, options);
                match source {
                    None => {
                        let request = pb::GenerateRequest { prompt: text, negative_prompt, options: image_options };
                        hear(self.door(), client.generate(request).await, drawn, |event| event.event).await
                    }
                    Some(source) => {
                        let edit = pb::EditRequest { instruction: text, negative_prompt, ..Default::default() };
                        let request = pb::EditRequest { image: png(source).into(), options: image_options, ..edit };
                        let event = |event: pb::EditResponse| event.event.map(hearing::as_generated);
                        hear(self.door(), client.edit(request).await, drawn, event).await
                    }
                }
            }
            What::Answer { question, image, path, seed, words } => {
                let said = Said::new(right_answer(question, image.as_ref(), *seed, *words));
                let request = pb::UnderstandRequest {
                    turns: vec![turn(question, image.as_ref().map(png))],
                    max_tokens: Some(*words),
                    seed: Some(*seed),
                    encoder_path: (*path).into(),
                    ..Default::default()
                };
                hear(self.door(), client.understand(request).await, said, |event| event.event).await
            }
            What::Embed { image, path } => {
                let request = pb::EmbedRequest { image: png(image).into(), encoder_path: (*path).into() };
                let right = truth::bytes_of(&truth::embeddings(&image.data));
                let embedded = client.embed(request).await.map(|tensor| self.door().embeddings(tensor));
                self.judged(embedded, Invariant::RightEmbeddings, |tensor| tensor.data == right)
            }
            What::Describe => {
                let is_told = |model: &pb::GetModelResponse| !model.weights_sha256.is_empty();
                let told = client.get_model().await.map(|model| self.door().model(model));
                self.judged(told, Invariant::Described, is_told)
            }
        }
    }

    /// An answer that comes in one.
    fn judged<T>(&self, answer: Result<T, ClientError>, held: Invariant, is_right: impl FnOnce(&T) -> bool) -> End {
        match answer {
            Err(error) => End::Failed(self.door().error(error)),
            Ok(answer) if is_right(&answer) => End::Right { resumed: 0 },
            Ok(_) => End::Wrong((held, "another answer".to_owned())),
        }
    }
}

/// What is wrong with a bad end, if anything.
fn wrong_with(error: &ClientError, took: Duration, deadline: Duration) -> Option<Wrong> {
    let (code, text) = (error.code(), format!("ended with {:?}: {error}", error.code()));
    match error.api() {
        ApiError::Overloaded { retry_after, .. } | ApiError::QuotaExceeded { retry_after, .. } => {
            retry_after.is_zero().then_some((Invariant::SaysWhen, text))
        }
        ApiError::DeadlineExceeded if took + SLACK < deadline => {
            Some((Invariant::NotEarly, format!("late after {took:?}, with a deadline of {deadline:?}")))
        }
        // What came without its details.
        _ if code == Code::ResourceExhausted => Some((Invariant::SaysWhen, text)),
        _ => (!matches!(code, Code::Unavailable | Code::DeadlineExceeded)).then_some((Invariant::Typed, text)),
    }
}

/// Something that follows a stream's events.
trait Hearing<E> {
    /// Takes an event.
    ///
    /// # Errors
    /// What is wrong with it.
    fn hear(&mut self, event: E) -> Result<(), Wrong>;

    /// Judges the stream's good end; how often work was made good on the way.
    ///
    /// # Errors
    /// What is missing.
    fn end(self) -> Result<usize, Wrong>;
}

/// Follows a stream to its end, as it comes through a door.
async fn hear<T, E, S>(
    door: Door,
    events: Result<S, ClientError>,
    mut hearing: impl Hearing<E>,
    event: impl Fn(T) -> Option<E> + Send + 'static,
) -> End
where
    T: Send + 'static,
    E: Event,
    S: Stream<Item = Result<T, ClientError>> + Send + 'static,
{
    let events = match events {
        Ok(events) => events.boxed(),
        Err(error) => stream::iter([Err(error)]).boxed(),
    };
    let events = events.filter_map(move |next| std::future::ready(next.map(&event).transpose()));
    let mut events = door.through(events);
    while let Some(next) = events.next().await {
        let heard = match next {
            Ok(event) => hearing.hear(event),
            Err(error) => return End::Failed(error),
        };
        if let Err(wrong) = heard {
            return End::Wrong(wrong);
        }
    }
    match hearing.end() {
        Ok(resumed) => End::Right { resumed },
        Err(wrong) => End::Wrong(wrong),
    }
}

fn turn(question: &str, image: Option<Vec<u8>>) -> pb::Turn {
    let image = image.map(|image| pb::part::Content::Image(image.into()));
    let contents = image.into_iter().chain([pb::part::Content::Text(question.to_owned())]);
    let parts = contents.map(|content| pb::Part { content: Some(content) }).collect();
    pb::Turn { role: pb::Role::User.into(), parts }
}
