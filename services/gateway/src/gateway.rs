//! The gateway's shared state: backends, what they hold, the queue and the image workshop.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use unipic_api::{ApiError, Reason, pb};
use unipic_client::{RetryBudget, RetryPolicy};
use unipic_fetch::Fetcher;
use unipic_telemetry::Metrics;

use crate::admission::Admission;
use crate::backends::Backends;
use crate::config::Config;
use crate::encoded::EncodedCache;
use crate::metrics::GatewayMetrics;
use crate::model::Model;
use crate::pictures::Pictures;

/// Seconds between two looks while something is missing.
const RETRY: Duration = Duration::from_secs(1);

/// The public service over some backends. Clones share everything.
pub struct Gateway<B: Backends> {
    pub(crate) shared: Arc<Shared<B>>,
}

impl<B: Backends> fmt::Debug for Gateway<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl<B: Backends> Clone for Gateway<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

pub(crate) struct Shared<B: Backends> {
    pub(crate) backends: B,
    pub(crate) config: Config,
    pub(crate) admission: Admission,
    pub(crate) pictures: Pictures,
    pub(crate) encoded: EncodedCache<B::Embeddings>,
    pub(crate) retries: Retries,
    pub(crate) metrics: GatewayMetrics,
    /// Fetches images that a conversation names by their addresses, where that is allowed.
    pub(crate) fetcher: Option<Fetcher>,
    /// Where gRPC is served on TCP: the page and other clients of HTTP are told.
    grpc_port: OnceLock<u16>,
    model: watch::Sender<Option<Arc<Model>>>,
}

/// The retries that calls to each service share.
#[derive(Debug)]
pub(crate) struct Retries {
    understanding: RetryBudget,
    synthesis: RetryBudget,
    decoder: RetryBudget,
}

impl Retries {
    fn new(policy: &RetryPolicy) -> Self {
        let budget = || RetryBudget::new(policy);
        Self { understanding: budget(), synthesis: budget(), decoder: budget() }
    }

    /// Those of calls to one service.
    pub(crate) fn of(&self, backend: pb::Backend) -> &RetryBudget {
        match backend {
            pb::Backend::Understanding => &self.understanding,
            pb::Backend::Synthesis => &self.synthesis,
            pb::Backend::Decoder | pb::Backend::Unspecified => &self.decoder,
        }
    }
}

/// What fetches remote images, if anything does. Start-up refuses a configuration of which none can be made.
fn fetcher(config: &Config) -> Option<Fetcher> {
    let limits = config.http.remote_images.limits(config.limits.max_image_bytes)?;
    Fetcher::new(limits).inspect_err(|error| tracing::error!(%error, "remote images are not fetched")).ok()
}

impl<B: Backends> Gateway<B> {
    /// A gateway that knows its backends but not yet what they hold: it answers UNAVAILABLE until
    /// [`Gateway::refresh_model`] has succeeded once.
    pub fn new(backends: B, config: Config) -> Self {
        Self::counted(backends, config, &Metrics::default())
    }

    /// [`Gateway::new`], counting into `metrics`.
    pub fn counted(backends: B, config: Config, metrics: &Metrics) -> Self {
        let metrics = GatewayMetrics::new(metrics);
        let shared = Shared {
            admission: Admission::new(&config.admission, &config.tenants, metrics.admission.clone()),
            retries: Retries::new(&config.failover),
            encoded: EncodedCache::new(config.cache.encoded_bytes(), metrics.cache.clone()),
            metrics,
            fetcher: fetcher(&config),
            grpc_port: OnceLock::new(),
            pictures: Pictures::new(&config.limits),
            model: watch::Sender::new(None),
            backends,
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Tells where gRPC is served. What was told first counts: a gateway serves once.
    pub(crate) fn serves_grpc_at(&self, port: u16) {
        let _ = self.shared.grpc_port.set(port);
    }

    /// The port that gRPC is served at, once it is and where it is one of TCP.
    pub(crate) fn grpc_port(&self) -> Option<u16> {
        self.shared.grpc_port.get().copied()
    }

    /// Requests that run and that wait for their turn.
    pub fn load(&self) -> (usize, usize) {
        self.shared.admission.counts()
    }

    /// Asks all backends what they hold and serves that from now on.
    ///
    /// # Errors
    /// `Unavailable` when a backend did not answer or the parts do not fit each other; the log says which.
    pub async fn refresh_model(&self) -> Result<Arc<Model>, ApiError> {
        let facts = self.shared.backends.facts().await.map_err(|missing| {
            for part in &missing {
                tracing::warn!(backend = part.backend, error = %part.error, "a backend does not answer yet");
            }
            ApiError::unavailable(Reason::BackendUnavailable)
        })?;
        let model = Model::new(facts, &self.shared.config).map_err(|problem| {
            tracing::error!(problem, "the backends hold models that do not fit each other");
            ApiError::unavailable(Reason::BackendUnavailable)
        })?;
        let changed = self.shared.model.borrow().as_deref() != Some(&model);
        let model = Arc::new(model);
        if changed {
            tracing::info!(name = %model.name, weights = %model.weights_sha256, "serving");
            self.shared.metrics.serving(&model.weights_sha256);
            self.shared.model.send_replace(Some(Arc::clone(&model)));
        }
        Ok(model)
    }

    /// Looks again and again until cancelled, so that the gateway follows backends that come, go and are replaced. A
    /// backend that goes away later does not take readiness back: single requests fail and say so, and other replicas may
    /// serve them.
    pub async fn follow_backends(&self, cancel: CancellationToken) {
        let refresh = Duration::from_secs(self.shared.config.refresh_seconds);
        let look = async {
            loop {
                let pause = if self.refresh_model().await.is_ok() { refresh } else { RETRY };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = look => {}
        }
    }

    /// Resolves once all backends have said what they hold.
    pub async fn served(&self) {
        // The sender lives as long as we do, so this only ends with a model.
        let _ = self.shared.model.subscribe().wait_for(Option::is_some).await;
    }

    /// What is served.
    ///
    /// # Errors
    /// `Unavailable` while the backends have not said what they hold.
    pub fn model(&self) -> Result<Arc<Model>, ApiError> {
        let retry_after = Some(RETRY);
        self.shared.model.borrow().clone().ok_or(ApiError::Unavailable { reason: Reason::Loading, retry_after })
    }
}
