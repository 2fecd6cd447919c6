//! The gateway: the shipped one, with its flows, its queue and its replays.

use std::time::Duration;

use unipic_client::{Endpoint, RetryPolicy};
use unipic_gateway::remote::RemoteBackends;
use unipic_gateway::{AdmissionConfig, Config, Gateway, LimitsConfig};
use unipic_serving::Ops;

use super::{Host, server_config};
use crate::network::listen;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Where the services behind a gateway are.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    pub(crate) understanding: Vec<Endpoint>,
    pub(crate) synthesis: Vec<Endpoint>,
    pub(crate) decoder: Vec<Endpoint>,
}

/// Runs the process until it is stopped.
pub(crate) async fn gateway(host: Host, behind: Behind, patience: Duration) -> turmoil::Result {
    let backends = RemoteBackends::over(
        host.connect(&behind.understanding)?,
        host.connect(&behind.synthesis)?,
        host.connect(&behind.decoder)?,
    );
    let config = Config {
        admission: AdmissionConfig { max_running: 3, max_queued: 4, ..AdmissionConfig::default() },
        failover: RetryPolicy { patience_seconds: patience.as_secs_f64(), ..RetryPolicy::default() },
        // No simulated clock holds a thread.
        limits: LimitsConfig { max_image_jobs: Some(0), ..LimitsConfig::default() },
        refresh_seconds: 5,
        ..Config::default()
    };
    let gateway = Gateway::new(backends, config);
    let (seen, held) = (gateway.clone(), host.held.clone());
    held.set(0);
    // Ends with the process.
    tokio::spawn(async move {
        loop {
            let (running, waiting) = seen.load();
            held.set(running + waiting);
            tokio::time::sleep(LOOK).await;
        }
    });
    gateway.serve(listen().await?, None, Ops::default(), &server_config(), host.stop.notified()).await;
    Ok(())
}
