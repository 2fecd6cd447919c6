//! The service on the small model in this process, with a language model that runs where it is called.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part of this")]

pub mod decoder;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use futures::StreamExt;
use unipic_api::status::{ApiError, Reason};
use unipic_engine::{Engine, EngineConfig, JobContext, Observer};
use unipic_models::Handover;
use unipic_models::generation::{GuidanceSchedule, Settings};
use unipic_models::load::LoadOptions;
use unipic_models::mar::ImageGrid;
use unipic_models::prompt::{Piece, Prompt, PromptTokenizer};
use unipic_models::qwen2::{CacheUse, Model, Run};
use unipic_nn::KvCache;
use unipic_synthesis::{
    Bounds, LanguageModel, LanguageSession, Limits, Parts, ProbeSegment, RgbImage, Synthesis, SynthesisEvent,
    SynthesisSpec,
};
use unipic_weights::{Checkpoint, Part};

/// The language model of the fixture, called directly.
#[derive(Clone)]
pub struct Direct {
    inner: Arc<Inner>,
}

struct Inner {
    model: Model,
    tokenizer: PromptTokenizer,
    opened: AtomicUsize,
    probed: AtomicUsize,
    /// Probes with these numbers fail as if the replica had died.
    lost: Vec<usize>,
}

impl Direct {
    pub fn load(lost: &[usize]) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::open(&unipic_test_support::tiny_a())?;
        let options = LoadOptions::cpu();
        let tensors = options.load(&checkpoint, &[Part::Llm])?;
        let model = Model::load(&options.build(&tensors), &checkpoint.config().llm)?;
        let tokenizer = PromptTokenizer::from_json(&checkpoint.tokenizer()?)?;
        let (opened, probed) = Default::default();
        Ok(Self { inner: Arc::new(Inner { model, tokenizer, opened, probed, lost: lost.to_vec() }) })
    }

    pub fn opened(&self) -> usize {
        self.inner.opened.load(Ordering::SeqCst)
    }

    pub fn probed(&self) -> usize {
        self.inner.probed.load(Ordering::SeqCst)
    }
}

impl Inner {
    fn prefill(&self, prompt: &Prompt) -> anyhow::Result<KvCache> {
        let mut cache = self.model.new_cache();
        let rows = self.tokenizer.tokenize(prompt)?.into_iter().map(|piece| match piece {
            Piece::Ids(ids) => self.model.embed(&ids),
            Piece::Embeddings(x) => Ok(x),
        });
        let x = Tensor::cat(&rows.collect::<Result<Vec<_>, _>>()?, 0)?;
        self.model.forward(&x, &mut [Run { n_rows: x.dim(0)?, cache: CacheUse::Append(&mut cache) }])?;
        Ok(cache)
    }
}

pub struct DirectSession {
    inner: Arc<Inner>,
    caches: Vec<KvCache>,
}

impl LanguageModel for Direct {
    type Session = DirectSession;

    fn handover(&self) -> Handover {
        Handover::Device
    }

    async fn open(&self, prompts: Vec<Prompt>, _: &JobContext) -> Result<DirectSession, ApiError> {
        self.inner.opened.fetch_add(1, Ordering::SeqCst);
        let caches = prompts.iter().map(|p| self.inner.prefill(p)).collect::<Result<_, _>>();
        Ok(DirectSession { inner: self.inner.clone(), caches: caches.map_err(|_| ApiError::Fault(Reason::Bug))? })
    }
}

impl LanguageSession for DirectSession {
    async fn probe(&mut self, rows: Tensor, segments: Vec<ProbeSegment>, _: &JobContext) -> Result<Tensor, ApiError> {
        let number = self.inner.probed.fetch_add(1, Ordering::SeqCst);
        // Gives other requests their turn, as a call over a network would.
        tokio::task::yield_now().await;
        if self.inner.lost.contains(&number) {
            return Err(ApiError::unavailable(Reason::BackendUnavailable));
        }
        let probe = || -> candle_core::Result<Tensor> {
            let packed = segments.iter().map(|s| rows.narrow(0, s.first_row, s.n_rows));
            let packed = Tensor::cat(&packed.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
            let run = |s: &ProbeSegment| Run { n_rows: s.n_rows, cache: CacheUse::Read(&self.caches[s.prompt]) };
            self.inner.model.forward(&packed, &mut segments.iter().map(run).collect::<Vec<_>>())
        };
        probe().map_err(|_| ApiError::Fault(Reason::Bug))
    }
}

pub const LIMITS: Limits = Limits { bounds: Bounds { max_places: 64, max_images: 4 }, max_concurrent: 4 };

pub fn service<L: LanguageModel>(language: L) -> anyhow::Result<Synthesis<L>> {
    service_of(&unipic_test_support::tiny_a(), language)
}

/// The service of a checkpoint.
pub fn service_of<L: LanguageModel>(folder: &std::path::Path, language: L) -> anyhow::Result<Synthesis<L>> {
    service_observed(folder, language, Arc::new(Unwatched))
}

struct Unwatched;

impl Observer for Unwatched {}

/// The same, whose device tells what it does.
pub fn service_observed<L: LanguageModel>(
    folder: &std::path::Path,
    language: L,
    observer: Arc<dyn Observer>,
) -> anyhow::Result<Synthesis<L>> {
    let checkpoint = Checkpoint::open(folder)?;
    let config = EngineConfig { name: "test".into(), queue_capacity: 4, max_batch_tokens: 4096 };
    let engine = Engine::spawn_observed(config, observer)?;
    Ok(Synthesis::new(&engine, Parts::load(&checkpoint, &LoadOptions::cpu())?, language, LIMITS))
}

pub fn settings(seed: u64) -> Settings {
    Settings {
        grid: ImageGrid { rows: 4, cols: 4 },
        iterations: 4,
        head_steps: 5,
        guidance_scale: 3.0,
        guidance_schedule: GuidanceSchedule::Constant,
        temperature: 1.0,
        seed,
        first_image: 0,
        n_images: 1,
    }
}

pub fn spec(prompt: &str, settings: Settings) -> SynthesisSpec {
    SynthesisSpec {
        prompt: prompt.into(),
        negative_prompt: None,
        source: None,
        redrawn: Vec::new(),
        settings,
        preview_every: 0,
    }
}

/// An edit that redraws a part.
pub fn redraw(settings: Settings) -> SynthesisSpec {
    let redrawn = vec![1, 5, 6, 9, 10, 15];
    SynthesisSpec { source: Some(picture(64, 64)), redrawn, ..spec("make it blue", settings) }
}

/// An image with something in it.
pub fn picture(width: usize, height: usize) -> RgbImage {
    let rgb: Vec<u8> = (0..3 * width * height).map(|i| (i * 31 % 251) as u8).collect();
    RgbImage { width, height, rgb: rgb.into() }
}

pub async fn events<L: LanguageModel>(
    service: &Synthesis<L>,
    spec: SynthesisSpec,
) -> Result<Vec<SynthesisEvent>, ApiError> {
    let mut stream = service.synthesize(spec, JobContext::current())?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

/// Finished images by number.
pub fn images(events: &[SynthesisEvent]) -> Vec<(u32, Vec<u8>)> {
    let image = |event: &SynthesisEvent| match event {
        SynthesisEvent::Image(picture) => Some((picture.image, picture.pixels.rgb.to_vec())),
        _ => None,
    };
    events.iter().filter_map(image).collect()
}
