//! The process: what it loads, and how it serves.

use unipic_api::ApiError;
use unipic_engine::{Engine, EngineConfig};
use unipic_models::load::LoadError;
use unipic_serving::{Drained, Listener, Services, serve_when_warm};
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

/// Loads the model and starts its thread. Blocks for as long as reading the checkpoint takes; call it before a port is
/// bound.
///
/// # Errors
/// When something cannot be loaded; a checkpoint's faults are all named.
pub fn build(config: &Config) -> Result<Decoder, BuildError> {
    let (weights, started) = (config.weights(), std::time::Instant::now());
    let options = weights.resolve()?;
    let parts = Parts::load(&weights.open()?, &options)?;
    let info = parts.info();
    for notice in &info.notices {
        tracing::warn!("{notice}");
    }
    tracing::info!(seconds = started.elapsed().as_secs_f64(), weights_sha256 = info.weights_sha256, "loaded");
    let engine = Engine::spawn(EngineConfig {
        name: "decoder-device".into(),
        queue_capacity: config.max_queued,
        max_batch_tokens: config.max_batch_tokens,
    })?;
    Ok(Decoder::new(&engine, parts))
}

/// Serves until `shutdown` resolves and the calls under way have ended. Health says SERVING once the model has run.
///
/// # Errors
/// When the model cannot compute.
pub async fn run(
    config: &Config,
    decoder: Decoder,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ApiError> {
    let services = Services::new().await.add(grpc::server(decoder.clone())).await;
    serve_when_warm(listener, services, &config.server(), shutdown, decoder.warm_up()).await
}
