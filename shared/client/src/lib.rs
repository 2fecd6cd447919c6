//! Calling our services: where they are, which replica to take, when to try again, and what went wrong.
//!
//! [`connect`] makes a [`Connection`] to one or more replicas, over which every generated client works; statuses that
//! come out of it are already put right (a server killed in the middle of a stream is UNAVAILABLE, not UNKNOWN).
//! [`UniPicClient`] is what users of the public service want: deadlines, retries and errors to read.
//!
//! ```no_run
//! use futures::StreamExt;
//! use unipic_api::pb::{GenerateRequest, ImageOptions, generate_response::Event};
//! use unipic_client::UniPicClient;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = UniPicClient::new(&["http://127.0.0.1:50051".parse()?])?;
//! let options = ImageOptions { width: Some(512), height: Some(512), seed: Some(7), ..Default::default() };
//! let request = GenerateRequest { prompt: "a red circle".into(), options: Some(options), ..Default::default() };
//! let mut events = client.generate(request).await?;
//! while let Some(event) = events.next().await {
//!     match event?.event {
//!         Some(Event::Progress(step)) => println!("iteration {} of {}", step.iteration, step.iterations),
//!         Some(Event::Image(image)) => std::fs::write("circle.png", &image.data)?,
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod api_key;
mod breaker;
mod connection;
mod endpoint;
mod error;
mod health;
mod network;
mod replica;
mod replicas;
mod resolve;
mod retries;
mod secure;
mod transport;
mod unipic;

pub use api_key::{ApiKey, InvalidApiKey};
pub use connection::{Connection, NoEndpoints, connect, connect_over, connect_with, decoder, synthesis, understanding};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::ClientError;
pub use network::{ByteStream, Network, SystemNetwork};
pub use replicas::Replicas;
pub use retries::{Patience, Retry, RetryBudget, RetryPolicy};
pub use unipic::{CallOptions, Events, UniPicClient};
pub use unipic_tls::{ClientTls, ClientTlsConfig, InvalidIdentity, ServerIdentity, TlsError};
