//! Processes while they load: they answer that they live and are not ready, stop when they are told to, and tell what is
//! wrong with values that only loading reads.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::processes::{Process, binary, free_port, model};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Endpoint;
use unipic_api::pb::decoder_client::DecoderClient;
use unipic_api::pb::synthesis_client::SynthesisClient;
use unipic_api::pb::understanding_encoder_client::UnderstandingEncoderClient;
use unipic_api::pb::{self, uni_pic_client::UniPicClient};
use unipic_api::{ApiError, Reason};

/// Those that load, with what each needs to be configured.
const LOADING: [(&str, &str); 4] = [
    ("unipic-decoder", ""),
    ("unipic-synthesis", "decoder = [\"http://127.0.0.1:1\"]\n"),
    ("unipic-understanding", ""),
    ("unipic-node", ""),
];

/// The status line and the body of an answer over HTTP; waits for the port.
async fn get(port: u16, path: &str) -> anyhow::Result<String> {
    let start = Instant::now();
    let mut stream = loop {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) if start.elapsed() < Duration::from_secs(60) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(error) => return Err(error.into()),
        }
    };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// What a call is refused with that comes too early.
async fn refusal(name: &str, url: String) -> anyhow::Result<ApiError> {
    let channel = Endpoint::from_shared(url)?.connect().await?;
    let status = match name {
        "unipic-decoder" => DecoderClient::new(channel).get_decoder_info(pb::GetDecoderInfoRequest {}).await.err(),
        "unipic-synthesis" => {
            SynthesisClient::new(channel).get_synthesis_info(pb::GetSynthesisInfoRequest {}).await.err()
        }
        "unipic-understanding" => {
            let mut client = UnderstandingEncoderClient::new(channel);
            client.get_understanding_info(pb::GetUnderstandingInfoRequest {}).await.err()
        }
        _ => UniPicClient::new(channel).get_model(pb::GetModelRequest {}).await.err(),
    };
    Ok(ApiError::from_status(&status.context("the call was taken")?))
}

/// The small model with so wide hidden layers, all zeros, that it takes a moment to load; a file with a hole takes no room.
fn slow(folder: &Path) -> anyhow::Result<()> {
    const WIDE: u64 = 1 << 17;
    std::fs::copy(model().join("tokenizer.json"), folder.join("tokenizer.json"))?;
    let mut config: Value = serde_json::from_slice(&std::fs::read(model().join("config.json"))?)?;
    config["llm"]["intermediate_size"] = WIDE.into();
    config["siglip"]["intermediate_size"] = WIDE.into();
    config["mar"]["diffloss_w"] = 2048.into();
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let (mut header, _) = header(&std::fs::read(model().join("model.safetensors"))?)?;
    let mut end = 0;
    for (name, entry) in header.as_object_mut().context("an object")? {
        let Some(shape) = entry["shape"].as_array_mut() else { continue };
        for size in &mut *shape {
            let n = size.as_u64().context("a size")?;
            *size = match n {
                64 | 128 | 192 if name.contains("diffloss") => n / 64 * 2048,
                112 | 160 if name.contains(".mlp.") => WIDE,
                n => n,
            }
            .into();
        }
        let begin = end;
        end += 4 * shape.iter().filter_map(Value::as_u64).product::<u64>();
        entry["data_offsets"] = serde_json::json!([begin, end]);
    }
    let header = header.to_string();
    let mut file = std::fs::File::create(folder.join("model.safetensors"))?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    Ok(file.set_len(8 + header.len() as u64 + end)?)
}

/// The header of a file of tensors, and where their values begin.
fn header(bytes: &[u8]) -> anyhow::Result<(Value, usize)> {
    let length = u64::from_le_bytes(bytes[..8].try_into()?) as usize;
    Ok((serde_json::from_slice(&bytes[8..8 + length])?, 8 + length))
}

/// What a process says of itself.
#[derive(Debug)]
struct Said {
    ready: String,
    alive: String,
    refused: ApiError,
    /// `/healthz` and `/readyz` of the HTTP API, where there is one.
    web: Option<(String, String)>,
}

