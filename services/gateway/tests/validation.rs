//! Every violation is found, all of them at once, and none reaches a backend.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::cell::Cell;

use pb::uni_pic_server::UniPic;
use support::{Script, collect, fields, gateway, image, png, text, turn, with_config};
use tonic::{Code, Request};
use unipic_api::pb;
use unipic_gateway::Config;
use unipic_measures::measured;
use unipic_serving::{Problems, Validate};

/// Sends a Generate request and expects exactly these fields to be refused.
async fn check_generate(change: impl FnOnce(&mut pb::GenerateRequest, &mut pb::ImageOptions), expected: &[&str]) {
    let (gateway, script) = gateway(Script::default()).await;
    let mut request = pb::GenerateRequest { prompt: "a red barn".to_owned(), ..Default::default() };
    let mut options = pb::ImageOptions::default();
    change(&mut request, &mut options);
    request.options = Some(options);
    let result = collect(gateway.generate(Request::new(request)).await).await;
    let found = result.err().map(|status| fields(&status)).unwrap_or_default();
    assert_eq!(found, expected);
    let reached = !script.synthesized.lock().expect("lock").is_empty();
    assert_eq!(reached, expected.is_empty(), "{expected:?}: a refused request must not reach a backend");
}

#[tokio::test]
async fn each_wrong_option_is_named() {
    check_generate(|_, _| (), &[]).await;
    check_generate(|r, _| r.prompt.clear(), &["prompt"]).await;
    check_generate(|r, _| r.prompt = " \n\t".to_owned(), &["prompt"]).await;
    check_generate(|r, _| r.prompt = "x".repeat(10_000_000), &["prompt"]).await;
    check_generate(|r, _| r.negative_prompt = "x".repeat(9000), &["negative_prompt"]).await;
    check_generate(|_, o| o.n = Some(0), &["options.n"]).await;
    check_generate(|_, o| o.n = Some(9), &["options.n"]).await;
    check_generate(|_, o| o.iterations = Some(0), &["options.iterations"]).await;
    check_generate(|_, o| o.iterations = Some(u32::MAX), &["options.iterations"]).await;
    check_generate(|_, o| o.head_steps = Some(0), &["options.head_steps"]).await;
    check_generate(|_, o| o.head_steps = Some(1001), &["options.head_steps"]).await;
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1, 1e30] {
        check_generate(|_, o| o.guidance_scale = Some(wrong), &["options.guidance_scale"]).await;
        check_generate(|_, o| o.temperature = Some(wrong), &["options.temperature"]).await;
    }
    check_generate(|_, o| o.guidance_schedule = 77, &["options.guidance_schedule"]).await;
    check_generate(|_, o| o.output_format = -1, &["options.output_format"]).await;
    check_generate(|_, o| o.width = Some(0), &["options.width"]).await;
    check_generate(|_, o| o.width = Some(17), &["options.width"]).await;
    check_generate(|_, o| o.height = Some(65_537), &["options.height"]).await;
    check_generate(|_, o| o.height = Some(1 << 20), &["options.height"]).await;
    check_generate(|_, o| (o.width, o.height) = (Some(u32::MAX - 15), Some(u32::MAX - 15)), &["options.width"]).await;
}

#[tokio::test]
async fn bounds_themselves_are_accepted() {
    check_generate(|r, _| r.prompt = "x".repeat(3000), &[]).await;
    check_generate(|_, o| (o.n, o.iterations, o.head_steps) = (Some(8), Some(256), Some(1000)), &[]).await;
    check_generate(|_, o| (o.guidance_scale, o.temperature) = (Some(0.0), Some(0.0)), &[]).await;
    check_generate(|_, o| (o.guidance_scale, o.temperature) = (Some(30.0), Some(2.0)), &[]).await;
    check_generate(|_, o| (o.width, o.height) = (Some(256), Some(64)), &[]).await;
    check_generate(|_, o| (o.seed, o.preview_every) = (Some(u64::MAX), Some(u32::MAX)), &[]).await;
}

#[tokio::test]
async fn all_violations_come_at_once() {
    let wrong = |request: &mut pb::GenerateRequest, options: &mut pb::ImageOptions| {
        request.prompt.clear();
        request.negative_prompt = "x".repeat(100_000);
        *options = pb::ImageOptions {
            seed: None,
            n: Some(0),
            iterations: Some(0),
            head_steps: Some(0),
            guidance_scale: Some(f32::NAN),
            guidance_schedule: 9,
            temperature: Some(-1.0),
            width: Some(1),
            height: Some(0),
            output_format: 9,
            preview_every: None,
        };
    };
    let expected = [
        "prompt",
        "negative_prompt",
        "options.width",
        "options.height",
        "options.guidance_schedule",
        "options.n",
        "options.iterations",
        "options.head_steps",
        "options.guidance_scale",
        "options.temperature",
        "options.output_format",
    ];
    check_generate(wrong, &expected).await;
}

