//! One process that holds all parts, and what it tells of itself.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use integration::processes::{Process, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use unipic_client::{CallOptions, UniPicClient};

/// `unipic serve` on free ports, with its metrics.
pub(crate) struct Node {
    pub(crate) process: Process,
    ops_port: u16,
}

impl Node {
    /// Starts it from the binary in `binaries`; `config` is added to its configuration.
    pub(crate) async fn start(binaries: &Path, dir: &Path, model: &str, config: &str) -> anyhow::Result<Self> {
        let ops_port = free_port()?;
        let config = format!("model = {model:?}\nops.listen = \"127.0.0.1:{ops_port}\"\n{config}");
        let mut process = Process::start(&binaries.join("unipic"), &["serve"], &config, dir)?;
        process.ready().await?;
        Ok(Self { process, ops_port })
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self, options: CallOptions) -> anyhow::Result<UniPicClient> {
        Ok(UniPicClient::new(&[self.process.url().parse()?])?.with_options(options))
    }

    /// Its metrics as they are now: each series, with its labels as they are written, and its value.
    pub(crate) async fn metrics(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ops_port)).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let series = answer.lines().filter(|line| line.starts_with("unipic_")).filter_map(|line| line.rsplit_once(' '));
        Ok(series.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
    }

    /// Memory that it holds, in MiB.
    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has memory")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// Ticks of the processors that it has used: comparable with each other.
    pub(crate) fn processor_ticks(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name, in brackets, may hold anything; behind it come the state and then numbers, of which user and system time
        // are the 12th and 13th.
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("a process has times");
        Ok(ticks(11)? + ticks(12)?)
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }
}

/// What grew between two looks, of the series that begin with `name`, by what stands in `label`.
pub(crate) fn grown(
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
    name: &str,
    label: &str,
) -> BTreeMap<String, f64> {
    let mut grown = BTreeMap::new();
    for (series, value) in after.iter().filter(|(series, _)| series.split('{').next() == Some(name)) {
        let marker = format!("{label}=\"");
        let of = series.split(&marker).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        *grown.entry(of.to_owned()).or_insert(0.0) += value - before.get(series).copied().unwrap_or(0.0);
    }
    grown
}
