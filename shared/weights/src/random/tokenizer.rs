//! A tokenizer in the form of Qwen2's: the 256 bytes, words merged of them where there are any, and the control tokens.

use serde_json::{Value, json};

/// Qwen2.5's control tokens, in its order.
const CONTROL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];
/// How a text is cut before bytes are merged; Qwen2's pattern.
const PATTERN: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/// Number of tokens; ids are below it.
pub(super) const N_TOKENS: usize = 256 + CONTROL.len();

/// The tokenizer's file. `words` are tokens beyond the 256 bytes, in byte-level characters and in the order of their ids
/// from 256 on; `merges` are the pairs that make them, earlier ones first. The control tokens come behind.
#[must_use]
pub fn json(words: &[String], merges: &[(String, String)]) -> String {
    let bytes = byte_characters().into_iter().map(String::from);
    let vocabulary: serde_json::Map<String, Value> =
        bytes.chain(words.iter().cloned()).enumerate().map(|(id, token)| (token, json!(id))).collect();
    let added: Vec<Value> = CONTROL
        .iter()
        .enumerate()
        .map(|(i, content)| {
            json!({
                "id": vocabulary.len() + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": PATTERN }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
            ],
        },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

/// The visible character that stands for each byte in byte-level vocabularies: printable Latin-1 is itself, and the
/// others take the characters from U+0100 on.
fn byte_characters() -> Vec<char> {
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
                char::from(byte)
            } else {
                next += 1;
                char::from_u32(next - 1).unwrap_or('\u{100}')
            }
        })
        .collect()
}
