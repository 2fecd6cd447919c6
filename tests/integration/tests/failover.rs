//! Processes that are killed and restarted while requests run: a client sees a delay, and the same bytes.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot look has failed")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::StreamExt;
use integration::processes::{Cluster, Process, Sizes, binary, model};
use tonic::Code;
use unipic_api::pb::{
    self, Backend, EditRequest, GenerateRequest, ImageOptions, Mask, Part, Role, Turn, UnderstandRequest,
    edit_response, generate_response, part, understand_response,
};
use unipic_client::{CallOptions, UniPicClient};
use unipic_imaging::{Format, Rgb8};
use unipic_measures::measured;

const ONE_EACH: Sizes = Sizes { gateways: 1, understanding: 1, synthesis: 1, decoders: 1 };
const TWO_EACH: Sizes = Sizes { gateways: 2, understanding: 2, synthesis: 2, decoders: 2 };

async fn cluster(dir: &std::path::Path, sizes: Sizes) -> anyhow::Result<Cluster> {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    let folder = binary("unipic-gateway")?.parent().context("a folder")?.to_owned();
    let model = model();
    Cluster::start(BINARIES.get_or_init(|| folder), dir, sizes, model.to_str().context("UTF-8")?, "").await
}

fn client(cluster: &Cluster) -> anyhow::Result<UniPicClient> {
    let endpoints = cluster.gateways.iter().map(|gateway| gateway.url().parse()).collect::<Result<Vec<_>, _>>()?;
    let options = CallOptions { deadline: Duration::from_secs(120), attempts: 10, ..CallOptions::default() };
    Ok(UniPicClient::new(&endpoints)?.with_options(options))
}

fn picture(seed: u64, iterations: u32, head_steps: u32) -> GenerateRequest {
    let options = ImageOptions {
        seed: Some(seed),
        iterations: Some(iterations),
        head_steps: Some(head_steps),
        width: Some(64),
        height: Some(64),
        ..Default::default()
    };
    GenerateRequest { prompt: "a red circle".into(), options: Some(options), ..Default::default() }
}

/// What came of a request.
#[derive(Default)]
struct Drawn {
    images: Vec<Vec<u8>>,
    resumed: Vec<Backend>,
}

/// Draws; once the loop has done two iterations, `at_two` is called.
async fn draw(
    client: &UniPicClient,
    request: GenerateRequest,
    mut at_two: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Drawn> {
    use generate_response::Event;
    let mut drawn = Drawn::default();
    let mut events = client.generate(request).await?;
    let mut is_called = false;
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Progress(progress)) if progress.iteration >= 2 && !is_called => {
                is_called = true;
                at_two()?;
            }
            Some(Event::Image(image)) => drawn.images.push(image.data.to_vec()),
            Some(Event::Resumed(resumed)) => drawn.resumed.push(resumed.what()),
            _ => {}
        }
    }
    Ok(drawn)
}

/// An edit that redraws the middle of a picture, as long as `picture(_, 16, 1000)`.
fn redraw() -> anyhow::Result<EditRequest> {
    let png = |pixel: &dyn Fn(u32, u32) -> [u8; 3]| -> anyhow::Result<_> {
        let data = (0..64 * 64).flat_map(|i| pixel(i % 64, i / 64)).collect();
        Ok(unipic_imaging::encode(&Rgb8::new(64, 64, data)?, Format::Png, &[])?.into())
    };
    let is_marked = |x: u32, y: u32| (12..52).contains(&x) && (12..52).contains(&y);
    let mask = Mask { image: png(&|x, y| [if is_marked(x, y) { 255 } else { 0 }; 3])?, ..Default::default() };
    let image = png(&|x, y| [x as u8 * 3, y as u8 * 3, 99])?;
    let options = picture(5, 16, 1000).options;
    Ok(EditRequest { image, instruction: "a star".into(), options, mask: Some(mask), feather: 3, ..Default::default() })
}

/// As [`draw`], for an edit.
async fn edit(
    client: &UniPicClient,
    request: EditRequest,
    mut at_two: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Drawn> {
    use edit_response::Event;
    let mut drawn = Drawn::default();
    let mut events = client.edit(request).await?;
    let mut is_called = false;
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Progress(progress)) if progress.iteration >= 2 && !is_called => {
                is_called = true;
                at_two()?;
            }
            Some(Event::Image(image)) => drawn.images.push(image.data.to_vec()),
            Some(Event::Resumed(resumed)) => drawn.resumed.push(resumed.what()),
            _ => {}
        }
    }
    Ok(drawn)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_with_a_mask_outlives_its_decoder_and_its_synthesis() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut cluster = cluster(dir.path(), ONE_EACH).await?;
    let client = client(&cluster)?;
    let expected = edit(&client, redraw()?, || Ok(())).await?;
    assert_eq!((expected.images.len(), expected.resumed.len()), (1, 0));
    let decoder = edit(&client, redraw()?, || crash(&mut cluster.decoders[0])).await?;
    assert!(decoder.images == expected.images, "another image behind another decoder");
    assert!(decoder.resumed.contains(&Backend::Decoder), "{:?}", decoder.resumed);
    let synthesis = edit(&client, redraw()?, || crash(&mut cluster.synthesis[0])).await?;
    assert!(synthesis.images == expected.images, "another image by another synthesis");
    assert!(synthesis.resumed.contains(&Backend::Synthesis), "{:?}", synthesis.resumed);
    Ok(())
}

