//! Random parameters: whatever comes, the answer is a result or INVALID_ARGUMENT, never a fault of ours.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use pb::uni_pic_server::UniPic;
use support::{Script, collect, gateway, image, png, text, turn};
use tonic::{Code, Request};
use unipic_api::pb;
use unipic_measures::measured;

/// A number that is often right, sometimes at an edge and sometimes absurd.
fn count(random: &mut fastrand::Rng, usual: u32) -> Option<u32> {
    match random.u8(..10) {
        0 => None,
        1 => Some(0),
        2 => Some(random.u32(..)),
        3 => Some(u32::MAX),
        _ => Some(random.u32(1..=usual)),
    }
}

fn float(random: &mut fastrand::Rng, usual: f32) -> Option<f32> {
    match random.u8(..12) {
        0 => None,
        1 => Some(f32::NAN),
        2 => Some(f32::INFINITY),
        3 => Some(-random.f32()),
        4 => Some(f32::from_bits(random.u32(..))),
        _ => Some(random.f32() * usual),
    }
}

fn side(random: &mut fastrand::Rng) -> Option<u32> {
    if random.u8(..4) == 0 { count(random, 300) } else { Some(random.u32(1..=6) * 16) }
}

fn choice(random: &mut fastrand::Rng) -> i32 {
    if random.u8(..8) == 0 { random.i32(..) } else { random.i32(0..=3) }
}

fn words(random: &mut fastrand::Rng) -> String {
    let length = if random.u8(..20) == 0 { 5000 } else { random.usize(..40) };
    let pool = ["a", " ", "夜", "<|im_end|>", "<image>", "\n", "\0", "barn"];
    (0..length).map(|_| pool[random.usize(..pool.len())]).collect()
}

fn options(random: &mut fastrand::Rng) -> pb::ImageOptions {
    pb::ImageOptions {
        seed: random.bool().then(|| random.u64(..)),
        n: count(random, 3),
        iterations: count(random, 20),
        head_steps: count(random, 1200),
        guidance_scale: float(random, 35.0),
        guidance_schedule: choice(random),
        temperature: float(random, 2.2),
        width: side(random),
        height: side(random),
        output_format: choice(random),
        preview_every: count(random, 20),
    }
}

/// Often of the right size, and seldom marking nothing of what is used.
fn mask(random: &mut fastrand::Rng) -> pb::Mask {
    let (width, height) = if random.u8(..6) == 0 { (random.u32(1..40), random.u32(1..40)) } else { (24, 16) };
    let (x, y) = (random.u32(..24), random.u32(..16));
    let file = support::white_mask(width, height, |at_x, at_y| at_x >= x && at_y >= y);
    let kept = if random.u8(..6) == 0 { random.usize(..file.len()) } else { file.len() };
    pb::Mask { image: file[..kept].to_vec().into(), convention: choice(random).min(1) }
}

fn margins(random: &mut fastrand::Rng) -> pb::Margins {
    let mut side = || if random.u8(..12) == 0 { random.u32(..) } else { random.u32(..40) };
    pb::Margins { left: side(), top: side(), right: side(), bottom: side() }
}

/// How many requests are made instead of ten thousand: `unipic-chaos random` makes ten times as many.
const REQUESTS: &str = "UNIPIC_RANDOM_REQUESTS";

#[tokio::test]
async fn ten_thousand_random_requests_are_answered_or_refused() {
    let (gateway, script) = gateway(Script::default()).await;
    let mut random = fastrand::Rng::with_seed(20_250_803);
    let file = png(24, 16);
    let requests = std::env::var(REQUESTS).ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let mut answered = 0;
    for round in 0..requests {
        let outcome = match round % 4 {
            0 | 1 => {
                let (prompt, negative_prompt) = (words(&mut random), words(&mut random));
                let request = pb::GenerateRequest { prompt, negative_prompt, options: Some(options(&mut random)) };
                collect(gateway.generate(Request::new(request)).await).await.map(|events| events.len())
            }
            2 => {
                let request = pb::EditRequest {
                    image: file[..random.usize(file.len() / 2..=file.len())].to_vec().into(),
                    instruction: words(&mut random),
                    negative_prompt: words(&mut random),
                    options: Some(options(&mut random)),
                    mask: random.bool().then(|| mask(&mut random)),
                    extend: (random.u8(..3) == 0).then(|| margins(&mut random)),
                    feather: if random.bool() { 0 } else { count(&mut random, 20).unwrap_or(0) },
                };
                collect(gateway.edit(Request::new(request)).await).await.map(|events| events.len())
            }
            _ => {
                let parts = vec![image(file.clone()), text(&words(&mut random))];
                let role = if random.u8(..8) == 0 { pb::Role::Assistant } else { pb::Role::User };
                let request = pb::UnderstandRequest {
                    turns: vec![turn(role, parts)],
                    max_tokens: count(&mut random, 1100),
                    temperature: float(&mut random, 2.0),
                    top_p: float(&mut random, 1.0),
                    stop: (0..random.usize(..4)).map(|_| words(&mut random)).collect(),
                    candidates: (0..random.usize(..3)).map(|_| words(&mut random)).collect(),
                    seed: None,
                    encoder_path: choice(&mut random),
                };
                collect(gateway.understand(Request::new(request)).await).await.map(|events| events.len())
            }
        };
        match outcome {
            Ok(events) => {
                assert!(events > 0, "round {round}: no events");
                answered += 1;
            }
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "round {round}: {status:?}"),
        }
    }
    measured!("requests", requests);
    measured!("answered", answered);
    println!("{answered} of {requests} were answered");
    assert!(answered > requests * 3 / 100, "only {answered} requests were right: the test would prove little");
    assert_eq!(script.alive.load(std::sync::atomic::Ordering::SeqCst), 0);
}
