//! Requests of all kinds, and what came of each.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use integration::processes::Cluster;
use tonic::Code;
use unipic_api::pb::{
    EditRequest, GenerateRequest, ImageOptions, Part, Role, Turn, UnderstandRequest, edit_response,
    generate_response::Event, part, understand_response,
};
use unipic_client::{CallOptions, ClientError, UniPicClient};

use crate::account::{Outcome, Request};

/// Different requests of each kind; each is asked again and again.
const SEEDS: u64 = 3;
/// Kinds of requests.
pub(crate) const TASKS: [&str; 3] = ["generate", "edit", "understand"];
/// Longest a request may take, retries of the client included.
const DEADLINE: Duration = Duration::from_secs(90);

/// Clients' requests, and what each makes when nothing goes wrong.
pub(crate) struct Load {
    client: UniPicClient,
    seed: u64,
    source: Vec<u8>,
    /// By task and seed.
    expected: Vec<Vec<Vec<u8>>>,
}

/// What a request delivered.
#[derive(Default)]
struct Delivered {
    /// The image's file, or the answer's text.
    result: Vec<u8>,
    results: usize,
    resumed: u32,
    is_done: bool,
    /// When the request was seen to go on.
    heard: Vec<Instant>,
    /// When it was told that work was lost and is made good.
    losses: Vec<Instant>,
}

impl Load {
    /// Asks everything once.
    pub(crate) async fn new(cluster: &Cluster, seed: u64) -> anyhow::Result<Self> {
        let endpoints = cluster.gateways.iter().map(|gateway| gateway.url().parse()).collect::<Result<Vec<_>, _>>()?;
        let options = CallOptions { deadline: DEADLINE, attempts: 8, ..CallOptions::default() };
        let client = UniPicClient::new(&endpoints)?.with_options(options);
        let mut load = Self { client, seed, source: Vec::new(), expected: Vec::new() };
        for (task, name) in TASKS.iter().enumerate() {
            let mut results = Vec::new();
            for seed in 0..SEEDS {
                let mut delivered = Delivered::default();
                load.ask(task, seed, &mut delivered).await.with_context(|| format!("{name} {seed}"))?;
                ensure!(delivered.is_done && delivered.results == 1, "{name} {seed} without a fault");
                results.push(delivered.result);
            }
            if task == 0 {
                load.source.clone_from(&results[0]);
            }
            load.expected.push(results);
        }
        Ok(load)
    }

