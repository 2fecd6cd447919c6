//! Bodies of the HTTP API: JSON and forms, through the gateway's own router and over backends that answer at once.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use fuzz::{Bounds, Outcome, Target};
use http_body_util::BodyExt;
use tower::ServiceExt;
use unipic_api::{ApiError, pb};
use unipic_gateway::{
    AnswerEvent, AnswerSpec, Backends, CallContext, Config, Facts, Gateway, LimitsConfig, Missing, ReplyStream,
    SynthesisEvent, SynthesisImage,
};
use unipic_imaging::{Format, Rgb8, encode};

const TARGET: Target = Target {
    name: "http",
    // A body, its values, an image that decodes within its limit, and up to 8 small pictures with their text.
    bounds: Bounds { bytes: 96 << 20, time: Duration::from_secs(20) },
    rounds: 60,
    words: &[
        "null",
        "true",
        "{}",
        "[]",
        "\"seed\":",
        "\"stream\":true,",
        "\"n\":",
        "\"stop\":[\"a\"],",
        "1e999",
        "\\ud800",
        "\"image_url\"",
        "data:image/png;base64,",
        "\"role\":\"assistant\",",
        "\"max_tokens\":",
        "-0",
        "{\"a\":",
        "\"size\":\"64x64\",",
        "\r\n--xyz\r\n",
        "Content-Disposition: form-data; name=\"",
        "; filename=\"",
        "\"partial_images\":",
    ],
};

/// Backends that do as little as can be for an answer.
#[derive(Clone)]
struct AtOnce;

impl Backends for AtOnce {
    type Embeddings = ();

    fn embeddings_bytes(_embeddings: &()) -> u64 {
        0
    }

    async fn facts(&self) -> Result<Facts, Vec<Missing>> {
        let text = || "aa".to_owned();
        let understanding = pb::GetUnderstandingInfoResponse {
            available: true,
            image_size: 48,
            n_tokens: 9,
            llm_width: 64,
            weights_sha256: text(),
            notices: Vec::new(),
        };
        let synthesis = pb::GetSynthesisInfoResponse {
            base_image_size: 64,
            stride: 16,
            n_buffers: 4,
            llm_width: 64,
            default_head_steps: 20,
            weights_sha256: text(),
            notices: Vec::new(),
            max_places: 256,
        };
        let decoder = pb::GetDecoderInfoResponse {
            llm_width: 64,
            context_length: 4096,
            vocab_size: 512,
            weights_sha256: text(),
            notices: Vec::new(),
        };
        Ok(Facts { understanding, synthesis, decoder })
    }

    async fn synthesize(
        &self,
        parameters: pb::SynthesisParameters,
        _source: Option<Rgb8>,
        _context: &CallContext,
    ) -> Result<ReplyStream<SynthesisEvent>, ApiError> {
        let (width, height) = (parameters.grid_cols * 16, parameters.grid_rows * 16);
        let images = (0..parameters.n_images).map(move |image| {
            let image = parameters.first_image + image;
            let pixels = Rgb8::filled(width, height, [9, 9, 9]);
            Ok(SynthesisEvent::Image(SynthesisImage { image, preview: false, pixels }))
        });
        let done = Ok(SynthesisEvent::Done(pb::SynthesisTimings::default()));
        Ok(stream::iter(images.chain([done])).boxed())
    }

    async fn encode_siglip(&self, _image: Rgb8, _context: &CallContext) -> Result<(), ApiError> {
        Ok(())
    }

    async fn encode_mar(&self, _image: Rgb8, _context: &CallContext) -> Result<(), ApiError> {
        Ok(())
    }

    async fn answer(
        &self,
        _spec: AnswerSpec<()>,
        _context: &CallContext,
    ) -> Result<ReplyStream<AnswerEvent>, ApiError> {
        let done = pb::AnswerDone { finish_reason: pb::FinishReason::Stop.into(), ..pb::AnswerDone::default() };
        Ok(stream::iter([Ok(AnswerEvent::Text("A star.".into())), Ok(AnswerEvent::Done(done))]).boxed())
    }

    async fn frames(&self, (): ()) -> Result<Vec<pb::TensorFrame>, ApiError> {
        Ok(Vec::new())
    }
}

/// A request: the path, the content type and the body, a line break behind each of the first two.
fn request(input: &[u8]) -> Result<Request<Body>, String> {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().ok_or("a line is missing");
    let (path, kind, body) = (next()?, next()?, next()?);
    let builder = Request::post(path).header("content-type", kind);
    builder.body(Body::from(body.to_vec())).map_err(|error| error.to_string())
}

async fn judge(gateway: &Gateway<AtOnce>, input: &[u8]) -> Outcome {
    let request = match request(input) {
        Ok(request) => request,
        Err(why) => return Outcome::Refused(why),
    };
    let answer = gateway.router().oneshot(request).await.expect("infallible");
    let status = answer.status();
    let body = match answer.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Outcome::Broken(format!("{status}, and no whole body: {error}")),
    };
    if status == StatusCode::OK {
        return Outcome::Taken;
    }
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    match error["error"]["message"].as_str() {
        Some(message) if status.is_client_error() => Outcome::Refused(message.to_owned()),
        _ => Outcome::Broken(format!("{status}: {}", String::from_utf8_lossy(&body))),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let picture = encode(&Rgb8::filled(24, 16, [200, 0, 0]), Format::Png, &[]).expect("it encodes");
    let data = STANDARD.encode(&picture);
    let json = |path: &str, body: String| format!("{path}\napplication/json\n{body}").into_bytes();
    let image = format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#);
    let part = |name: &str, more: &str, bytes: &[u8]| {
        let head = format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
        [head.as_bytes(), bytes, b"\r\n"].concat()
    };
    let edit = [
        b"/v1/images/edits\nmultipart/form-data; boundary=xyz\n".to_vec(),
        part("image", "; filename=\"a.png\"", &picture),
        part("prompt", "", b"make it blue"),
        part("seed", "", b"7"),
        b"--xyz--\r\n".to_vec(),
    ];
    vec![
        json(
            "/v1/images/generations",
            r#"{"prompt":"a red circle","n":2,"seed":7,"size":"64x64","iterations":4,"head_steps":5,"guidance_scale":1.5,
               "temperature":0.9,"negative_prompt":"blue","output_format":"webp","response_format":"b64_json"}"#.into(),
        ),
        json("/v1/images/generations", r#"{"prompt":"a red circle","stream":true,"partial_images":1}"#.into()),
        json(
            "/v1/chat/completions",
            format!(
                r#"{{"messages":[{{"role":"user","content":[{image},{{"type":"text","text":"What is it?"}}]}},
                {{"role":"assistant","content":"A star."}},{{"role":"user","content":"Sure?"}}],"max_tokens":8,"stop":["."],
                "temperature":0.5,"top_p":0.9,"seed":1,"stream":true,"stream_options":{{"include_usage":true}}}}"#
            ),
        ),
        edit.concat(),
    ]
}

#[test]
fn bodies_are_answered_or_refused() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limits =
        LimitsConfig { max_decode_bytes: 64 << 20, max_output_pixels: Some(1 << 16), ..LimitsConfig::default() };
    let gateway = Gateway::new(AtOnce, Config { limits, ..Config::default() });
    runtime.block_on(gateway.refresh_model()).expect("the backends fit each other");
    stated!(TARGET.replay(&seeds(), |input| runtime.block_on(judge(&gateway, input)))?)
}
