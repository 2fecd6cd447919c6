//! Starts the shipped binaries on free ports, waits until they serve, and stops them however a test ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Longest a process may take to load the small model and warm up, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Longest a process may take to drain after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The packages of the services with weights, for cargo.
const WITH_WEIGHTS: [&str; 6] = ["-p", "unipic-understanding", "-p", "unipic-synthesis", "-p", "unipic-decoder"];

/// Binaries that serve the HTTP API.
const WITH_HTTP: [&str; 3] = ["unipic", "unipic-gateway", "unipic-node"];

/// The small parity model, in the converted layout.
pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity/fixtures/tiny-a")
}

/// A binary of the workspace, built in the profile that this test was built in.
///
/// A test of one package is not given the binaries of another, so they are asked of cargo: together with all tests, since
/// with the same packages and features selected as by `cargo test --workspace` nothing is compiled twice.
///
/// # Errors
/// When the build fails.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = BUILT.get_or_init(|| build().map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)?;
    Ok(folder.join(name))
}

/// Has a program judge a configuration file, with these variables and none of this process's own.
///
/// # Errors
/// When it cannot be run.
pub fn check(program: &str, file: &Path, variables: &[(&str, &str)]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary(program)?);
    Ok(command.arg("--config").arg(file).arg("--check").env_clear().envs(variables.iter().copied()).output()?)
}

/// [`check`], which must find nothing wrong.
///
/// # Errors
/// What the program refuses, and why.
pub fn accepted(program: &str, file: &Path, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let output = check(program, file, variables)?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program} refuses {} with {variables:?}: {said}", file.display());
    Ok(())
}

fn build() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().context("the test binary has no target folder")?;
    // Tests lie one folder deeper than the binaries.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf();
    let mut cargo = cargo("build");
    cargo.args(["--quiet", "--bins"]);
    match folder.ends_with("release") {
        true => {
            cargo.args(["--release", "-p", "unipic", "-p", "unipic-gateway", "-p", "unipic-node"]).args(WITH_WEIGHTS)
        }
        false => cargo.args(["--workspace", "--tests"]),
    };
    ensure!(cargo.status()?.success(), "the binaries under test do not build");
    Ok(folder)
}

/// A command of cargo on this workspace, with the versions that the lock names.
#[must_use]
pub fn cargo(command: &str) -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    // What the cargo that runs this process says of its package must not reach the other one: ring's build script looks at
    // it, and with it ring and everything over it would be built again, here and in the next call from a shell.
    let of_package = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(of_package) {
        cargo.env_remove(name);
    }
    cargo.args([command, "--locked", "--manifest-path"]);
    cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml"));
    cargo
}

/// A free TCP port of the loopback interface. Another process could take it before it is used; none does here.
///
/// # Errors
/// When the machine has none left.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A running process of ours; killed when dropped.
pub struct Process {
    child: Child,
    name: String,
    command: Start,
    log: PathBuf,
    /// Port it listens on.
    pub port: u16,
    /// Port of its HTTP API, where it has one.
    pub http_port: Option<u16>,
}

/// How a process was started, to start it again.
#[derive(Clone)]
struct Start {
    binary: PathBuf,
    args: Vec<String>,
    config: PathBuf,
}

impl Start {
    /// Its output goes behind what the log holds already.
    fn spawn(&self, log: &Path) -> anyhow::Result<Child> {
        let output = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.args).arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.spawn().with_context(|| format!("start {}", self.binary.display()))
    }
}

impl Process {
    /// Starts `binary` with a configuration file of `config` and `listen`, its log beside it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(binary: &Path, args: &[&str], config: &str, dir: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let stem = binary.file_name().and_then(|n| n.to_str()).context("a binary has a name")?;
        let name = format!("{stem}-{port}");
        let (file, log) = (dir.join(format!("{name}.toml")), dir.join(format!("{name}.log")));
        // Processes of several tests run at once, so none may take the default port.
        let http_port = if WITH_HTTP.contains(&stem) { Some(free_port()?) } else { None };
        let http = http_port.map(|port| format!("http.listen = \"127.0.0.1:{port}\"\n")).unwrap_or_default();
        std::fs::write(&file, format!("listen = \"127.0.0.1:{port}\"\n{http}{config}"))?;
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let command = Start { binary: binary.to_owned(), args, config: file };
        let child = command.spawn(&log)?;
        Ok(Self { child, name, command, log, port, http_port })
    }

    /// The address, as clients and configurations take it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the standard health service answers SERVING.
    ///
    /// # Errors
    /// When the process ends or the limit passes first; its log is part of the message.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it served:\n{}", self.name, self.log());
            }
            if serving(&self.url()).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} did not serve within {START_LIMIT:?}:\n{}", self.name, self.log())
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status()?;
        ensure!(sent.success(), "cannot signal {}", self.name);
        Ok(())
    }

    /// Ends it at once, as a crash or a lack of memory would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM and waits for a clean end.
    ///
    /// # Errors
    /// When it does not end in time or ends with a failure.
    pub async fn drain(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}:\n{}", self.name, self.log());
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} still runs {STOP_LIMIT:?} after SIGTERM:\n{}", self.name, self.log())
    }

    /// Starts one that has ended again, at the same port and with the same configuration.
    ///
    /// # Errors
    /// When it still runs or cannot be started.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "{} still runs", self.name);
        self.child = self.command.spawn(&self.log)?;
        Ok(())
    }

    /// Stops it for good.
    ///
    /// # Errors
    /// As [`Process::drain`].
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.drain().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended already refuses both; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serving(url: &str) -> bool {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    let Ok(endpoint) = tonic::transport::Endpoint::new(url.to_owned()) else { return false };
    let Ok(channel) = endpoint.connect_timeout(Duration::from_secs(1)).connect().await else { return false };
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|a| a.into_inner().status() == ServingStatus::Serving)
}

