//! The process: what it loads, and how it serves.

use std::sync::Arc;

use unipic_api::ApiError;
use unipic_engine::{Engine, EngineConfig};
use unipic_engine_metrics::EngineMetrics;
use unipic_models::load::LoadError;
use unipic_serving::{Drained, Listener, Ops, Services, serve_when_warm};
use unipic_telemetry::Metrics;
use unipic_weights::WeightsError;

use crate::config::Config;
use crate::encoder::{LoadPartsError, Parts};
use crate::grpc;
use crate::understanding::Understanding;

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A name in the configuration means nothing, or its device cannot be opened.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(Box<WeightsError>),
    /// This service's parts of it cannot be loaded.
    #[error(transparent)]
    Parts(#[from] LoadPartsError),
    /// The device's thread could not be started.
    #[error("cannot start the device's thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<WeightsError> for BuildError {
    fn from(error: WeightsError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
}

/// Loads the parts and starts their thread, counting into `metrics`. Blocks for as long as reading the checkpoint takes;
/// call it before a port is bound.
///
/// # Errors
/// When something cannot be loaded; a checkpoint's faults are all named.
pub fn build(config: &Config, metrics: &Metrics) -> Result<Understanding, BuildError> {
    let (weights, started) = (config.weights(), std::time::Instant::now());
    let options = weights.resolve()?;
    let parts = Parts::load(&weights.open()?, &options)?;
    let info = parts.info();
    for notice in &info.notices {
        tracing::warn!("{notice}");
    }
    tracing::info!(seconds = started.elapsed().as_secs_f64(), weights_sha256 = info.weights_sha256, "loaded");
    let engine = EngineConfig {
        name: "understanding-device".into(),
        queue_capacity: config.max_queued,
        max_batch_tokens: config.max_batch_tokens,
    };
    let observer = Arc::new(EngineMetrics::new(metrics, &engine.name));
    let engine = Engine::spawn_observed(engine, observer)?;
    metrics.set_weights(&info.weights_sha256);
    Ok(Understanding::new(&engine, parts))
}

/// Serves until `shutdown` resolves and the calls under way have ended, and answers operators meanwhile. Health says
/// SERVING once an image was encoded.
///
/// # Errors
/// When the model cannot compute.
pub async fn run(
    config: &Config,
    understanding: Understanding,
    listener: Listener,
    ops: Ops,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ApiError> {
    let services = Services::new().await.add(grpc::server(understanding.clone())).await.with_ops(ops);
    serve_when_warm(listener, services, &config.server(), shutdown, understanding.warm_up()).await
}
