//! A connection to the model that answers: a server, or a node in this process behind a private socket.
//!
//! Both speak the same gRPC, so a command behaves alike either way; what the private socket costs is an image's bytes once
//! through loopback memory.

use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use unipic_client::{CallOptions, ClientTls, ClientTlsConfig, Endpoint, ServerIdentity, UniPicClient, connect_with};
use unipic_node::{Config, Node};
use unipic_serving::{Drained, ListenAddress, Ops};

use crate::args::{Device, Dtype, LinearWeights, Local, Server, Target};
use crate::failure::{as_wrong, wrong};
use crate::progress::Progress;

/// A client, and the node behind it where there is no server.
pub(crate) struct Connection {
    client: UniPicClient,
    local: Option<LocalNode>,
}

/// A node in this process.
struct LocalNode {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
    /// Holds the socket; removed with the node.
    _dir: TempDir,
}

impl Connection {
    /// Connects to the server, or loads the model.
    ///
    /// # Errors
    /// When the address is no address or the model cannot be loaded.
    pub(crate) async fn open(target: &Target, progress: &Progress) -> anyhow::Result<Self> {
        let (address, local) = match &target.server.url {
            Some(url) => (url.clone(), None),
            None => {
                let (address, node) = LocalNode::start(&target.local, progress).await?;
                (address, Some(node))
            }
        };
        let endpoint = endpoint(&address)?;
        let options = CallOptions { deadline: Duration::from_secs(target.timeout), ..CallOptions::default() };
        let client = client(endpoint, &target.server)?.with_options(options);
        progress.stage("waiting for the model");
        Ok(Self { client, local })
    }

    /// A client of the same model, to be dropped before the connection is closed.
    pub(crate) fn client(&self) -> UniPicClient {
        self.client.clone()
    }

    /// Ends the node, where there is one.
    ///
    /// # Errors
    /// When it did not end by itself.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop(self.client);
        if let Some(local) = self.local {
            // A node that has ended already does not listen.
            let _ = local.stop.send(());
            local.served.await.context("the model's process part ended badly")?;
        }
        Ok(())
    }
}

impl LocalNode {
    async fn start(local: &Local, progress: &Progress) -> anyhow::Result<(String, Self)> {
        let dir = tempfile::Builder::new().prefix("unipic-").tempdir().context("make a temporary folder")?;
        let address = format!("unix:{}", dir.path().join("node.sock").display());
        let mut config = config(local);
        progress.stage(format!("loading {}", config.model.display()));
        config.listen = address.parse::<ListenAddress>().map_err(anyhow::Error::msg)?;
        let listen = config.listen.clone();
        let node = Node::load(config).await?;
        let listener = listen.bind().await.context("open the private socket")?;
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(node.serve(listener, None, Ops::default(), async {
            // An end without a word is an end too.
            let _ = stopped.await;
        }));
        Ok((address, Self { stop, served, _dir: dir }))
    }
}

/// A server's address.
///
/// # Errors
/// When it is none.
pub(crate) fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    address.parse().map_err(|error: unipic_client::InvalidEndpoint| wrong(format!("no server address: {error}")))
}

/// How to come to a server, with the certificates that the flags name.
///
/// # Errors
/// When the flags do not go together, or name files that are not good.
pub(crate) fn tls(endpoint: &Endpoint, server: &Server) -> anyhow::Result<ClientTls> {
    let is_encrypted = endpoint.is_encrypted();
    let wants_tls = server.ca.is_some() || server.cert.is_some() || server.server_identity.is_some();
    if wants_tls && !is_encrypted {
        return Err(wrong("--ca, --cert and --server-identity need an https:// server"));
    }
    let config = ClientTlsConfig {
        ca: server.ca.clone(),
        certificate: server.cert.clone(),
        key: server.key.clone(),
        server_identity: server.server_identity.as_deref().map(server_identity).transpose()?,
    };
    match is_encrypted {
        true => ClientTls::load(&config).map_err(as_wrong),
        false => Ok(ClientTls::default()),
    }
}

fn server_identity(text: &str) -> anyhow::Result<ServerIdentity> {
    text.parse::<ServerIdentity>().map_err(|error| wrong(format!("--server-identity: {error}")))
}

/// A client with the certificates and the key that the flags name.
fn client(endpoint: Endpoint, server: &Server) -> anyhow::Result<UniPicClient> {
    let tls = tls(&endpoint, server)?;
    let is_exposed = endpoint.is_exposed();
    let client = UniPicClient::over(connect_with(&[endpoint], &tls)?);
    // Without a server the key is of no use, and the variable may be set for another command.
    let Some(api_key) = server.api_key.as_ref().filter(|_| server.url.is_some()) else { return Ok(client) };
    if is_exposed {
        eprintln!("warning: the API key goes over the network without TLS; use an https:// server");
    }
    Ok(client.with_api_key(api_key.to_api_key().map_err(as_wrong)?))
}

/// The node's configuration that the flags ask for.
fn config(local: &Local) -> Config {
    let mut config = Config::default();
    if let Some(model) = &local.model {
        config.model.clone_from(model);
    }
    if let Some(device) = local.device {
        config.device = device_name(device).into();
    }
    if let Some(dtype) = local.dtype {
        config.dtype = dtype_name(dtype).into();
    }
    if let Some(linear) = local.linear {
        config.linear = linear_name(linear).into();
    }
    config
}

/// The configuration's word for a device.
pub(crate) fn device_name(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
    }
}

/// The configuration's word for an element type.
pub(crate) fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::Bf16 => "bf16",
    }
}

/// The configuration's word for how linear layers are held.
pub(crate) fn linear_name(linear: LinearWeights) -> &'static str {
    match linear {
        LinearWeights::Dense => "dense",
        LinearWeights::Q8_0 => "q8_0",
    }
}
