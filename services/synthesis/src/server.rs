//! The process: what it loads, and how it serves.

use std::sync::Arc;

use unipic_api::{ApiError, limits};
use unipic_client::{ClientTls, NoEndpoints, connect_with};
use unipic_engine::{Engine, EngineConfig};
use unipic_engine_metrics::EngineMetrics;
use unipic_models::load::LoadError;
use unipic_serving::{Drained, Listener, Ops, Services, serve_when_warm};
use unipic_telemetry::Metrics;
use unipic_weights::WeightsError;

use crate::config::Config;
use crate::device::{LoadPartsError, Parts};
use crate::grpc;
use crate::language::LanguageModel;
use crate::remote::RemoteDecoder;
use crate::synthesis::Synthesis;

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
    /// No decoder is configured.
    #[error("`decoder`: {0}")]
    Decoder(#[from] NoEndpoints),
    /// An image of so many places would not fit the wire.
    #[error("`max_places` is {asked}, but embeddings of at most {most} places fit a message")]
    MaxPlaces {
        /// The configured number.
        asked: usize,
        /// What the wire allows at this model's width.
        most: usize,
    },
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
/// call it inside a tokio runtime, before a port is bound.
///
/// # Errors
/// When something cannot be loaded; a checkpoint's faults are all named.
pub fn build(config: &Config, metrics: &Metrics) -> Result<Synthesis<RemoteDecoder>, BuildError> {
    let (weights, started) = (config.weights(), std::time::Instant::now());
    let options = weights.resolve()?;
    let checkpoint = weights.open()?;
    let parts = Parts::load(&checkpoint, &options)?;
    for notice in &parts.info().notices {
        tracing::warn!("{notice}");
    }
    let info = parts.info();
    let most = (limits::TENSOR_BYTES as usize / (info.llm_width * size_of::<f32>())).saturating_sub(info.n_buffers);
    if config.max_places > most {
        return Err(BuildError::MaxPlaces { asked: config.max_places, most });
    }
    tracing::info!(seconds = started.elapsed().as_secs_f64(), weights_sha256 = info.weights_sha256, "loaded");
    let engine = EngineConfig {
        name: "synthesis-device".into(),
        queue_capacity: config.max_concurrent,
        max_batch_tokens: config.max_batch_tokens,
    };
    let observer = Arc::new(EngineMetrics::new(metrics, &engine.name));
    let engine = Engine::spawn_observed(engine, observer)?;
    metrics.set_weights(&info.weights_sha256);
    let decoder = connect_with(&config.decoder, &ClientTls::new(&config.client_tls))?;
    decoder.get_ref().tell("decoder", metrics);
    let decoder = RemoteDecoder::over(decoder);
    let synthesis = Synthesis::new(&engine, parts, decoder, config.limits());
    Ok(synthesis.counted(metrics).with_failover(&config.failover))
}

/// Serves until `shutdown` resolves and the calls under way have ended, and answers operators meanwhile. Health says
/// SERVING once every kind of job has run.
///
/// # Errors
/// When the model cannot compute.
pub async fn run<L: LanguageModel>(
    config: &Config,
    synthesis: Synthesis<L>,
    listener: Listener,
    ops: Ops,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ApiError> {
    let services = Services::new().await.add(grpc::server(synthesis.clone())).await.with_ops(ops);
    serve_when_warm(listener, services, &config.server(), shutdown, synthesis.warm_up()).await
}