async fn ask(name: &str, process: &Process, operators: u16) -> anyhow::Result<Said> {
    Ok(Said {
        ready: get(operators, "/readyz").await?,
        alive: get(operators, "/healthz").await?,
        refused: refusal(name, process.url()).await?,
        web: match process.http_port {
            Some(http) => Some((get(http, "/healthz").await?, get(http, "/readyz").await?)),
            None => None,
        },
    })
}

/// Starts a process and asks it before it has loaded. `None` where it was faster than the questions.
async fn early(name: &str, config: &str, dir: &Path) -> anyhow::Result<Option<(Process, Said)>> {
    let operators = free_port()?;
    let config = format!("model = {dir:?}\n{config}[ops]\nlisten = \"127.0.0.1:{operators}\"\n");
    let process = Process::start(&binary(name)?, &[], &config, dir)?;
    let said = ask(name, &process, operators).await;
    let is_early = get(operators, "/readyz").await?.starts_with("HTTP/1.1 503");
    if is_early { Ok(Some((process, said?))) } else { Ok(None) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_loads_says_so_and_stops_when_it_is_told_to() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    slow(dir.path())?;
    for (name, config) in LOADING {
        let mut found = None;
        for _ in 0..10 {
            found = early(name, config, dir.path()).await?;
            if found.is_some() {
                break;
            }
        }
        let (mut process, said) = found.with_context(|| format!("{name} was always ready at once"))?;
        assert!(said.ready.starts_with("HTTP/1.1 503") && said.ready.ends_with("loading\n"), "{name}: {said:?}");
        assert!(said.alive.starts_with("HTTP/1.1 200"), "{name}: {said:?}");
        let ApiError::Unavailable { reason: Reason::Loading, retry_after: Some(after) } = said.refused else {
            anyhow::bail!("{name}: {said:?}");
        };
        assert!(!after.is_zero(), "{name}: {said:?}");
        if let Some((alive, ready)) = &said.web {
            assert!(alive.starts_with("HTTP/1.1 200"), "{name}: {alive}");
            assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("\"loading\""), "{name}: {ready}");
            assert!(ready.contains("retry-after: "), "{name}: {ready}");
        }
        // A stop does not wait for the weights.
        let start = Instant::now();
        process.drain().await?;
        assert!(start.elapsed() < Duration::from_secs(5), "{name} took {:?} to stop", start.elapsed());
    }
    Ok(())
}

/// The small model with a value that is no number in one tensor.
fn not_finite(tensor: &str, folder: &Path) -> anyhow::Result<()> {
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(model().join(file), folder.join(file))?;
    }
    let mut bytes = std::fs::read(model().join("model.safetensors"))?;
    let (header, values) = header(&bytes)?;
    let entry = &header[tensor];
    ensure!(entry["dtype"] == "F32", "{tensor}: {entry}");
    let at = values + entry["data_offsets"][0].as_u64().context("an offset")? as usize;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(folder.join("model.safetensors"), bytes)?;
    Ok(())
}

#[test]
fn values_that_are_no_numbers_end_a_process_whose_port_was_open() -> anyhow::Result<()> {
    let tensors = ["llm.model.norm.weight", "mar.mask_token", "siglip2_proj.0.weight", "llm.model.norm.weight"];
    for ((name, config), tensor) in LOADING.into_iter().zip(tensors) {
        let dir = tempfile::tempdir()?;
        not_finite(tensor, dir.path())?;
        let file = dir.path().join("config.toml");
        let listen = format!("listen = \"127.0.0.1:{}\"\nmodel = {:?}\n", free_port()?, dir.path());
        let http = if name == "unipic-node" { "http.listen = \"off\"\n" } else { "" };
        std::fs::write(&file, format!("{listen}{http}{config}"))?;
        let output = Command::new(binary(name)?).arg("--config").arg(&file).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("listening"), "{name} has not opened its port: {said}");
        assert!(said.contains(tensor) && !said.contains("panicked"), "{name}: {said}");
    }
    Ok(())
}
