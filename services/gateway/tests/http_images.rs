//! `/v1/images/*` over scripted backends: images as asked, events in order, and refusals that name the field.

#![allow(clippy::expect_used, clippy::panic)]

mod support;
mod web;

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::http::{StatusCode, header};
use serde_json::{Value, json};
use support::{Fake, Script, gateway, gateway_for, png, transparent_mask, with_config};
use tower::ServiceExt;
use unipic_api::pb;
use unipic_gateway::{CallContext, Config, Gateway};
use unipic_imaging::{DecodeLimits, decode};
use web::{Answer, bytes, form_request, get, json_request, post, post_form};

const GENERATIONS: &str = "/v1/images/generations";
const EDITS: &str = "/v1/images/edits";

#[tokio::test]
async fn a_generation_is_answered_with_its_images() {
    let (gateway, script) = gateway(Script::default()).await;
    let request = json!({
        "model": "unipic-h64-64px", "prompt": "a barn", "n": 2, "size": "64x32", "seed": u64::MAX, "iterations": 4,
        "head_steps": 5, "guidance_scale": 1.5, "guidance_schedule": "linear", "temperature": 0.5,
        "negative_prompt": "rain", "output_format": "webp", "response_format": "b64_json", "user": "me",
        "quality": "high", "background": "auto", "moderation": "low", "style": null,
    });
    let answer = post(&gateway, GENERATIONS, &request).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["data"].as_array().expect("images").len(), 2);
    assert_eq!(
        (&told["seed"], &told["size"], &told["output_format"]),
        (&json!(u64::MAX), &json!("64x32"), &json!("webp"))
    );
    assert!(told["created"].as_u64().is_some_and(|created| created > 1_600_000_000));
    assert_eq!(told["unipic"]["guidance_schedule"], "linear");
    for (index, image) in told["data"].as_array().expect("images").iter().enumerate() {
        let pixels = decode(&bytes(&image["b64_json"]), &DecodeLimits::default()).expect("decodes");
        assert_eq!((pixels.width, pixels.height, &pixels.data[..2]), (64, 32, &[255, index as u8][..]));
    }
    let asked = script.synthesized.lock().expect("lock")[0].0.clone();
    let expected = pb::SynthesisParameters {
        prompt: "a barn".to_owned(),
        negative_prompt: "rain".to_owned(),
        seed: u64::MAX,
        n_images: 2,
        grid_rows: 2,
        grid_cols: 4,
        iterations: 4,
        head_steps: 5,
        guidance_scale: 1.5,
        guidance_schedule: pb::GuidanceSchedule::Linear as i32,
        temperature: 0.5,
        ..Default::default()
    };
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_png_says_the_same_of_itself_over_http_as_over_grpc() {
    use unipic_api::pb::uni_pic_server::UniPic as _;
    let (gateway, _) = gateway(Script::default()).await;
    let answer = post(&gateway, GENERATIONS, &json!({"prompt": "a barn", "seed": 7, "iterations": 4})).await.json();
    let over_http = bytes(&answer["data"][0]["b64_json"]);
    let options = pb::ImageOptions { seed: Some(7), iterations: Some(4), ..Default::default() };
    let events = support::collect(gateway.generate(support::generate("a barn", options)).await).await.expect("drawn");
    let over_grpc = events.iter().find_map(|event| match &event.event {
        Some(pb::generate_response::Event::Image(image)) => Some(image.data.to_vec()),
        _ => None,
    });
    assert!(over_grpc.expect("an image") == over_http, "the files differ");
    let text = unipic_imaging::read_png_text(&over_http).expect("text");
    assert!(text.iter().any(|(key, value)| key == unipic_api::record::KEY && value.contains("\"seed\":7")), "{text:?}");
    assert!(answer["unipic"]["server_version"].as_str().is_some_and(|version| !version.is_empty()));
}

