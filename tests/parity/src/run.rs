//! From a folder to a report: every file in `cases`, each to its family.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use unipic_models::load;
use unipic_nn::Ops;
use unipic_weights::{Layout, OpenOptions};

use crate::case::Case;
use crate::report::{Report, Row};
use crate::subject::Subject;
use crate::{diffusion, edit, generate, llm, mar, preprocess, tokenizer, train, understand, vae};

/// What to run, and on what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder: a checkpoint with `cases` and what they name.
    pub folder: PathBuf,
    /// Which implementation of the operations. Serving's have no gradients: with them, losses run on the training ones.
    pub ops: Ops,
    /// In which form to read the weights; safetensors where there are any, else pickles.
    pub layout: Option<Layout>,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Only cases whose name contains this.
    pub filter: Option<String>,
    /// The program that reads pickles in a process of its own; this one by default.
    pub pickle_reader: Option<PathBuf>,
}

impl Options {
    /// The whole folder with serving operations on the CPU.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            ops: Ops::Inference,
            layout: None,
            device: "cpu".into(),
            filter: None,
            pickle_reader: None,
        }
    }
}

/// Runs every case of a folder.
///
/// # Errors
/// When the model cannot be loaded or there are no cases to run. Whatever is wrong with a case is a failure in the
/// report.
pub fn run(options: &Options) -> Result<Report> {
    let files = case_files(&options.folder, options.filter.as_deref())?;
    let open = OpenOptions { layout: options.layout, pickle_reader: options.pickle_reader.clone() };
    let subject = Subject::load(&options.folder, &open, options.ops, load::device(&options.device)?)?;
    Ok(Report {
        folder: options.folder.display().to_string(),
        layout: match subject.layout {
            Layout::Safetensors => "safetensors".into(),
            Layout::Pickle => "checkpoint".into(),
        },
        ops: match options.ops {
            Ops::Reference => "reference".into(),
            Ops::Training => "training".into(),
            Ops::Inference => "inference".into(),
        },
        device: options.device.clone(),
        weights_sha256: subject.weights_sha256.clone(),
        rows: files.iter().flat_map(|file| check_file(&subject, file)).collect(),
    })
}

/// Everything in `cases` whose name contains the filter, in order of name.
fn case_files(folder: &Path, filter: Option<&str>) -> Result<Vec<PathBuf>> {
    let cases = folder.join("cases");
    let entries = std::fs::read_dir(&cases).with_context(|| format!("cannot list {}", cases.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| file_name(path).contains(filter.unwrap_or_default()));
    files.sort_unstable();
    ensure!(
        !files.is_empty(),
        "{} has no case{}",
        cases.display(),
        filter.map(|f| format!(" like {f}")).unwrap_or_default()
    );
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What a case file is.
enum Kind {
    /// Tensors, checked by a family.
    Tensors(fn(&Subject, &mut Case) -> Result<()>),
    /// The table of texts and ids.
    Tokenizer,
    /// None that is known here.
    Unknown,
}

fn kind(file_name: &str) -> Kind {
    if file_name == "tokenizer.json" {
        return Kind::Tokenizer;
    }
    let Some(name) = file_name.strip_suffix(".safetensors") else { return Kind::Unknown };
    match name {
        "llm" => Kind::Tensors(llm::check),
        "diffusion_schedule" => Kind::Tensors(diffusion::check_schedule),
        "diffusion_head" => Kind::Tensors(diffusion::check_head),
        "train_generate" => Kind::Tensors(train::check_generate),
        "train_edit" => Kind::Tensors(train::check_edit),
        "train_understand" => Kind::Tensors(train::check_understand),
        _ if name.starts_with("diffusion_sample_") => Kind::Tensors(diffusion::check_sample),
        _ if name.starts_with("preprocess_") => Kind::Tensors(preprocess::check),
        _ if name.starts_with("vae_encode_") => Kind::Tensors(vae::check_encode),
        _ if name.starts_with("vae_decode_") => Kind::Tensors(vae::check_decode),
        _ if name.starts_with("mar_") => Kind::Tensors(mar::check),
        _ if name.starts_with("t2i_") => Kind::Tensors(generate::check),
        _ if name.starts_with("edit_") => Kind::Tensors(edit::check),
        _ if name.starts_with("understand_") => Kind::Tensors(understand::check),
        _ => Kind::Unknown,
    }
}

fn check_file(subject: &Subject, path: &Path) -> Vec<Row> {
    let file_name = file_name(path);
    let failed = |error: anyhow::Error| vec![Row::failed(&file_name, "", format!("{error:#}"))];
    match kind(&file_name) {
        Kind::Unknown => vec![Row::failed(&file_name, "", "an unknown case".into())],
        Kind::Tokenizer => tokenizer::check(subject, path).unwrap_or_else(failed),
        Kind::Tensors(check) => match Case::open(path) {
            Err(error) => failed(error),
            Ok(mut case) => {
                // A panic is one case's failure, so that the others are still heard.
                let outcome = catch_unwind(AssertUnwindSafe(|| check(subject, &mut case)));
                case.finish(outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the model panicked"))))
            }
        },
    }
}