/// Kills a process and starts it again.
fn crash(process: &mut Process) -> anyhow::Result<()> {
    process.kill()?;
    process.start_again()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_replica_that_is_killed_and_comes_back_costs_a_delay() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut cluster = cluster(dir.path(), ONE_EACH).await?;
    let client = client(&cluster)?;
    // Long enough that a kill after two iterations hits it.
    let long = || picture(3, 16, 1000);
    let expected = draw(&client, long(), || Ok(())).await?;
    assert_eq!((expected.images.len(), expected.resumed.len()), (1, 0));

    let decoder = draw(&client, long(), || crash(&mut cluster.decoders[0])).await?;
    assert!(decoder.images == expected.images, "another image behind another decoder");
    assert!(decoder.resumed.contains(&Backend::Decoder), "{:?}", decoder.resumed);

    let synthesis = draw(&client, long(), || crash(&mut cluster.synthesis[0])).await?;
    assert!(synthesis.images == expected.images, "another image by another synthesis");
    assert!(synthesis.resumed.contains(&Backend::Synthesis), "{:?}", synthesis.resumed);

    let expected = answer(&client, || Ok(())).await?;
    let got = answer(&client, || crash(&mut cluster.decoders[0])).await?;
    assert_eq!(got, expected, "an answer that was lost differs");
    measured!("times the decoder was lost and made good", decoder.resumed.len());
    measured!("times synthesis was lost and made good", synthesis.resumed.len());
    Ok(())
}

/// Asks; `at_first` is called when the first text has come. The deltas must make the whole.
async fn answer(client: &UniPicClient, mut at_first: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<String> {
    use understand_response::Event;
    let parts = vec![Part { content: Some(part::Content::Text("Tell me a long story.".into())) }];
    let turns = vec![Turn { role: Role::User.into(), parts }];
    let request =
        UnderstandRequest { turns, max_tokens: Some(400), seed: Some(1), temperature: Some(1.0), ..Default::default() };
    let (mut said, mut whole) = (String::new(), None);
    let mut events = client.understand(request).await?;
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::TextDelta(text)) => {
                if said.is_empty() {
                    at_first()?;
                }
                said.push_str(&text);
            }
            Some(Event::Done(done)) => whole = Some(done.text),
            _ => {}
        }
    }
    ensure!(whole.as_ref() == Some(&said), "the pieces are not the whole: {said:?}, {whole:?}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_under_load_fails_no_request() -> anyhow::Result<()> {
    const SEEDS: u64 = 4;
    let dir = tempfile::tempdir()?;
    let mut cluster = cluster(dir.path(), TWO_EACH).await?;
    let client = client(&cluster)?;
    let mut expected = Vec::new();
    for seed in 0..SEEDS {
        expected.push(draw(&client, picture(seed, 4, 20), || Ok(())).await?.images);
    }
    let (expected, is_over, drawn) =
        (Arc::new(expected), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (client, expected) = (client.clone(), Arc::clone(&expected));
            let (is_over, drawn) = (Arc::clone(&is_over), Arc::clone(&drawn));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let n = drawn.fetch_add(1, Ordering::Relaxed);
                    let seed = n % SEEDS;
                    match draw(&client, picture(seed, 4, 20), || Ok(())).await {
                        Ok(got) if got.images == expected[seed as usize] => {}
                        Ok(_) => failed.push(format!("request {n} made another image")),
                        Err(error) => failed.push(format!("request {n}: {error:#}")),
                    }
                }
                failed
            })
        })
        .collect();
    let restarted = restart_all(&mut cluster).await;
    is_over.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for worker in workers {
        failed.extend(worker.await?);
    }
    let (exits, drawn) = (restarted?, drawn.load(Ordering::Relaxed));
    let longest = exits.iter().max().copied().unwrap_or_default();
    measured!("processes restarted", exits.len());
    measured!("longest exit, s", format!("{:.2}", longest.as_secs_f64()));
    measured!("requests meanwhile", drawn);
    measured!("requests failed", failed.len());
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(drawn >= 8, "requests ran meanwhile");
    Ok(())
}

/// One process after the other: the next one waits until this one serves again. How long each took to end.
async fn restart_all(cluster: &mut Cluster) -> anyhow::Result<Vec<Duration>> {
    let mut exits = Vec::new();
    for process in cluster.processes() {
        let began = Instant::now();
        process.drain().await?;
        exits.push(began.elapsed());
        process.start_again()?;
        process.ready().await?;
    }
    Ok(exits)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_told_as_such_across_processes_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let cluster = cluster(dir.path(), ONE_EACH).await?;
    let client = client(&cluster)?;
    let hurried = client.clone().with_options(CallOptions {
        deadline: Duration::from_millis(150),
        attempts: 1,
        ..CallOptions::default()
    });
    let mut n_late = 0;
    for _ in 0..12 {
        // More than run at once: places that were not given back would be missed.
        let error = draw(&hurried, picture(1, 16, 1000), || Ok(())).await.err().context("it was in time")?;
        let code = error.downcast_ref::<unipic_client::ClientError>().context("another error")?.code();
        assert_eq!(code, Code::DeadlineExceeded);
        n_late += 1;
    }
    let after = draw(&client, picture(1, 2, 2), || Ok(())).await?;
    assert_eq!(after.images.len(), 1);
    measured!("late requests across four processes", n_late);
    measured!("images drawn after them", after.images.len());
    let model: pb::GetModelResponse = client.get_model().await?;
    assert!(!model.name.is_empty());
    Ok(())
}
