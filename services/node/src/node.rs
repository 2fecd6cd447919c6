//! Loading, warming up and serving.

use std::sync::Arc;

use unipic_api::ApiError;
use unipic_decoder::Decoder;
use unipic_engine::{Engine, EngineConfig};
use unipic_engine_metrics::{DeviceMemory, EngineMetrics, Held};
use unipic_gateway::Gateway;
use unipic_models::load::{Judged, LoadError};
use unipic_serving::{Drained, Listener, Ops, beside};
use unipic_synthesis::{Bounds, Limits, Synthesis};
use unipic_telemetry::Metrics;
use unipic_understanding::Understanding;
use unipic_weights::WeightsError;

use crate::backends::{Loaded, NodeBackends};
use crate::config::{Config, default_http};
use crate::language::LocalDecoder;

/// All four services. Clones share them.
#[derive(Clone)]
pub struct Node {
    config: Config,
    backends: NodeBackends,
    gateway: Gateway<NodeBackends>,
}

/// Why a node cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The device or a format cannot be had.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The checkpoint cannot be opened.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// VAE, MAR or the diffusion head cannot be loaded.
    #[error("synthesis: {0}")]
    Synthesis(#[from] unipic_synthesis::LoadPartsError),
    /// The understanding encoder cannot be loaded.
    #[error("understanding: {0}")]
    Understanding(#[from] unipic_understanding::LoadPartsError),
    /// The language model cannot be loaded.
    #[error("decoder: {0}")]
    Decoder(#[from] unipic_decoder::LoadPartsError),
    /// The system refuses a thread or the address.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// The model does not compute.
    #[error("the model does not run: {0}")]
    WarmUp(#[from] ApiError),
}

impl Node {
    /// Loads the checkpoint onto the device and runs every part once. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When anything of it fails; tensors at fault are all named.
    pub async fn load(config: Config) -> Result<Self, NodeError> {
        let judged = judge(&config)?;
        let node = Self::new(config, &Metrics::default());
        node.fill(judged, &Metrics::default()).await?;
        Ok(node)
    }

    /// A node that has nothing to serve with yet.
    fn new(config: Config, metrics: &Metrics) -> Self {
        let backends = NodeBackends::default();
        Self { gateway: Gateway::counted(backends.clone(), config.gateway(), metrics), backends, config }
    }

    /// Loads and warms up what the node serves with.
    async fn fill(&self, judged: Judged, metrics: &Metrics) -> Result<(), NodeError> {
        let (config, metrics) = (self.config.clone(), metrics.clone());
        let loaded = beside(move || load(&config, &judged, &metrics)).await?;
        loaded.warm_up().await?;
        self.backends.come(loaded);
        Ok(())
    }

    /// Serves until `shutdown` resolves and the calls under way have ended: gRPC at `listener`, and the HTTP API at `http`
    /// where there is one. Requests are counted and operators answered as `ops` says.
    pub async fn serve(
        self,
        listener: Listener,
        http: Option<Listener>,
        ops: Ops,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let server = self.config.server();
        self.gateway.serve(listener, http, ops, &server, shutdown).await
    }

    /// Listens, loads and serves, counting into `metrics`. The ports are opened once nothing is wrong with the configuration
    /// and the checkpoint's headers; until everything is loaded, requests are refused as too early.
    ///
    /// # Errors
    /// As [`Node::load`], and when an address cannot be listened on.
    pub async fn run(
        config: Config,
        metrics: &Metrics,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, NodeError> {
        let judged = judge(&config)?;
        let listener = config.listen.bind().await?;
        let ops = Ops::bind(&config.ops, metrics.clone()).await?;
        tracing::info!(listen = %config.listen, "listening");
        let http = config.http.bind(Some(default_http())).await?;
        let node = Self::new(config, metrics);
        let fill = node.clone();
        let mut served = std::pin::pin!(node.serve(listener, http, ops, shutdown));
        tokio::select! {
            filled = fill.fill(judged, metrics) => {
                filled?;
                Ok(served.await)
            }
            // Told to stop while it loads.
            drained = &mut served => Ok(drained),
        }
    }
}

/// Opens the device and the checkpoint, and finds everything wrong that can be known before values are read.
fn judge(config: &Config) -> Result<Judged, NodeError> {
    let load = config.load();
    let judged = Judged { options: load.resolve()?, checkpoint: load.open()? };
    unipic_decoder::Parts::judge(&judged.checkpoint)?;
    unipic_understanding::Parts::judge(&judged.checkpoint)?;
    unipic_synthesis::Parts::judge(&judged.checkpoint)?;
    Ok(judged)
}

/// Every part of the checkpoint on one engine.
fn load(config: &Config, judged: &Judged, metrics: &Metrics) -> Result<Loaded, NodeError> {
    let Judged { checkpoint, options } = judged;
    for notice in checkpoint.notices() {
        tracing::warn!("{notice}");
    }
    let running = config.admission.most_running();
    // An answer and a synthesis may share a request's place. What is admitted always has room: waiting is the gate's business.
    let queue_capacity = 2 * running * unipic_decoder::JOBS_AT_ONCE;
    let engine = EngineConfig { name: "device".into(), queue_capacity, max_batch_tokens: config.max_batch_tokens };
    let observer = Arc::new(EngineMetrics::new(metrics, &engine.name));
    let engine = Engine::spawn_observed(engine, observer)?;
    let language = unipic_decoder::Parts::load(checkpoint, options)?;
    let prefix_bytes = config.prefix_cache_mib.saturating_mul(1 << 20);
    let decoder = Decoder::keeping(&engine, language, prefix_bytes).counted(metrics);
    let understanding = Understanding::new(&engine, unipic_understanding::Parts::load(checkpoint, options)?);
    let understanding = understanding.counted(metrics);
    let parts = unipic_synthesis::Parts::load(checkpoint, options)?;
    let bounds = Bounds { max_places: config.max_places, max_images: config.limits.max_n as usize };
    let limits = Limits { bounds, max_concurrent: running };
    let synthesis = Synthesis::new(&engine, parts, LocalDecoder(decoder.clone()), limits).counted(metrics);
    let memory = DeviceMemory::new(metrics, &options.device_name(), &[Held::Embeddings]);
    Ok(Loaded { understanding, synthesis, decoder, memory })
}
