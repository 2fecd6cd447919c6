//! The process: what it loads, and how it serves.

use std::sync::Arc;

use unipic_api::{ApiError, limits};
use unipic_client::{ClientTls, NoEndpoints, connect_with};
use unipic_engine::{Engine, EngineConfig};
use unipic_engine_metrics::EngineMetrics;
use unipic_models::load::{Judged, LoadError};
use unipic_serving::{Drained, Listener, Ops, Services, beside, serve_when_warm};
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
    /// The device's thread, or the one that loads, could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The loaded model does not compute.
    #[error("the model does not run: {0}")]
    WarmUp(#[from] ApiError),
}

impl From<WeightsError> for BuildError {
    fn from(error: WeightsError) -> Self {
        Self::Checkpoint(Box::new(error))
    }
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
    let sizes = judged.checkpoint.config();
    let rows = limits::TENSOR_BYTES as usize / (sizes.llm.hidden_size * size_of::<f32>());
    let most = rows.saturating_sub(sizes.mar.buffer_size);
    if config.max_places > most {
        return Err(BuildError::MaxPlaces { asked: config.max_places, most });
    }
    Ok(judged)
}

/// Loads the parts, beside a server that answers meanwhile, and starts their thread, counting into `metrics`.
///
/// # Errors
/// When something cannot be loaded; a checkpoint's faults are all named.
pub async fn load(config: &Config, judged: Judged, metrics: &Metrics) -> Result<Synthesis<RemoteDecoder>, BuildError> {
    let (config, metrics) = (config.clone(), metrics.clone());
    beside(move || build(&config, &judged, &metrics)).await
}

fn build(config: &Config, judged: &Judged, metrics: &Metrics) -> Result<Synthesis<RemoteDecoder>, BuildError> {
    let started = std::time::Instant::now();
    let parts = Parts::load(&judged.checkpoint, &judged.options)?;
    let info = parts.info();
    for notice in &info.notices {
        tracing::warn!("{notice}");
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
/// SERVING once `load` has given what is served and every kind of job has run.
///
/// # Errors
/// When `load` fails or the model cannot compute.
pub async fn run<L: LanguageModel>(
    config: &Config,
    load: impl Future<Output = Result<Synthesis<L>, BuildError>>,
    listener: Listener,
    ops: Ops,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, BuildError> {
    let (services, server) = Services::new().await.add_later().await;
    let warm = async {
        let synthesis = load.await?;
        synthesis.warm_up().await?;
        server.comes(grpc::server(synthesis));
        Ok(())
    };
    serve_when_warm(listener, services.with_ops(ops), &config.server(), shutdown, warm).await
}