#[tokio::test]
async fn a_stream_tells_previews_and_finished_images() {
    let (gateway, _) = gateway(Script::default()).await;
    let request = json!({"prompt": "a barn", "seed": 7, "iterations": 9, "stream": true, "partial_images": 2});
    let answer = post(&gateway, GENERATIONS, &request).await;
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-cache");
    let events = answer.events();
    let told: Vec<_> = events.iter().map(|(name, data)| (name.as_str(), &data["partial_image_index"])).collect();
    let partial = "image_generation.partial_image";
    assert_eq!(told, [(partial, &json!(0)), (partial, &json!(1)), ("image_generation.completed", &Value::Null)]);
    for (name, data) in &events {
        assert_eq!((&data["type"], &data["size"], &data["image_index"]), (&json!(name), &json!("64x64"), &json!(0)));
        let pixels = decode(&bytes(&data["b64_json"]), &DecodeLimits::default()).expect("decodes");
        assert_eq!((pixels.width, pixels.data[0]), (64, 7));
    }
    assert_eq!(events[2].1["seed"], 7);
    // A finished image says all that makes it again, as the whole answer does.
    let mut whole = post(&gateway, GENERATIONS, &json!({"prompt": "a barn", "seed": 7, "iterations": 9})).await.json();
    whole["unipic"].as_object_mut().expect("an object").remove("total_ms");
    assert_eq!(events[2].1["unipic"], whole["unipic"]);
    assert_eq!(whole["unipic"]["iterations"], 9);
}

