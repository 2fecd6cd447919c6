//! Measures the shipped processes at the published size with random weights, and prints a record to keep.
//!
//! ```text
//! cargo run --release -p unipic -- model random --preset unipic-1.5b target/unipic-1.5b-random
//! cargo run --release -p benches --bin real_size -- target/unipic-1.5b-random > tests/benches/runs/NAME.txt
//! ```
//!
//! Peak memory is the kernel's high-water mark of resident pages (VmHWM) of the process itself.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use futures::StreamExt;
use integration::processes::{Process, binary};
use unipic_api::pb::uni_pic_client::UniPicClient;
use unipic_api::pb::{self, generate_response, part, understand_response};

/// Largest message a client takes: a 1024×1024 PNG of noise is over gRPC's default of 4 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let checkpoint: PathBuf = std::env::args_os().nth(1).context("usage: real_size CHECKPOINT [FORMAT …]")?.into();
    let formats: Vec<String> = std::env::args().skip(2).collect();
    let formats = if formats.is_empty() { vec!["dense".into(), "q8_0".into()] } else { formats };
    let checkpoint = checkpoint.canonicalize().context("find the checkpoint")?;
    let dir = tempfile::tempdir()?;
    machine()?;
    for format in &formats {
        println!("\n## linear = {format}");
        each_service(&checkpoint, format, dir.path()).await?;
        node(&checkpoint, format, dir.path()).await?;
    }
    Ok(())
}

fn machine() -> anyhow::Result<()> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism()?;
    println!("machine: {} × {cores}", model.trim_start_matches(['\t', ' ', ':']));
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    println!("memory: {}", memory.lines().next().unwrap_or_default());
    println!("unipic {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}

async fn started(name: &str, config: &str, dir: &Path) -> anyhow::Result<Process> {
    let start = Instant::now();
    let mut process = Process::start(&binary(name)?, &[], config, dir)?;
    process.ready().await?;
    let (load, peak) = (start.elapsed(), peak_mib(&process)?);
    println!("{name:22} ready after {:6.1} s, peak memory {peak:7.0} MiB", load.as_secs_f64());
    Ok(process)
}

fn peak_mib(process: &Process) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).context("no VmHWM in the process status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The three services with weights, one after the other: each loads only its own part.
async fn each_service(checkpoint: &Path, format: &str, dir: &Path) -> anyhow::Result<()> {
    let weights = format!("model = {checkpoint:?}\nlinear = \"{format}\"\n");
    let decoder = started("unipic-decoder", &weights, dir).await?;
    let synthesis = format!("{weights}decoder = [\"{}\"]\n", decoder.url());
    started("unipic-synthesis", &synthesis, dir).await?.stop().await?;
    decoder.stop().await?;
    started("unipic-understanding", &weights, dir).await?.stop().await
}

async fn node(checkpoint: &Path, format: &str, dir: &Path) -> anyhow::Result<()> {
    let weights = format!("model = {checkpoint:?}\nlinear = \"{format}\"\n");
    let node = started("unipic-node", &weights, dir).await?;
    let client = UniPicClient::connect(node.url()).await?;
    let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    let image = generate(&mut client).await?;
    println!("node after it: peak memory {:.0} MiB", peak_mib(&node)?);
    understand(&mut client, image).await?;
    println!("node after it: peak memory {:.0} MiB", peak_mib(&node)?);
    drop(client);
    node.stop().await
}

type Client = UniPicClient<tonic::transport::Channel>;

async fn generate(client: &mut Client) -> anyhow::Result<Vec<u8>> {
    let options = pb::ImageOptions {
        seed: Some(1),
        iterations: Some(8),
        head_steps: Some(25),
        guidance_scale: Some(3.0),
        width: Some(256),
        height: Some(256),
        ..Default::default()
    };
    let request = pb::GenerateRequest {
        prompt: "a red circle above a blue square".into(),
        options: Some(options),
        ..Default::default()
    };
    println!("\ngenerate 256×256, 8 iterations, 25 head steps, guidance 3:");
    let mut events = client.generate(request).await?.into_inner();
    let mut image = None;
    while let Some(event) = events.next().await {
        match event?.event {
            Some(generate_response::Event::Image(result)) => image = Some(result.data),
            Some(generate_response::Event::Done(done)) => tell(&done.timings.unwrap_or_default()),
            _ => {}
        }
    }
    Ok(image.context("no image came")?.to_vec())
}

fn tell(t: &pb::SynthesisTimings) {
    let parts = [
        ("queue", t.queue_ms),
        ("prefill", t.prefill_ms),
        ("mar", t.mar_ms),
        ("probe", t.probe_ms),
        ("head", t.head_ms),
        ("vae", t.vae_ms),
        ("total", t.total_ms),
    ];
    for (part, ms) in parts {
        println!("  {part:8} {:8.2} s", ms / 1000.0);
    }
    println!("  exchanged with the decoder: {} bytes out, {} bytes in", t.bytes_to_decoder, t.bytes_from_decoder);
}

async fn understand(client: &mut Client, image: Vec<u8>) -> anyhow::Result<()> {
    for path in [pb::EncoderPath::Siglip2, pb::EncoderPath::Mar] {
        let content = [part::Content::Image(image.clone().into()), part::Content::Text("What is this?".into())];
        let parts = content.into_iter().map(|c| pb::Part { content: Some(c) }).collect();
        let turns = vec![pb::Turn { role: pb::Role::User.into(), parts }];
        let request =
            pb::UnderstandRequest { turns, max_tokens: Some(32), encoder_path: path.into(), ..Default::default() };
        let mut events = client.understand(request).await?.into_inner();
        while let Some(event) = events.next().await {
            if let Some(understand_response::Event::Done(done)) = event?.event {
                let decode_s = (done.total_ms - done.first_token_ms) / 1000.0;
                let rate = f64::from(done.completion_tokens.saturating_sub(1)) / decode_s;
                println!(
                    "\nunderstand a 512 px image, {}: {} prompt tokens, encoding {:.2} s, first token after {:.2} s, \
                     {} tokens at {rate:.2} tokens/s",
                    path.as_str_name(),
                    done.prompt_tokens,
                    done.encode_ms / 1000.0,
                    done.first_token_ms / 1000.0,
                    done.completion_tokens,
                );
            }
        }
    }
    Ok(())
}
