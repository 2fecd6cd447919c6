//! Loading, warming up and serving.

use std::sync::Arc;

use unipic_api::ApiError;
use unipic_decoder::Decoder;
use unipic_engine::{Engine, EngineConfig};
use unipic_engine_metrics::EngineMetrics;
use unipic_gateway::Gateway;
use unipic_models::load::LoadError;
use unipic_serving::{Drained, Listener, Ops};
use unipic_synthesis::{Bounds, Limits, Synthesis};
use unipic_telemetry::Metrics;
use unipic_understanding::Understanding;
use unipic_weights::WeightsError;

use crate::backends::NodeBackends;
use crate::config::{Config, default_http};
use crate::language::LocalDecoder;

/// All four services, loaded.
pub struct Node {
    config: Config,
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
    /// The loading thread panicked.
    #[error("loading failed: {0}")]
    Panic(#[from] tokio::task::JoinError),
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
        Self::load_counted(config, &Metrics::default()).await
    }

    /// [`Node::load`], counting into `metrics`.
    ///
    /// # Errors
    /// As [`Node::load`].
    pub async fn load_counted(config: Config, metrics: &Metrics) -> Result<Self, NodeError> {
        let (loading, counting) = (config.clone(), metrics.clone());
        let backends = tokio::task::spawn_blocking(move || load(&loading, &counting)).await??;
        backends.decoder.warm_up().await?;
        backends.understanding.warm_up().await?;
        backends.synthesis.warm_up().await?;
        let gateway = Gateway::counted(backends, config.gateway(), metrics);
        Ok(Self { config, gateway })
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

    /// Loads, listens and serves, counting into `metrics`. The ports are opened when everything is loaded.
    ///
    /// # Errors
    /// As [`Node::load`], and when an address cannot be listened on.
    pub async fn run(
        config: Config,
        metrics: &Metrics,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, NodeError> {
        let (address, operators) = (config.listen.clone(), config.ops.clone());
        let node = Self::load_counted(config, metrics).await?;
        let listener = address.bind().await?;
        let ops = Ops::bind(&operators, metrics.clone()).await?;
        tracing::info!(listen = %address, "listening");
        let http = node.config.http.bind(Some(default_http())).await?;
        Ok(node.serve(listener, http, ops, shutdown).await)
    }
}

/// Every part of the checkpoint on one engine.
fn load(config: &Config, metrics: &Metrics) -> Result<NodeBackends, NodeError> {
    let load = config.load();
    let options = load.resolve()?;
    let checkpoint = load.open()?;
    for notice in checkpoint.notices() {
        tracing::warn!("{notice}");
    }
    let running = config.admission.most_running();
    // An answer and a synthesis may share a request's place. What is admitted always has room: waiting is the gate's business.
    let queue_capacity = 2 * running * unipic_decoder::JOBS_AT_ONCE;
    let engine = EngineConfig { name: "device".into(), queue_capacity, max_batch_tokens: config.max_batch_tokens };
    let observer = Arc::new(EngineMetrics::new(metrics, &engine.name));
    let engine = Engine::spawn_observed(engine, observer)?;
    let language = unipic_decoder::Parts::load(&checkpoint, &options)?;
    let prefix_bytes = config.prefix_cache_mib.saturating_mul(1 << 20);
    let decoder = Decoder::keeping(&engine, language, prefix_bytes).counted(metrics);
    let understanding = Understanding::new(&engine, unipic_understanding::Parts::load(&checkpoint, &options)?);
    let parts = unipic_synthesis::Parts::load(&checkpoint, &options)?;
    let bounds = Bounds { max_places: config.max_places, max_images: config.limits.max_n as usize };
    let limits = Limits { bounds, max_concurrent: running };
    let synthesis = Synthesis::new(&engine, parts, LocalDecoder(decoder.clone()), limits).counted(metrics);
    Ok(NodeBackends { understanding, synthesis, decoder })
}