#[tokio::test]
async fn a_stream_tells_the_wait_and_the_iterations_where_that_is_asked_for() {
    let (gateway, _) = gateway(Script::default()).await;
    let request = json!({"prompt": "a barn", "iterations": 3, "stream": true, "progress": true});
    let events = post(&gateway, GENERATIONS, &request).await.events();
    let last = events.last().expect("events");
    assert_eq!(last.0, "image_generation.completed");
    let progress: Vec<_> = events.iter().filter(|(name, _)| name == "image_generation.progress").collect();
    assert!(!progress.is_empty(), "{events:?}");
    for (name, data) in progress {
        assert_eq!((&data["type"], &data["iterations"]), (&json!(name), &json!(3)));
        assert!(data["iteration"].is_u64() && data["elapsed_ms"].is_number(), "{data}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (gateway, script) = gateway(Script::default()).await;
    for (request, param, part) in [
        (json!({}), "prompt", "must not be empty"),
        (json!({"prompt": "  "}), "prompt", "must not be empty"),
        (json!({"prompt": 1}), "prompt", "must be a string"),
        (json!({"prompt": "x".repeat(10_000)}), "prompt", "bytes"),
        (json!({"prompt": "a", "n": 0}), "n", "must be between 1 and 8, not 0"),
        (json!({"prompt": "a", "n": -1}), "n", "whole number"),
        (json!({"prompt": "a", "n": 1.5}), "n", "whole number"),
        (json!({"prompt": "a", "size": "17x64"}), "size", "multiple of 16"),
        (json!({"prompt": "a", "size": "huge"}), "size", "WIDTHxHEIGHT"),
        (json!({"prompt": "a", "size": "1024x1024"}), "size", "pixels"),
        (json!({"prompt": "a", "seed": -5}), "seed", "whole number"),
        (json!({"prompt": "a", "response_format": "url"}), "response_format", "keeps no images"),
        (json!({"prompt": "a", "output_format": "gif"}), "output_format", "\"png\" or \"jpeg\" or \"webp\""),
        (json!({"prompt": "a", "stream": "yes"}), "stream", "true or false"),
        (json!({"prompt": "a", "stream": true, "partial_images": 9}), "partial_images", "between 0 and 8"),
        (json!({"prompt": "a", "partial_images": 1}), "partial_images", "stream"),
        (json!({"prompt": "a", "progress": true}), "progress", "stream"),
        (json!({"prompt": "a", "iterations": 1000}), "iterations", "between 1 and 256"),
        (json!({"prompt": "a", "head_steps": 0}), "head_steps", "between 1 and 1000"),
        (json!({"prompt": "a", "guidance_scale": 1e300}), "guidance_scale", "between 0 and 30"),
        (json!({"prompt": "a", "guidance_schedule": "up"}), "guidance_schedule", "\"constant\" or \"linear\""),
        (json!({"prompt": "a", "temperature": []}), "temperature", "must be a number"),
        (json!({"prompt": "a", "background": "transparent"}), "background", "opaque"),
        (json!({"prompt": "a", "steps": 5}), "steps", "is not a field"),
        (json!({"prompt": "a", "image": "x"}), "image", "is not a field"),
    ] {
        let answer = post(&gateway, GENERATIONS, &request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{request}: {answer:?}");
        let (blamed, message) = answer.blamed();
        assert!(blamed == param && message.contains(part), "{request}: {blamed}: {message}");
    }
    // All at once.
    let several = json!({"seed": "x", "steps": 1, "size": "17x64", "prompt": 3, "iterations": 1000});
    let (_, message) = post(&gateway, GENERATIONS, &several).await.blamed();
    for field in ["seed: ", "steps: ", "size: ", "prompt: ", "iterations: "] {
        assert_eq!(message.matches(field).count(), 1, "{field}: {message}");
    }
    let other = post(&gateway, GENERATIONS, &json!({"prompt": "a", "model": "dall-e-3"})).await;
    assert_eq!((other.status, other.blamed().0.as_str()), (StatusCode::NOT_FOUND, "model"));
    assert!(script.synthesized.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn bodies_are_judged_before_they_are_parsed() {
    let (gateway, _) = gateway(Script::default()).await;
    let request = |kind: &str, body: String| {
        let request = axum::http::Request::post(GENERATIONS).header(header::CONTENT_TYPE, kind);
        request.body(axum::body::Body::from(body)).expect("a request")
    };
    let long = format!("{{\"prompt\": \"{}\"}}", "x".repeat(1 << 20));
    for (kind, body, status) in [
        ("text/plain", "{}".to_owned(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/json", long, StatusCode::PAYLOAD_TOO_LARGE),
        ("application/json", "{\"prompt\": ".to_owned(), StatusCode::BAD_REQUEST),
        ("application/json", "[1]".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        let answer = web::send(&gateway, request(kind, body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        answer.blamed();
    }
    let edit = json_request(EDITS, &json!({"prompt": "a"}));
    assert_eq!(web::send(&gateway, edit).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let cut = form_request(EDITS, &[("prompt", b"a")]).map(|_| axum::body::Body::from("--xyz\r\nContent-Dispo"));
    assert_eq!(web::send(&gateway, cut).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_edit_takes_one_image() {
    let (gateway, script) = gateway(Script::default()).await;
    let file = png(100, 40);
    for name in ["image", "image[]"] {
        let parts: [web::Part<'_>; 6] = [
            ("prompt", "make it green".as_bytes()),
            (name, &file),
            ("size", b"64x32"),
            ("seed", b"7"),
            ("iterations", b"4"),
            ("guidance_scale", b"2.5"),
        ];
        let answer = post_form(&gateway, EDITS, &parts).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let told = answer.json();
        let crop = json!({"x": 10, "y": 0, "width": 80, "height": 40, "source_width": 100, "source_height": 40});
        assert_eq!((&told["seed"], &told["data"][0]["crop"]), (&json!(7), &crop));
    }
    let asked = script.synthesized.lock().expect("lock");
    let (parameters, source) = &asked[1];
    assert_eq!((parameters.prompt.as_str(), parameters.guidance_scale), ("make it green", 2.5));
    let source = source.as_ref().expect("a source");
    assert_eq!((source.width, source.height, &source.data[..3]), (64, 32, &[200, 0, 0][..]));
}

#[tokio::test]
async fn an_edit_with_a_mask_redraws_what_is_transparent() {
    let (gateway, script) = gateway(Script::default()).await;
    let source = support::noise(64, 64);
    let (file, mask) = (support::png_of(&source), transparent_mask(64, 64, |x, y| x < 8 && y >= 32));
    let parts: [web::Part<'_>; 7] = [
        ("prompt", b"make it green"),
        ("image", &file),
        ("mask", &mask),
        ("seed", b"250"),
        ("iterations", b"4"),
        ("stream", b"true"),
        ("partial_images", b"1"),
    ];
    let events = post_form(&gateway, EDITS, &parts).await.events();
    assert_eq!(events.len(), 2);
    for (name, data) in &events {
        let picture = decode(&bytes(&data["b64_json"]), &DecodeLimits::default()).expect("decodes");
        for (i, (was, is)) in source.data.chunks(3).zip(picture.data.chunks(3)).enumerate() {
            assert_eq!(was != is, i % 64 < 8 && i / 64 >= 32, "{name}: pixel {i}");
        }
    }
    assert_eq!(script.synthesized.lock().expect("lock")[0].0.redrawn_places, [8, 12]);
}

#[tokio::test]
async fn an_edit_with_margins_has_the_size_of_both() {
    let (gateway, script) = gateway(Script::default()).await;
    let file = png(48, 48);
    let parts: [web::Part<'_>; 5] =
        [("prompt", b"more sky"), ("image", &file), ("extend_top", b"16"), ("extend_right", b"32"), ("seed", b"7")];
    let told = post_form(&gateway, EDITS, &parts).await.json();
    assert_eq!(told["size"], "80x64");
    assert_eq!(script.synthesized.lock().expect("lock")[0].0.redrawn_places.len(), 20 - 9);
    let streamed = [&parts[..], &[("stream", b"true"), ("partial_images", b"1")]].concat();
    let events = post_form(&gateway, EDITS, &streamed).await.events();
    let sizes: Vec<_> = events.iter().map(|(_, data)| data["size"].clone()).collect();
    assert_eq!(sizes, [Value::Null, json!("80x64")], "a preview's size follows from the image");
    let sized = [&parts[..], &[("size", b"64x64")]].concat();
    assert_eq!(post_form(&gateway, EDITS, &sized).await.json()["size"], "64x64");
}

#[tokio::test]
async fn an_edit_streams_under_its_own_names() {
    let (gateway, _) = gateway(Script::default()).await;
    let file = png(64, 64);
    let parts: [web::Part<'_>; 5] =
        [("image", &file), ("prompt", b"green"), ("stream", b"true"), ("partial_images", b"1"), ("iterations", b"4")];
    let events = post_form(&gateway, EDITS, &parts).await.events();
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["image_edit.partial_image", "image_edit.completed"]);
}

#[tokio::test]
async fn wrong_edits_are_refused_by_name() {
    let (gateway, script) = gateway(Script::default()).await;
    let (file, mask) = (png(8, 8), transparent_mask(8, 8, |x, _| x < 4));
    let (opaque, larger) = (transparent_mask(8, 8, |_, _| false), transparent_mask(9, 8, |_, _| true));
    let prompt: web::Part<'_> = ("prompt", b"green");
    for (parts, param, part) in [
        (vec![prompt], "image", "as a file"),
        (vec![prompt, ("image", &file), ("image", &file)], "image", "exactly one image, not 2"),
        (vec![prompt, ("image", b"not an image")], "image", ""),
        (vec![("image", &*file)], "prompt", "must not be empty"),
        (vec![prompt, ("image", &file), ("mask", &file)], "mask", "no alpha channel"),
        (vec![prompt, ("image", &file), ("mask", b"no mask")], "mask", "none of PNG"),
        (vec![prompt, ("image", &file), ("mask", &opaque)], "mask", "must be transparent"),
        (vec![prompt, ("image", &file), ("mask", &larger)], "mask", "the mask is 9x8 pixels, the image 8x8"),
        (vec![prompt, ("image", &file), ("mask", &mask), ("mask", &mask)], "mask", "exactly one image, not 2"),
        (vec![prompt, ("image", &file), ("mask", &mask), ("feather", b"soft")], "feather", "whole number"),
        (vec![prompt, ("image", &file), ("mask", &mask), ("feather", b"999")], "feather", "between 0 and 256"),
        (vec![prompt, ("image", &file), ("feather", b"3")], "feather", "needs a mask or margins"),
        (vec![prompt, ("image", &file), ("extend_left", b"far")], "extend_left", "whole number"),
        (vec![prompt, ("image", &file), ("extend_left", b"40000")], "extend", "makes 40008x8 pixels"),
        (vec![prompt, prompt, ("image", &file)], "prompt", "more than once"),
        (vec![prompt, ("image", &file), ("n", b"two")], "n", "whole number"),
        (vec![prompt, ("image", &file), ("n", b"99")], "n", "between 1 and 8"),
        (vec![prompt, ("image", &file), ("stream", b"1")], "stream", "true or false"),
        (vec![prompt, ("image", &file), ("moderation", b"low")], "moderation", "is not a field"),
        (vec![("prompt", b"\xff"), ("image", &file)], "prompt", "UTF-8"),
    ] {
        let answer = post_form(&gateway, EDITS, &parts).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{param}: {answer:?}");
        let (blamed, message) = answer.blamed();
        assert!(blamed == param && message.contains(part), "{param}: {blamed}: {message}");
    }
    // All at once.
    let several: [(&str, &[u8]); 4] = [("prompt", b" "), ("image", b"no image"), ("n", b"99"), ("steps", b"5")];
    let (_, message) = post_form(&gateway, EDITS, &several).await.blamed();
    assert!(several.iter().all(|(field, _)| message.contains(&format!("{field}: "))), "{message}");
    assert!(script.synthesized.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let (gateway, script) = gateway_for(Script { hang: true, ..Script::default() }, 1, 0).await;
    let request = json!({"prompt": "a", "stream": true});
    let running = gateway.router().oneshot(json_request(GENERATIONS, &request)).await.expect("infallible");
    assert_eq!(running.status(), StatusCode::OK);
    let refused = post(&gateway, GENERATIONS, &json!({"prompt": "b"})).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    assert!(refused.header(header::RETRY_AFTER).parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
    // Whoever drops the stream gives its place back.
    drop(running);
    let ended = async {
        while script.alive.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the work goes on");
}

#[tokio::test]
async fn not_ready_late_and_lost_have_their_own_status() {
    let cold = Gateway::new(Fake::default(), Config::default());
    for answer in [post(&cold, GENERATIONS, &json!({"prompt": "a"})).await, get(&cold, "/readyz").await] {
        assert_eq!((answer.status, answer.header(header::RETRY_AFTER)), (StatusCode::SERVICE_UNAVAILABLE, "1"));
        assert_eq!(answer.json()["error"]["code"], "loading");
    }
    assert_eq!(get(&cold, "/healthz").await.status, StatusCode::OK);

    let (hanging, _) = gateway(Script { hang: true, ..Script::default() }).await;
    let mut request = json_request(GENERATIONS, &json!({"prompt": "a"}));
    let deadline = tokio::time::Instant::now() + Duration::from_millis(80);
    let call = CallContext { deadline, ..CallContext::among(request.extensions()) };
    request.extensions_mut().insert(call);
    let late = web::send(&hanging, request).await;
    assert_eq!(
        (late.status, &late.json()["error"]["code"]),
        (StatusCode::GATEWAY_TIMEOUT, &json!("deadline_exceeded"))
    );

    // Lost for good, and given up soon.
    let lost = || Script { lose_synthesis: AtomicUsize::new(usize::MAX), ..Script::default() };
    let failover = unipic_client::RetryPolicy { patience_seconds: 0.3, ..Default::default() };
    let config = Config { failover, ..Config::default() };
    let (losing, _) = with_config(lost(), config.clone()).await;
    let answer = post(&losing, GENERATIONS, &json!({"prompt": "a"})).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    // A stream that has begun ends with the error.
    let (losing, _) = with_config(lost(), config).await;
    let stream: Answer = post(&losing, GENERATIONS, &json!({"prompt": "a", "stream": true})).await;
    let (name, data) = stream.events().pop().expect("an event");
    assert_eq!((name.as_str(), &data["error"]["status"]), ("error", &json!(503)));
}