#[tokio::test]
async fn an_edit_names_its_image_with_everything_else() {
    let (gateway, script) = gateway(Script::default()).await;
    let whole = png(40, 30);
    for file in [Vec::new(), b"not an image".to_vec(), whole[..whole.len() / 2].to_vec()] {
        let request = pb::EditRequest {
            image: file.into(),
            instruction: String::new(),
            options: Some(pb::ImageOptions { n: Some(0), ..Default::default() }),
            ..Default::default()
        };
        let status = collect(gateway.edit(Request::new(request)).await).await.expect_err("refused");
        assert_eq!(fields(&status), ["image", "instruction", "options.n"]);
    }
    assert!(script.synthesized.lock().expect("lock").is_empty());
}

/// Sends an Understand request and expects exactly these fields to be refused.
async fn check_understand(change: impl FnOnce(&mut pb::UnderstandRequest), expected: &[&str]) {
    check_understand_with(Script::default(), change, expected).await;
}

async fn check_understand_with(script: Script, change: impl FnOnce(&mut pb::UnderstandRequest), expected: &[&str]) {
    let (gateway, script) = gateway(script).await;
    let first = turn(pb::Role::User, vec![image(png(8, 8)), text("what is this?")]);
    let mut request = pb::UnderstandRequest { turns: vec![first], ..Default::default() };
    change(&mut request);
    let result = collect(gateway.understand(Request::new(request)).await).await;
    let found = result.err().map(|status| fields(&status)).unwrap_or_default();
    assert_eq!(found, expected);
    let reached = !script.answered.lock().expect("lock").is_empty();
    assert_eq!(reached, expected.is_empty());
}

#[tokio::test]
async fn each_wrong_field_of_a_question_is_named() {
    use pb::Role::{Assistant, Unspecified, User};
    let ask = || turn(User, vec![text("and now?")]);
    check_understand(|_| (), &[]).await;
    check_understand(|r| r.turns.clear(), &["turns"]).await;
    let expected = ["turns[0].role", "turns[0].parts[0].image"];
    check_understand(|r| r.turns[0].role = Assistant as i32, &expected).await;
    check_understand(|r| r.turns[0].role = Unspecified as i32, &["turns[0].role"]).await;
    check_understand(|r| r.turns[0].role = 44, &["turns[0].role"]).await;
    check_understand(|r| r.turns.push(turn(Assistant, vec![text("a barn")])), &["turns"]).await;
    check_understand(|r| r.turns.extend([ask(), ask()]), &["turns[1].role"]).await;
    check_understand(|r| r.turns.extend((0..40).map(|_| ask())), &["turns"]).await;
    let shown = || turn(Assistant, vec![image(png(8, 8)), text("look")]);
    check_understand(|r| r.turns.extend([shown(), ask()]), &["turns[1].parts[0].image"]).await;
    check_understand(|r| r.turns[0].parts.clear(), &["turns[0].parts"]).await;
    check_understand(|r| r.turns[0].parts = vec![text(" ")], &["turns[0].parts"]).await;
    check_understand(|r| r.turns[0].parts.push(pb::Part { content: None }), &["turns[0].parts[2]"]).await;
    check_understand(|r| r.turns[0].parts[0] = image(vec![1, 2, 3]), &["turns[0].parts[0].image"]).await;
    check_understand(|r| r.turns[0].parts = (0..4).map(|_| text(&"x".repeat(2048))).collect(), &["turns[0].parts"])
        .await;
    check_understand(|r| r.turns[0].parts.extend((0..8).map(|_| image(png(4, 4)))), &["turns"]).await;
    check_understand(|r| r.max_tokens = Some(0), &["max_tokens"]).await;
    check_understand(|r| r.max_tokens = Some(100_000), &["max_tokens"]).await;
    check_understand(|r| r.temperature = Some(f32::NAN), &["temperature"]).await;
    for wrong in [0.0, -1.0, 1.1, f32::NAN] {
        check_understand(|r| r.top_p = Some(wrong), &["top_p"]).await;
    }
    check_understand(|r| r.stop = vec!["x".to_owned(); 9], &["stop"]).await;
    check_understand(|r| r.stop = vec!["a".to_owned(), String::new()], &["stop[1]"]).await;
    check_understand(|r| r.stop = vec!["x".repeat(257)], &["stop[0]"]).await;
    check_understand(|r| r.encoder_path = 5, &["encoder_path"]).await;
    let everything = |r: &mut pb::UnderstandRequest| {
        r.turns = vec![turn(Assistant, vec![])];
        (r.max_tokens, r.temperature, r.top_p) = (Some(0), Some(-1.0), Some(7.0));
        r.stop = vec![String::new()];
        r.encoder_path = 9;
    };
    let expected = ["encoder_path", "turns[0].role", "max_tokens", "temperature", "top_p", "stop[0]", "turns[0].parts"];
    check_understand(everything, &expected).await;
}

