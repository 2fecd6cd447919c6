//! `top`.

use clap::Args;

/// Watch running servers: requests, queues, batches on the devices, step times, memory, and the replicas that they call.
///
/// Reads what every process exports at its operators' port, which is `listen` under `[ops]` in its configuration and off
/// when left out. Nothing authenticates there, so no key is needed. Numbers are of the time between two looks, with --once
/// of the time since each process began. Ctrl-c ends it. With --once the status is 3 when a server did not answer.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// A server's operators' port: http://host:port, host:port or unix:/path. Give it once for each replica.
    #[arg(long = "server", value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub(crate) servers: Vec<String>,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub(crate) every: u16,
    /// Look once, print one table and end.
    #[arg(long)]
    pub(crate) once: bool,
}
