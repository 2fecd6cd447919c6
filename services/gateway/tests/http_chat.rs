//! `/v1/chat/completions` over scripted backends.

#![allow(clippy::expect_used, clippy::panic)]

mod support;
mod web;

use axum::http::StatusCode;
use serde_json::{Value, json};
use support::{Script, gateway, png, readable};
use web::{base64, post};

const CHAT: &str = "/v1/chat/completions";

fn uri() -> String {
    format!("data:image/png;base64,{}", base64(&png(4, 4)))
}

fn image() -> Value {
    json!({"type": "image_url", "image_url": {"url": uri(), "detail": "high"}})
}

#[tokio::test]
async fn a_conversation_is_answered_as_over_grpc() {
    let (gateway, script) = gateway(Script::default()).await;
    let request = json!({
        "model": "unipic-h64-64px", "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9, "seed": 3,
        "stop": "!", "encoder_path": "mar", "n": 1, "presence_penalty": 0.0, "logprobs": false, "user": "me",
        "response_format": {"type": "text"}, "store": false, "tools": [], "tool_choice": "none", "logit_bias": {},
        "messages": [
            {"role": "user", "content": [image(), image(), {"type": "text", "text": "Compare."}]},
            {"role": "assistant", "content": "<image>", "refusal": null},
            {"role": "user", "content": "And now?", "name": "me"},
        ],
    });
    let answer = post(&gateway, CHAT, &request).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let told = answer.json();
    assert_eq!((&told["object"], &told["model"]), (&json!("chat.completion"), &json!("unipic-h64-64px")));
    let choice = &told["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "A red barn.", "refusal": null}));
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(told["usage"], json!({"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}));
    let asked = script.answered.lock().expect("lock");
    let spec = &asked[0];
    assert_eq!((spec.max_tokens, spec.temperature, spec.top_p, spec.seed), (9, 0.5, 0.9, 3));
    assert_eq!(spec.stop, ["!"]);
    let expected = [
        r#"template "<|im_start|>user\n""#,
        "embeddings mar 200",
        r#"template "\n""#,
        "embeddings mar 200",
        r#"template "\n""#,
        r#"user "Compare.""#,
        r#"template "<|im_end|>\n<|im_start|>assistant\n""#,
        r#"user "<image>""#,
        r#"template "<|im_end|>\n<|im_start|>user\n""#,
        r#"user "And now?""#,
        r#"template "<|im_end|>\n<|im_start|>assistant\n""#,
    ];
    assert_eq!(readable(&spec.prompt), expected);
}

#[tokio::test]
async fn a_stream_comes_in_chunks() {
    let (gateway, _) = gateway(Script::default()).await;
    let mut request = json!({"messages": [{"role": "user", "content": "Hello?"}], "stream": true});
    for include_usage in [false, true] {
        if include_usage {
            request["stream_options"] = json!({"include_usage": true});
        }
        let mut events: Vec<_> =
            post(&gateway, CHAT, &request).await.events().into_iter().map(|(_, data)| data).collect();
        assert_eq!(events.pop(), Some(json!("[DONE]")));
        if include_usage {
            let last = events.pop().expect("usage");
            assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(24)));
            assert!(events.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        }
        let first = &events[0]["choices"][0]["delta"];
        assert_eq!(first, &json!({"role": "assistant", "content": ""}));
        let said: String = events.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(said, "A red barn.");
        assert_eq!(events.last().expect("an end")["choices"][0]["finish_reason"], "stop");
        assert!(
            events.iter().all(|chunk| chunk["id"] == events[0]["id"] && chunk["object"] == "chat.completion.chunk")
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (gateway, script) = gateway(Script::default()).await;
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let with = |name: &str, value: Value| {
        let mut request = user(json!("Hi"));
        request[name] = value;
        request
    };
    let picture = |url: &str| user(json!([{"type": "image_url", "image_url": {"url": url}}]));
    for (request, param, part) in [
        (json!({}), "messages", "must be a list"),
        (json!({"messages": []}), "messages", "at least one"),
        (json!({"messages": ["x"]}), "messages[0]", "an object"),
        (user(json!("")), "messages[0].content", "some text or an image"),
        (user(json!(7)), "messages[0].content", "a string or a list"),
        (user(json!([{"type": "audio"}])), "messages[0].content[0].type", "text or image_url"),
        (user(json!([{"type": "text", "text": "a", "x": 1}])), "messages[0].content[0].x", "is not a field"),
        (json!({"messages": [{"role": "system", "content": "x"}]}), "messages[0].role", "without system messages"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role", "user or assistant"),
        (
            json!({"messages": [{"role": "assistant", "content": "x"}]}),
            "messages[0].role",
            "must be user: turns alternate",
        ),
        (picture("https://example.org/a.png"), "messages[0].content[0].image_url", "not fetched"),
        (picture("/etc/passwd"), "messages[0].content[0].image_url", "data URI"),
        (picture("data:image/png;base64,%%%"), "messages[0].content[0].image_url", "no valid base64"),
        (picture("data:image/png;base64,QUJD"), "messages[0].content[0].image_url", ""),
        (user(json!(vec![image(); 9])), "messages", "at most 8 images, not 9"),
        (with("max_tokens", json!(0)), "max_tokens", "between 1 and"),
        (with("max_completion_tokens", json!("x")), "max_completion_tokens", "whole number"),
        (with("temperature", json!(3)), "temperature", "between 0 and 2"),
        (with("top_p", json!(0)), "top_p", "above 0"),
        (with("stop", json!([1])), "stop", "strings"),
        (with("stop", json!(vec!["a"; 9])), "stop", "at most 8"),
        (with("stream_options", json!({"include_usage": true})), "stream_options", "stream"),
        (with("n", json!(2)), "n", "one answer"),
        (with("response_format", json!({"type": "json_object"})), "response_format", "plain text"),
        (with("presence_penalty", json!(0.5)), "presence_penalty", "not supported"),
        (with("tools", json!([{}])), "tools", "calls no tools"),
        (with("functions", json!([])), "functions", "is not a field"),
    ] {
        let answer = post(&gateway, CHAT, &request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{request:.200}: {answer:?}");
        let (blamed, message) = answer.blamed();
        assert!(blamed == param && message.contains(part), "{request:.200}: {blamed}: {message}");
    }
    let mut both = with("max_tokens", json!(5));
    both["max_completion_tokens"] = json!(6);
    assert_eq!(post(&gateway, CHAT, &both).await.blamed().0, "max_tokens");
    // All at once, and of messages that cannot be read no more than that.
    let several = json!({"messages": ["x", "y"], "temperature": 3, "functions": [], "top_p": "x"});
    let (_, message) = post(&gateway, CHAT, &several).await.blamed();
    for (field, times) in [("messages", 2), ("temperature: ", 1), ("functions: ", 1), ("top_p: ", 1)] {
        assert_eq!(message.matches(field).count(), times, "{field}: {message}");
    }
    assert!(script.answered.lock().expect("lock").is_empty());
}
