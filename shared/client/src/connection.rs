//! Connections to services, and the generated clients over them.

use std::sync::Arc;

use tower::Layer;
use unipic_api::limits::INTERNAL_MESSAGE_BYTES;
use unipic_api::pb::decoder_client::DecoderClient;
use unipic_api::pb::synthesis_client::SynthesisClient;
use unipic_api::pb::understanding_encoder_client::UnderstandingEncoderClient;
use unipic_telemetry::{ClientTrace, ClientTraceLayer};
use unipic_tls::ClientTls;

use crate::endpoint::Endpoint;
use crate::network::{Network, SystemNetwork};
use crate::replicas::Replicas;

/// What generated clients work over: replicas, with a span per call. Cheap to clone.
pub type Connection = ClientTrace<Replicas>;

/// A service needs at least one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no endpoints are given")]
pub struct NoEndpoints;

/// A connection to the replicas at `endpoints`, whose health is watched from now on. Call it inside a tokio runtime. Servers
/// at `https://` endpoints must be vouched for by an authority that the system trusts.
///
/// Errors: no endpoints.
pub fn connect(endpoints: &[Endpoint]) -> Result<Connection, NoEndpoints> {
    connect_with(endpoints, &ClientTls::default())
}

/// [`connect`], with authorities, a certificate and an expected server of one's own for `https://` endpoints.
///
/// Errors: no endpoints.
pub fn connect_with(endpoints: &[Endpoint], tls: &ClientTls) -> Result<Connection, NoEndpoints> {
    connect_over(Arc::new(SystemNetwork), endpoints, tls)
}

/// [`connect_with`], over a network that need not be the operating system's. Unix sockets are its own affair all the same.
///
/// Errors: no endpoints.
pub fn connect_over(
    network: Arc<dyn Network>,
    endpoints: &[Endpoint],
    tls: &ClientTls,
) -> Result<Connection, NoEndpoints> {
    Ok(ClientTraceLayer.layer(Replicas::over(network, endpoints, tls)?))
}

/// A client of the decoder service.
pub fn decoder(connection: Connection) -> DecoderClient<Connection> {
    DecoderClient::new(connection).max_decoding_message_size(INTERNAL_MESSAGE_BYTES)
}

/// A client of the synthesis service.
pub fn synthesis(connection: Connection) -> SynthesisClient<Connection> {
    SynthesisClient::new(connection).max_decoding_message_size(INTERNAL_MESSAGE_BYTES)
}

/// A client of the understanding service.
pub fn understanding(connection: Connection) -> UnderstandingEncoderClient<Connection> {
    UnderstandingEncoderClient::new(connection).max_decoding_message_size(INTERNAL_MESSAGE_BYTES)
}