#[tokio::test]
async fn weights_without_siglip_refuse_it_and_use_mar_by_default() {
    let mar_only = || Script { mar_only: true, ..Script::default() };
    let siglip = |r: &mut pb::UnderstandRequest| r.encoder_path = pb::EncoderPath::Siglip2 as i32;
    check_understand_with(mar_only(), siglip, &["encoder_path"]).await;
    check_understand_with(mar_only(), |_| (), &[]).await;
}

#[tokio::test]
async fn wrong_configurations_are_refused_with_their_keys() {
    let n_wrong = Cell::new(0);
    let check = |change: &dyn Fn(&mut Config), key: &str| {
        n_wrong.set(n_wrong.get() + 1);
        let mut config = Config::default();
        change(&mut config);
        let mut problems = Problems::default();
        config.validate(&mut problems);
        let problems = problems.found();
        assert!(problems.first().is_some_and(|first| first.starts_with(key)), "{key}: {problems:?}");
    };
    check(&|c| c.drain_seconds = f64::NAN, "drain_seconds");
    check(&|c| c.telemetry.log_filter = "a=loud".to_owned(), "telemetry.log_filter");
    check(&|c| c.decoder.clear(), "decoder");
    check(&|c| c.model_name = Some(" ".to_owned()), "model_name");
    check(&|c| c.refresh_seconds = 0, "refresh_seconds");
    check(&|c| c.admission.max_running = 0, "admission.max_running");
    check(&|c| c.admission.max_running_cost = 0, "admission.max_running_cost");
    check(&|c| c.failover.retry_percent = -1.0, "failover.retry_percent");
    check(&|c| c.tenants.default.max_concurrent = Some(0), "tenants.default.max_concurrent");
    let wrong = unipic_gateway::QuotaConfig { requests_per_second: Some(0.0), ..Default::default() };
    check(&|c| c.tenants.named = [("acme".to_owned(), wrong.clone())].into(), "tenants.acme.requests_per_second");
    check(&|c| c.admission.max_queued = usize::MAX, "admission.max_queued");
    check(&|c| c.limits.max_n = 0, "limits.max_n");
    check(&|c| c.limits.max_image_jobs = Some(usize::MAX), "limits.max_image_jobs");
    check(&|c| c.limits.max_waiting_image_bytes = 1 << 20, "limits.max_waiting_image_bytes");
    check(&|c| c.limits.max_head_steps = 1001, "limits.max_head_steps");
    check(&|c| c.limits.max_temperature = f32::NAN, "limits.max_temperature");
    check(&|c| c.defaults.guidance_scale = f32::NAN, "defaults.guidance_scale");
    check(&|c| c.defaults.iterations = Some(0), "defaults.iterations");
    check(&|c| c.defaults.head_steps = Some(0), "defaults.head_steps");
    measured!("values", n_wrong.get());
}

#[tokio::test]
async fn a_gateway_whose_backends_are_silent_says_loading() {
    let gateway = unipic_gateway::Gateway::new(support::Fake::default(), Config::default());
    let status = gateway.get_model(Request::new(pb::GetModelRequest {})).await.expect_err("not ready");
    assert_eq!(status.code(), Code::Unavailable);
    let (gateway, _) = with_config(Script::default(), Config::default()).await;
    let model = gateway.get_model(Request::new(pb::GetModelRequest {})).await.expect("ready").into_inner();
    let defaults = model.image_defaults.expect("defaults");
    assert_eq!((defaults.width, defaults.iterations, defaults.head_steps), (Some(64), Some(4), Some(20)));
    assert_eq!(model.limits.expect("limits").max_output_pixels, 128 * 128);
    assert_eq!((model.stride, model.weights_sha256.len()), (16, 64));
    assert_eq!(model.notices, ["SigLIP2 from its own folder"]);
}

#[tokio::test]
async fn default_iterations_follow_the_places_unless_they_are_configured() {
    let told = |model: pb::GetModelResponse| model.image_defaults.expect("defaults").iterations;
    let model = async |config: Config| {
        let (gateway, _) = with_config(Script::default(), config).await;
        gateway.get_model(Request::new(pb::GetModelRequest {})).await.expect("ready").into_inner()
    };
    let with = |iterations: Option<u32>, image_size: u32| {
        let mut config = Config::default();
        (config.defaults.iterations, config.defaults.image_size) = (iterations, Some(image_size));
        config
    };
    // A small model's base image, an image of one place, and whatever the operator says.
    assert_eq!(told(model(with(None, 128)).await), Some(16));
    assert_eq!(told(model(with(None, 16)).await), Some(1));
    assert_eq!(told(model(with(Some(12), 128)).await), Some(12));
    assert_eq!(told(model(with(Some(99), 64)).await), Some(16), "never more than places");
}