/// The four services as four processes, talking over gRPC.
pub struct Split {
    /// The public service.
    pub gateway: Process,
    /// SigLIP2.
    pub understanding: Process,
    /// VAE, MAR and head.
    pub synthesis: Process,
    /// The language model.
    pub decoder: Process,
}

impl Split {
    /// Starts all four on the small model; `telemetry` is added to every configuration.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(dir: &Path, telemetry: &str) -> anyhow::Result<Self> {
        let model = format!("model = {:?}\n", model());
        let weights = format!("{model}{telemetry}");
        let decoder = Process::start(&binary("unipic-decoder")?, &[], &weights, dir)?;
        let understanding = Process::start(&binary("unipic-understanding")?, &[], &weights, dir)?;
        let synthesis = format!("{model}decoder = [\"{}\"]\n{telemetry}", decoder.url());
        let synthesis = Process::start(&binary("unipic-synthesis")?, &[], &synthesis, dir)?;
        let backends = format!(
            "understanding = [\"{}\"]\nsynthesis = [\"{}\"]\ndecoder = [\"{}\"]\n{telemetry}",
            understanding.url(),
            synthesis.url(),
            decoder.url(),
        );
        let gateway = Process::start(&binary("unipic-gateway")?, &[], &backends, dir)?;
        let mut split = Self { gateway, understanding, synthesis, decoder };
        for process in [&mut split.decoder, &mut split.understanding, &mut split.synthesis, &mut split.gateway] {
            process.ready().await?;
        }
        Ok(split)
    }

    /// Stops all four, callers first.
    ///
    /// # Errors
    /// When one does not end cleanly.
    pub async fn stop(self) -> anyhow::Result<()> {
        for process in [self.gateway, self.synthesis, self.understanding, self.decoder] {
            process.stop().await?;
        }
        Ok(())
    }
}

/// How many processes of each service.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the public service.
    pub gateways: usize,
    /// Of SigLIP2.
    pub understanding: usize,
    /// Of VAE, MAR and head.
    pub synthesis: usize,
    /// Of the language model.
    pub decoders: usize,
}

/// Replicas of all services, each calling all replicas of the services behind it.
pub struct Cluster {
    /// The public service.
    pub gateways: Vec<Process>,
    /// SigLIP2.
    pub understanding: Vec<Process>,
    /// VAE, MAR and head.
    pub synthesis: Vec<Process>,
    /// The language model.
    pub decoders: Vec<Process>,
}

impl Cluster {
    /// Starts them from the binaries in `binaries` and waits until all serve. `model` goes into the configuration of those
    /// with weights, `gateway` into the gateways'.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(binaries: &Path, dir: &Path, sizes: Sizes, model: &str, gateway: &str) -> anyhow::Result<Self> {
        let weights = format!("model = {model:?}\n");
        let some = |name: &str, n: usize, config: &str| {
            (0..n).map(|_| Process::start(&binaries.join(name), &[], config, dir)).collect::<anyhow::Result<Vec<_>>>()
        };
        let urls = |of: &[Process]| of.iter().map(Process::url).collect::<Vec<_>>();
        let decoders = some("unipic-decoder", sizes.decoders, &weights)?;
        let understanding = some("unipic-understanding", sizes.understanding, &weights)?;
        let config = format!("{weights}decoder = {:?}\n", urls(&decoders));
        let synthesis = some("unipic-synthesis", sizes.synthesis, &config)?;
        let config = format!(
            "understanding = {:?}\nsynthesis = {:?}\ndecoder = {:?}\n{gateway}",
            urls(&understanding),
            urls(&synthesis),
            urls(&decoders)
        );
        let gateways = some("unipic-gateway", sizes.gateways, &config)?;
        let mut cluster = Self { gateways, understanding, synthesis, decoders };
        for process in cluster.processes() {
            process.ready().await?;
        }
        Ok(cluster)
    }

    /// All processes, those that are called before their callers.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let behind = self.decoders.iter_mut().chain(&mut self.understanding);
        behind.chain(&mut self.synthesis).chain(&mut self.gateways)
    }
}
