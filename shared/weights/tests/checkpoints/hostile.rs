//! Bad checkpoints: every one is refused with an error, none ends this process, none loads.

use std::path::Path;

use candle_core::{DType, Device};
use unipic_measures::measured;
use unipic_weights::{Checkpoint, Part, WeightsError};

use crate::forge::{self, Case, Files};
use crate::open;

/// The least number of files that the table has to have.
const N_CASES: usize = 200;

fn attempt(path: &Path) -> Result<(), WeightsError> {
    open(path)?.load(&Part::ALL, DType::F32, &Device::Cpu).map(|_| ())
}

#[test]
fn no_bad_checkpoint_loads() {
    let folder = tempfile::tempdir().unwrap();
    let sound = forge::Sound::new(folder.path());
    attempt(&sound.safetensors).expect("the unspoilt safetensors checkpoint loads");
    attempt(&sound.pickles).expect("the unspoilt pickle checkpoint loads");
    let cases: Vec<Case> = forge::cases(&sound);
    assert!(cases.len() >= N_CASES, "{} cases", cases.len());
    let (mut failures, mut n_loaded) = (Vec::new(), 0);
    for case in &cases {
        let path = folder.path().join("case");
        case.write(&sound, &path);
        match attempt(&path) {
            Ok(()) => {
                n_loaded += 1;
                failures.push(format!("{} loaded", case.name));
            }
            Err(error) if !error.to_string().contains(&case.expected) => {
                failures.push(format!("{}: expected `{}` in: {error}", case.name, case.expected));
            }
            Err(_) => {}
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
    let of_kind = |is_it: fn(&Files) -> bool| cases.iter().filter(|case| is_it(&case.files)).count();
    measured!("files", cases.len());
    measured!("of them pickles", of_kind(|files| matches!(files, Files::Main(_) | Files::Vae(_))));
    measured!("of them configurations", of_kind(|files| matches!(files, Files::Config(_))));
    measured!("loaded", n_loaded);
    measured!("refused for another reason", failures.len() - n_loaded);
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn one_error_names_every_tensor_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let sound = forge::Sound::new(folder.path());
    let mut tensors = sound.tensors.clone();
    tensors.remove("mar.mask_token");
    tensors.remove("proj_in.0.bias");
    tensors.get_mut("llm.model.norm.weight").unwrap().shape = vec![8, 8];
    tensors.get_mut("vae.quant_conv.bias").unwrap().bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    tensors.get_mut("proj_out.2.bias").unwrap().bytes[4..8].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let path = folder.path().join("case");
    forge::write_safetensors(&sound, &path, &forge::safetensors(&tensors));
    let WeightsError::Tensors { faults, .. } = attempt(&path).unwrap_err() else { panic!("another error") };
    assert_eq!(faults.missing, ["mar.mask_token", "proj_in.0.bias"]);
    assert_eq!(faults.misshapen.len(), 1);
    assert_eq!((&faults.misshapen[0].expected, &faults.misshapen[0].found), (&vec![64], &vec![8, 8]));
    assert_eq!(faults.non_finite, ["proj_out.2.bias", "vae.quant_conv.bias"]);
    let n_named = faults.missing.len() + faults.misshapen.len() + faults.non_finite.len();
    measured!("tensors at fault, named in one error", n_named);
}

/// Mapped, the second half of this test would be the end of the process.
#[test]
fn a_file_truncated_after_opening_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sound = forge::Sound::new(folder.path());
    let path = folder.path().join("case");
    forge::write_safetensors(&sound, &path, &forge::safetensors(&sound.tensors));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let loaded = checkpoint.load(&Part::ALL, DType::F32, &Device::Cpu).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path.join("model.safetensors")).unwrap();
    file.set_len(100_000).unwrap();
    let error = loaded.var_builder().get(64, "vae.encoder.norm_out.weight").unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(checkpoint.load(&[Part::Vae], DType::F32, &Device::Cpu).is_err());
}

#[test]
fn surplus_tensors_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let sound = forge::Sound::new(folder.path());
    let mut tensors = sound.tensors.clone();
    let twin = tensors["mar.mask_token"].clone();
    tensors.insert("mar.class_emb.weight".into(), twin);
    let path = folder.path().join("case");
    forge::write_safetensors(&sound, &path, &forge::safetensors(&tensors));
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.surplus(), ["mar.class_emb.weight"]);
    assert!(checkpoint.notices().iter().any(|notice| notice.contains("mar.class_emb.weight")));
    measured!("surplus tensors reported", checkpoint.surplus().len());
}
