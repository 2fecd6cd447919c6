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
use crate::decoder::Decoder;
use crate::grpc;
use crate::parts::{LoadPartsError, Parts};

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A name in the configuration means nothing, or its device cannot be opened.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] WeightsError),
    /// This service's part of it cannot be loaded.
    #[error(transparent)]
    Parts(#[from] LoadPartsError),
    /// The device's thread could not be started.
    #[error("cannot start the device's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Loads the model and starts its thread, counting into `metrics`. Blocks for as long as reading the checkpoint takes; call
/// it before a port is bound.
///
/// # Errors
/// When something cannot be loaded; a checkpoint's faults are all named.
pub fn build(config: &Config, metrics: &Metrics) -> Result<Decoder, BuildError> {
    let (weights, started) = (config.weights(), std::time::Instant::now());
    let options = weights.resolve()?;
    let parts = Parts::load(&weights.open()?, &options)?;
    let info = parts.info();
    for notice in &info.notices {
        tracing::warn!("{notice}");
    }
    tracing::info!(seconds = started.elapsed().as_secs_f64(), weights_sha256 = info.weights_sha256, "loaded");
    let engine = EngineConfig {
        name: "decoder-device".into(),
        queue_capacity: config.max_queued,
        max_batch_tokens: config.max_batch_tokens,
    };
    let observer = Arc::new(EngineMetrics::new(metrics, &engine.name));
    let engine = Engine::spawn_observed(engine, observer)?;
    metrics.set_weights(&info.weights_sha256);
    Ok(Decoder::keeping(&engine, parts, config.prefix_bytes()).counted(metrics))
}

/// Serves until `shutdown` resolves and the calls under way have ended, and answers operators meanwhile. Health says
/// SERVING once the model has run.
///
/// # Errors
/// When the model cannot compute.
pub async fn run(
    config: &Config,
    decoder: Decoder,
    listener: Listener,
    ops: Ops,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ApiError> {
    let services = Services::new().await.add(grpc::server(decoder.clone())).await.with_ops(ops);
    serve_when_warm(listener, services, &config.server(), shutdown, decoder.warm_up()).await
}
