//! The gateway as a process: a listener, the service, health, and a clean end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use unipic_api::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use unipic_api::limits::{PUBLIC_REQUEST_BYTES, PUBLIC_RESPONSE_BYTES};
use unipic_api::pb::uni_pic_server::UniPicServer;
use unipic_client::{ClientTls, Endpoint, NoEndpoints, ServerIdentity, connect_with};
use unipic_serving::{Drained, ListenAddress, Listener, Ops, ServerConfig, Services, serve, serve_web};
use unipic_telemetry::Metrics;

use crate::auth::Keys;
use crate::backends::Backends;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::inference::Inference;
use crate::remote::RemoteBackends;

/// Bytes of a request beyond its image.
const BESIDE_THE_IMAGE: usize = 1 << 20;

impl<B: Backends> Gateway<B> {
    /// The gRPC service, with message sizes that let the largest allowed image in.
    pub fn service(&self) -> UniPicServer<Self> {
        let image = self.shared.config.limits.max_image_bytes as usize;
        UniPicServer::new(self.clone())
            .max_decoding_message_size(PUBLIC_REQUEST_BYTES.max(image.saturating_add(BESIDE_THE_IMAGE)))
            .max_encoding_message_size(PUBLIC_RESPONSE_BYTES)
    }

    /// The encoders by the Open Inference Protocol, with the same sizes.
    pub fn inference(&self) -> GrpcInferenceServiceServer<Inference<B>> {
        let image = self.shared.config.limits.max_image_bytes as usize;
        GrpcInferenceServiceServer::new(Inference::new(self.clone()))
            .max_decoding_message_size(PUBLIC_REQUEST_BYTES.max(image.saturating_add(BESIDE_THE_IMAGE)))
            .max_encoding_message_size(PUBLIC_RESPONSE_BYTES)
    }

    /// The configured keys, for every way into the gateway.
    pub fn keys(&self) -> Keys {
        Keys::new(&self.shared.config.auth)
    }

    /// Serves until `shutdown` resolves and the calls under way have ended: gRPC at `listener`, and the HTTP API at `http`
    /// where there is one. Requests are counted and operators answered as `ops` says. Health says SERVING once every
    /// backend has said what it holds.
    pub async fn serve(
        self,
        listener: Listener,
        http: Option<Listener>,
        ops: Ops,
        server: &ServerConfig,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        if let Ok(ListenAddress::Tcp(address)) = listener.address() {
            self.serves_grpc_at(address.port());
        }
        let keys = self.keys();
        match keys.is_required() {
            true => tracing::info!(?keys, "calls need a key"),
            false => tracing::info!("no keys: whoever can connect may call; set `auth.keys` to change that"),
        }
        let services = Services::new().await.add(self.service()).await.add(self.inference()).await;
        let services = services.guarded_by(Arc::new(keys)).with_ops(ops);
        let readiness = services.readiness();
        let http = http.map(|listener| (self.web(listener.address().ok()), listener));
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let follow = self.follow_backends(ended.clone());
        let announce = async {
            self.served().await;
            readiness.ready().await;
        };
        let stopping = async {
            shutdown.await;
            stop.cancel();
        };
        let web = async {
            match http {
                Some((web, listener)) => serve_web(listener, web, server, stop.cancelled()).await,
                None => Drained { calls_cut_off: 0 },
            }
        };
        let serving = async {
            // The others end with the servers, whatever they are waiting for.
            let _end = ended.clone().drop_guard();
            let (grpc, web) = tokio::join!(serve(listener, services, server, stopping), web);
            Drained { calls_cut_off: grpc.calls_cut_off + web.calls_cut_off }
        };
        let ready = ended.run_until_cancelled(announce);
        let (drained, (), _) = tokio::join!(serving, follow, ready);
        drained
    }
}

/// Runs the gateway over remote backends, with the HTTP API where it has a listener, until `shutdown` resolves and the
/// calls under way have ended, counting into the metrics that `ops` tells.
///
/// # Errors
/// A backend without endpoints; a validated configuration has some.
pub async fn run(
    config: Config,
    listener: Listener,
    http: Option<Listener>,
    metrics: &Metrics,
    ops: Ops,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, NoEndpoints> {
    let (tls, identities) = (ClientTls::new(&config.client_tls), &config.server_identities);
    let to = |endpoints: &[Endpoint], identity: &Option<ServerIdentity>| {
        connect_with(endpoints, &tls.expecting(identity.as_ref()))
    };
    let backends = [
        ("understanding", to(&config.understanding, &identities.understanding)?),
        ("synthesis", to(&config.synthesis, &identities.synthesis)?),
        ("decoder", to(&config.decoder, &identities.decoder)?),
    ];
    backends.iter().for_each(|(backend, connection)| connection.get_ref().tell(backend, metrics));
    let [understanding, synthesis, decoder] = backends.map(|(_, connection)| connection);
    let backends = RemoteBackends::over(understanding, synthesis, decoder);
    let server = config.server();
    Ok(Gateway::counted(backends, config, metrics).serve(listener, http, ops, &server, shutdown).await)
}
