//! YAML files as JSON values, which are easier to walk.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

/// Every document of a file. A key that stands twice in one mapping is an error; `<<` is merged.
///
/// # Errors
/// When it cannot be read or is no YAML.
pub(crate) fn documents(file: &Path) -> anyhow::Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    parse(&text).with_context(|| file.display().to_string())
}

/// As [`documents`], for a text.
///
/// # Errors
/// When it is no YAML.
pub(crate) fn parse(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let mut value = serde_yaml_ng::Value::deserialize(document)?;
        value.apply_merge()?;
        documents.push(serde_json::to_value(value)?);
    }
    Ok(documents)
}

/// What lies at a path such as `/spec/ports`, or an empty list.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text at a path, or the empty one.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
