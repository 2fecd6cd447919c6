//! `run.json`: what a folder's images were made with, so that they are repeatable and never mixed with others.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use unipic_api::pb;

use crate::EvalError;
use crate::files::{self, Folder};

/// The name of the file.
pub(crate) const NAME: &str = "run.json";

/// A run's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// What was run, such as "geneval".
    pub(crate) benchmark: String,
    /// Everything that changes an image.
    pub(crate) parameters: Map<String, Value>,
    /// SHA-256 over the contents of the prompt files, in hex.
    pub(crate) input_sha256: String,
    /// What drew.
    pub(crate) model: Model,
    /// Which version of this crate wrote it.
    pub(crate) eval_version: String,
}

/// What drew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Name of the model.
    pub name: String,
    /// SHA-256 of the weights, in hex.
    pub weights_sha256: String,
    /// Version of the server.
    pub server_version: String,
}

impl From<&pb::GetModelResponse> for Model {
    fn from(model: &pb::GetModelResponse) -> Self {
        Self {
            name: model.name.clone(),
            weights_sha256: model.weights_sha256.clone(),
            server_version: model.server_version.clone(),
        }
    }
}

impl Manifest {
    /// A record with `parameters`, which must serialize as an object.
    ///
    /// # Errors
    /// [`EvalError::Defect`] when they do not.
    pub(crate) fn new(
        benchmark: &str,
        parameters: &impl Serialize,
        input_sha256: String,
        model: &pb::GetModelResponse,
    ) -> Result<Self, EvalError> {
        let Ok(Value::Object(parameters)) = serde_json::to_value(parameters) else {
            return Err(EvalError::Defect(format!("the parameters of {benchmark} are no JSON object")));
        };
        let eval_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { benchmark: benchmark.to_owned(), parameters, input_sha256, model: model.into(), eval_version })
    }

    /// Claims a folder for this run: writes the record into a fresh one, and holds it against an earlier one's.
    ///
    /// # Errors
    /// [`EvalError::OtherRun`] when the folder holds something else, [`EvalError::Input`] when its record cannot be read.
    pub(crate) fn claim(&self, folder: &Folder) -> Result<(), EvalError> {
        let path = folder.path(NAME);
        if !path.exists() {
            return folder.write(NAME, &to_json(self)?);
        }
        let earlier: Self = serde_json::from_str(&files::read_text(&path)?).map_err(|error| EvalError::Input {
            path: path.clone(),
            place: format!("line {}", error.line()),
            problem: format!("not the record of a run: {error}"),
        })?;
        let differences = self.differences(&earlier);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(EvalError::OtherRun { path: folder.path(""), differences }),
        }
    }

    /// What would make other images than `earlier`; versions of programs are not held against anyone.
    fn differences(&self, earlier: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |name: &str, then: &Value, now: &Value| {
            if then != now {
                found.push(format!("{name}: {then} there, {now} now"));
            }
        };
        let text = |text: &str| Value::from(text);
        compare("benchmark", &text(&earlier.benchmark), &text(&self.benchmark));
        compare("model", &text(&earlier.model.name), &text(&self.model.name));
        compare("weights_sha256", &text(&earlier.model.weights_sha256), &text(&self.model.weights_sha256));
        compare("prompts' sha256", &text(&earlier.input_sha256), &text(&self.input_sha256));
        let mut names: Vec<&String> = earlier.parameters.keys().chain(self.parameters.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let value = |manifest: &Self| manifest.parameters.get(name).cloned().unwrap_or_default();
            compare(name, &value(earlier), &value(self));
        }
        found
    }
}

/// A value as indented JSON with a line break at its end.
///
/// # Errors
/// [`EvalError::Defect`] when it cannot be JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, EvalError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| EvalError::Defect(format!("no JSON: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

/// SHA-256 over texts, each with its length, in hex.
pub(crate) fn sha256<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(parameters: Value, weights: &str) -> Manifest {
        let model = pb::GetModelResponse { weights_sha256: weights.into(), ..pb::GetModelResponse::default() };
        Manifest::new("geneval", &parameters, sha256([b"a".as_slice()]), &model).unwrap()
    }

    #[test]
    fn a_folder_is_gone_on_with_only_by_the_same_run() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let first = manifest(json!({ "seed": 1, "guidance": 3.1_f32 }), "aa");
        first.claim(&folder).unwrap();
        first.claim(&folder).unwrap();
        let other = manifest(json!({ "seed": 2, "n": 4, "guidance": 3.1_f32 }), "bb");
        let said = other.claim(&folder).unwrap_err().to_string();
        for part in ["seed: 1 there, 2 now", "n: null there, 4 now", "weights_sha256: \"aa\" there"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("guidance"), "{said}");
    }

    #[test]
    fn a_damaged_record_is_an_error_not_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        folder.write(NAME, b"{\n").unwrap();
        let said = manifest(json!({}), "").claim(&folder).unwrap_err().to_string();
        assert!(said.contains("run.json") && said.contains("not the record"), "{said}");
    }
}
