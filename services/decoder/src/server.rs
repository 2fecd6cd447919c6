//! The process: what it loads, and how it serves.

use std::sync::Arc;

use unipic_api::ApiError;
use unipic_engine::{Engine, EngineConfig};
use unipic_engine_metrics::EngineMetrics;
use unipic_models::load::{Judged, LoadError};
use unipic_serving::{Drained, Listener, Ops, Services, beside, serve_when_warm};
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
    /// The device's thread, or the one that loads, could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The loaded model does not compute.
    #[error("the model does not run: {0}")]
    WarmUp(#[from] ApiError),
}

/// Opens the device and the checkpoint, and finds everything wrong that can be known before values are read: before a port
/// is bound.
///
/// # Errors
/// What is wrong, with its key or all tensors at fault.
pub fn judge(config: &Config) -> Result<Judged, BuildError> {
    let weights = config.weights();
    let judged = Judged { options: weights.resolve()?, checkpoint: weights.open()? };
    Parts::judge(&judged.checkpoint)?;
    Ok(judged)
}

/// Loads the model, beside a server that answers meanwhile, and starts its thread, counting into `metrics`.
///
/// # Errors
/// When something cannot be loaded; a checkpoint's faults are all named.
pub async fn load(config: &Config, judged: Judged, metrics: &Metrics) -> Result<Decoder, BuildError> {
    let (config, metrics) = (config.clone(), metrics.clone());
    beside(move || build(&config, &judged, &metrics)).await
}

fn build(config: &Config, judged: &Judged, metrics: &Metrics) -> Result<Decoder, BuildError> {
    let started = std::time::Instant::now();
    let parts = Parts::load(&judged.checkpoint, &judged.options)?;
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
/// SERVING once `load` has given what is served and the model has run.
///
/// # Errors
/// When `load` fails or the model cannot compute.
pub async fn run(
    config: &Config,
    load: impl Future<Output = Result<Decoder, BuildError>>,
    listener: Listener,
    ops: Ops,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, BuildError> {
    let (services, server) = Services::new().await.add_later().await;
    let warm = async {
        let decoder = load.await?;
        decoder.warm_up().await?;
        server.comes(grpc::server(decoder));
        Ok(())
    };
    serve_when_warm(listener, services.with_ops(ops), &config.server(), shutdown, warm).await
}
