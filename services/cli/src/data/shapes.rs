//! `data shapes`: a dataset of the shapes world in files, for those who want to look at it or train something else on it.
//!
//! Our own trainer draws its samples as it needs them. A dataset is made in a hidden folder beside its place and moved there
//! when it is whole. After an interruption the hidden folder is gone on with: images that are whole are kept, and everything
//! else follows from the parameters, which are written down first and must be the same.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use unipic_imaging::{Format, encode};
use unipic_world::{Claim, Sampler, Scene};

use crate::args::{Kind, Shapes, Split};
use crate::progress::Progress;

/// The rows, in the dataset's folder.
const ROWS: &str = "rows.jsonl";
/// What the dataset was made by.
const PARAMETERS: &str = "parameters.json";
/// The folder of the images.
const IMAGES: &str = "images";
/// How a PNG ends; one that does not was cut off.
const PNG_END: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// Draws the dataset.
///
/// # Errors
/// When the place is taken by something else, the disk does not take it, or a parameter makes no sense.
pub(crate) fn shapes(args: &Shapes, progress: &Progress) -> anyhow::Result<()> {
    ensure!((0.0..=1.0).contains(&args.wrong_share), "--wrong-share {} is no share from 0 to 1", args.wrong_share);
    ensure!(
        args.wrong_share == 0.0 || args.kind == Kind::Generation,
        "--wrong-share goes with --kind generation: only prompts are made not to fit"
    );
    let parameters = parameters(args);
    if is_there(&args.out, &parameters)? {
        progress.line(&format!("{} is there already, made by the same parameters", args.out.display()));
    } else {
        let partial = claim(&args.out, &parameters)?;
        draw_images(args, &partial, progress)?;
        write_rows(args, &partial)?;
        fs::rename(&partial, &args.out).with_context(|| format!("move the dataset to {}", args.out.display()))?;
        progress.line(&format!("{}: {} rows", args.out.display(), args.n));
    }
    progress.event("done", json!({ "rows": args.n, "path": args.out.join(ROWS) }));
    Ok(())
}

/// Everything that decides what is drawn, as JSON.
fn parameters(args: &Shapes) -> String {
    let parameters = json!({
        "n": args.n,
        "seed": args.seed,
        "kind": format!("{:?}", args.kind).to_lowercase(),
        "split": match args.split { Split::Train => "train", Split::HeldOut => "held-out" },
        "difficulty": args.difficulty,
        "size": args.size,
        "wrong_share": args.wrong_share,
    });
    parameters.to_string()
}

/// Whether the finished dataset stands at its place.
fn is_there(out: &Path, parameters: &str) -> anyhow::Result<bool> {
    let is_empty = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !out.exists(),
    };
    if is_empty {
        return Ok(false);
    }
    let same = fs::read_to_string(out.join(PARAMETERS)).is_ok_and(|text| text == parameters);
    ensure!(same, "{} exists already and is not this dataset; name another folder", out.display());
    Ok(true)
}

/// The hidden folder in which the dataset is made, new or from an interrupted run by the same parameters.
fn claim(out: &Path, parameters: &str) -> anyhow::Result<PathBuf> {
    let name = out.file_name().with_context(|| format!("{} names no folder", out.display()))?.to_string_lossy();
    let partial = out.with_file_name(format!(".{name}.partial"));
    fs::create_dir_all(partial.join(IMAGES)).with_context(|| format!("make {}", partial.display()))?;
    let file = partial.join(PARAMETERS);
    match fs::read_to_string(&file) {
        Ok(text) => ensure!(
            text == parameters,
            "{} was begun with other parameters; give the same ones to go on, or remove it",
            partial.display()
        ),
        Err(_) => put(&file, parameters.as_bytes())?,
    }
    Ok(partial)
}

/// A row, and the scenes of its images with their paths in the dataset's folder.
struct Sample {
    row: Value,
    images: Vec<(String, Scene)>,
}

/// Row number `index`, a function of the parameters alone.
fn sample(args: &Shapes, sampler: &Sampler, index: u64) -> Sample {
    let path = |what: &str| format!("{IMAGES}/{index:07}{what}.png");
    let with_claim = |scene: Scene, caption: String, claim: Claim| {
        let image = path("");
        Sample { row: json!({ "image": image, "caption": caption, "claim": claim }), images: vec![(image, scene)] }
    };
    match args.kind {
        Kind::Generation if args.wrong_share > 0.0 => {
            let made = sampler.corrupted(index, args.wrong_share);
            let mut sample = with_claim(made.sample.scene, made.sample.prompt, made.sample.claim);
            sample.row["corrupted"] = made.corrupted.into();
            sample
        }
        Kind::Generation => {
            let made = sampler.generation(index);
            with_claim(made.scene, made.prompt, made.claim)
        }
        Kind::Caption => {
            let made = sampler.caption(index);
            let claim = made.scene.claim();
            with_claim(made.scene, made.caption, claim)
        }
        Kind::Question => {
            let (made, image) = (sampler.question(index), path(""));
            let turn = |role: &str, text: String| json!({ "role": role, "text": text });
            let conversation = [turn("user", made.question), turn("assistant", made.answer)];
            Sample { row: json!({ "image": image, "conversation": conversation }), images: vec![(image, made.scene)] }
        }
        Kind::Edit => {
            let (made, source, target) = (sampler.edit(index), path("-source"), path("-target"));
            let (instruction, claim) = (made.instruction, made.claim_after);
            Sample {
                row: json!({ "source": source, "instruction": instruction, "target": target, "claim": claim }),
                images: vec![(source, made.before), (target, made.after)],
            }
        }
    }
}

fn sampler(args: &Shapes) -> Sampler {
    let split = match args.split {
        Split::Train => unipic_world::Split::Train,
        Split::HeldOut => unipic_world::Split::HeldOut,
    };
    Sampler::new(args.seed, args.difficulty.clone(), split)
}

/// Draws all images that are not there, on all processors.
fn draw_images(args: &Shapes, folder: &Path, progress: &Progress) -> anyhow::Result<()> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let total = args.n.get();
    progress.stage("drawing");
    let work = || -> anyhow::Result<()> {
        let sampler = sampler(args);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= total {
                return Ok(());
            }
            for (path, scene) in sample(args, &sampler, index as u64).images {
                let path = folder.join(path);
                if !is_whole(&path) {
                    put(&path, &encode(&scene.draw(args.size as usize), Format::Png, &[])?)?;
                }
            }
            let done = 1 + done.fetch_add(1, Ordering::Relaxed);
            progress.position(done as u64, total as u64, "drawing");
        }
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
    })
}

/// Whether an image file is there and was not cut off.
fn is_whole(path: &Path) -> bool {
    let end = || -> std::io::Result<[u8; PNG_END.len()]> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-(PNG_END.len() as i64)))?;
        let mut end = [0; PNG_END.len()];
        file.read_exact(&mut end)?;
        Ok(end)
    };
    end().is_ok_and(|end| end == PNG_END)
}

/// Writes all rows.
fn write_rows(args: &Shapes, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(ROWS);
    let fail = || format!("write {}", path.display());
    let mut file = BufWriter::new(File::create(&path).with_context(fail)?);
    let sampler = sampler(args);
    for index in 0..args.n.get() {
        writeln!(file, "{}", sample(args, &sampler, index as u64).row).with_context(fail)?;
    }
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(fail)?;
    file.sync_all().with_context(fail)
}

/// Writes a file under another name and moves it to its own.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.with_context(|| format!("write {}", path.display()))
}