    /// Asks one thing after another until it is over, and counts with the others.
    pub(crate) async fn ask_on(&self, client: u64, (is_over, n_asked): (&AtomicBool, &AtomicUsize)) -> Vec<Request> {
        let mut draw = fastrand::Rng::with_seed(self.seed.wrapping_mul(1000).wrapping_add(client));
        let mut asked = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let (task, seed, began) = (draw.usize(..TASKS.len()), draw.u64(..SEEDS), Instant::now());
            let mut delivered = Delivered::default();
            // The client has its own deadline; this one finds streams that never end.
            let limit = DEADLINE + Duration::from_secs(5);
            let ended = tokio::time::timeout(limit, self.ask(task, seed, &mut delivered)).await;
            let outcome = self.judge(task, seed, ended, &delivered);
            n_asked.fetch_add(1, Ordering::Relaxed);
            let Delivered { resumed, heard, losses, .. } = delivered;
            asked.push(Request { task, outcome, began, ended: Instant::now(), resumed, heard, losses });
        }
        asked
    }

    fn judge(
        &self,
        task: usize,
        seed: u64,
        ended: Result<Result<(), ClientError>, tokio::time::error::Elapsed>,
        delivered: &Delivered,
    ) -> Outcome {
        match ended {
            Err(_) => Outcome::NoEnd,
            Ok(Err(error)) => Outcome::Status(error.code()),
            Ok(Ok(())) if !delivered.is_done => Outcome::NoEnd,
            Ok(Ok(())) if delivered.results != 1 => Outcome::Duplicate,
            Ok(Ok(())) if delivered.result != self.expected[task][seed as usize] => Outcome::Different,
            Ok(Ok(())) => Outcome::Same,
        }
    }

    async fn ask(&self, task: usize, seed: u64, delivered: &mut Delivered) -> Result<(), ClientError> {
        match task {
            0 => self.generate(seed, delivered).await,
            1 => self.edit(seed, delivered).await,
            _ => self.understand(seed, delivered).await,
        }
    }

    async fn generate(&self, seed: u64, delivered: &mut Delivered) -> Result<(), ClientError> {
        let request = GenerateRequest { prompt: "a red circle".into(), options: options(seed), ..Default::default() };
        let mut events = self.client.generate(request).await?;
        while let Some(event) = events.next().await {
            if let Some(event) = event?.event {
                delivered.hear(event);
            }
        }
        Ok(())
    }

    async fn edit(&self, seed: u64, delivered: &mut Delivered) -> Result<(), ClientError> {
        use edit_response::Event as Edited;
        let image = self.source.clone().into();
        let request =
            EditRequest { image, instruction: "make it blue".into(), options: options(seed), ..Default::default() };
        let mut events = self.client.edit(request).await?;
        while let Some(event) = events.next().await {
            match event?.event {
                Some(Edited::Image(image)) => delivered.hear(Event::Image(image)),
                Some(Edited::Resumed(resumed)) => delivered.hear(Event::Resumed(resumed)),
                Some(Edited::Done(done)) => delivered.hear(Event::Done(done)),
                _ => delivered.goes_on(),
            }
        }
        Ok(())
    }

    async fn understand(&self, seed: u64, delivered: &mut Delivered) -> Result<(), ClientError> {
        use understand_response::Event as Said;
        let contents = [part::Content::Image(self.source.clone().into()), part::Content::Text("What is this?".into())];
        let parts = contents.into_iter().map(|content| Part { content: Some(content) }).collect();
        let turns = vec![Turn { role: Role::User.into(), parts }];
        let sampling = UnderstandRequest { temperature: Some(1.0), max_tokens: Some(24), ..Default::default() };
        let mut events = self.client.understand(UnderstandRequest { turns, seed: Some(seed), ..sampling }).await?;
        while let Some(event) = events.next().await {
            match event?.event {
                Some(Said::TextDelta(text)) => {
                    delivered.goes_on();
                    delivered.result.extend(text.bytes());
                }
                Some(Said::Resumed(_)) => delivered.resumes(),
                Some(Said::Done(done)) => {
                    delivered.goes_on();
                    delivered.is_done = true;
                    // Text sent twice makes the pieces longer than the whole.
                    delivered.results = if done.text.as_bytes() == delivered.result { 1 } else { 2 };
                }
                _ => delivered.goes_on(),
            }
        }
        Ok(())
    }
}

impl Delivered {
    fn goes_on(&mut self) {
        self.heard.push(Instant::now());
    }

    fn resumes(&mut self) {
        self.resumed += 1;
        self.losses.push(Instant::now());
    }

    fn hear(&mut self, event: Event) {
        if !matches!(event, Event::Resumed(_)) {
            self.goes_on();
        }
        match event {
            Event::Image(image) => {
                self.results += 1;
                self.result = image.data.to_vec();
            }
            Event::Resumed(_) => self.resumes(),
            Event::Done(_) => self.is_done = true,
            Event::Queued(_) | Event::Progress(_) | Event::Preview(_) => {}
        }
    }
}

/// A small image.
fn options(seed: u64) -> Option<ImageOptions> {
    let (width, height) = (Some(64), Some(64));
    Some(ImageOptions {
        seed: Some(seed),
        iterations: Some(4),
        head_steps: Some(10),
        width,
        height,
        ..Default::default()
    })
}

/// Statuses that say what to do.
pub(crate) fn is_typed(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded)
}
