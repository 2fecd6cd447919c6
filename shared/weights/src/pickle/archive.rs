//! The archive around a pickle: an uncompressed zip file with `NAME/data.pkl` and one file per storage.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::index::{Located, is_contiguous};
use super::machine::{Machine, Value, View};
use crate::StoredDtype;
use crate::header::printable;

/// Longest pickle accepted, in bytes. The published model's takes 0.2 MB.
const MAX_PICKLE: u64 = 32 << 20;

type Archive = ZipArchive<BufReader<File>>;

/// The dtype of a storage class of torch.
pub(super) fn storage_dtype(class: &str) -> Option<StoredDtype> {
    Some(match class {
        "DoubleStorage" => StoredDtype::F64,
        "FloatStorage" => StoredDtype::F32,
        "HalfStorage" => StoredDtype::F16,
        "BFloat16Storage" => StoredDtype::Bf16,
        "LongStorage" => StoredDtype::I64,
        "IntStorage" => StoredDtype::I32,
        "ShortStorage" => StoredDtype::I16,
        "CharStorage" => StoredDtype::I8,
        "ByteStorage" => StoredDtype::U8,
        "BoolStorage" => StoredDtype::Bool,
        _ => return None,
    })
}

/// The tensors of the file at `path`: those of the saved dictionary, or of the one under `key` in it.
pub(super) fn read(path: &Path, key: Option<&str>) -> Result<Vec<Located>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| {
        format!("not the zip file that torch.save writes since version 1.6 ({e}); load and save it again with torch")
    })?;
    let prefix = prefix(&archive)?;
    check_byte_order(&mut archive, &prefix)?;
    let pickle = small_file(&mut archive, &format!("{prefix}data.pkl"), MAX_PICKLE)?;
    let (machine, value) = Machine::run(&pickle).map_err(|why| format!("the pickle was refused: {why}"))?;
    let views = state_dict(&machine, value, key)?;
    check_storages(&mut archive, &format!("{prefix}data/"))?;
    let mut names = std::collections::HashSet::new();
    let mut located = Vec::with_capacity(views.len());
    for (name, view) in views {
        if !names.insert(name) {
            return Err(format!("tensor `{}` occurs twice", printable(name)));
        }
        let tensor = locate(&mut archive, &prefix, &machine, name, view);
        located.push(tensor.map_err(|why| format!("tensor `{}`: {why}", printable(name)))?);
    }
    Ok(located)
}

/// The folder in the archive that has the pickle, with its slash.
fn prefix(archive: &Archive) -> Result<String, String> {
    let mut found = archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix("data.pkl")?.to_owned()));
    match (found.next(), found.next()) {
        (Some(prefix), None) => Ok(prefix),
        (None, _) => Err("the archive has no data.pkl".into()),
        (Some(_), Some(_)) => Err("the archive has more than one data.pkl".into()),
    }
}

/// Storages must have places of their own, or the same bytes would be several tensors' values.
fn check_storages(archive: &mut Archive, folder: &str) -> Result<(), String> {
    let mut spans = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(|e| e.to_string())?;
        if file.name().is_ok_and(|name| name.starts_with(folder)) {
            let start = file.data_start().ok_or("a storage has no place in the file")?;
            spans.push((start, start.checked_add(file.size()).ok_or("a storage reaches out of the file")?));
        }
    }
    spans.sort_unstable();
    let apart = spans.is_sorted_by(|(_, end), (start, _)| end <= start);
    if apart { Ok(()) } else { Err("its storages overlap".into()) }
}

fn check_byte_order(archive: &mut Archive, prefix: &str) -> Result<(), String> {
    let name = format!("{prefix}byteorder");
    if archive.index_for_name(&name).is_none() || small_file(archive, &name, 16)? == b"little" {
        Ok(())
    } else {
        Err("its values are not little-endian".into())
    }
}

fn small_file(archive: &mut Archive, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let file = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    if file.compression() != CompressionMethod::Stored || file.encrypted() {
        return Err(format!("{name} is compressed or encrypted"));
    }
    if file.size() > limit {
        return Err(format!("{name} has {} bytes", file.size()));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    Ok(bytes)
}

/// Names and tensors of the state dict. Anything in it that is no tensor is an error: skipping it would hide that the
/// file is not what it is taken for.
fn state_dict<'a, 'm>(
    machine: &'m Machine<'a>,
    value: Value,
    key: Option<&str>,
) -> Result<Vec<(&'a str, &'m View)>, String> {
    let entries = |value: Value| match value {
        Value::Dict(index) => Ok(machine.dict(index)),
        _ => Err("it holds no dictionary of tensors".to_owned()),
    };
    let name = |value: &Value| match value {
        Value::Text(from, to) => Some(machine.text(*from..*to)),
        _ => None,
    };
    let mut dict = entries(value)?;
    if let Some(key) = key {
        let found = dict.iter().find(|(k, _)| name(k) == Some(key));
        dict = entries(found.ok_or_else(|| format!("it has no key `{key}`"))?.1)?;
    }
    let mut views = Vec::with_capacity(dict.len());
    let mut others = Vec::new();
    for (key, value) in dict {
        match (name(key), value) {
            (Some(key), Value::Tensor(index)) => views.push((key, &machine.tensors[*index])),
            (key, _) => others.push(printable(key.unwrap_or("(a key that is no text)"))),
        }
    }
    if others.is_empty() { Ok(views) } else { Err(format!("these entries are no tensors: {}", others.join(", "))) }
}

fn locate(archive: &mut Archive, prefix: &str, machine: &Machine, name: &str, view: &View) -> Result<Located, String> {
    let storage = &machine.storages[view.storage];
    let file_name = format!("{prefix}data/{}", machine.text(storage.key.clone()));
    let index =
        archive.index_for_name(&file_name).ok_or_else(|| format!("the archive has no {}", printable(&file_name)))?;
    let file = archive.by_index_raw(index).map_err(|e| e.to_string())?;
    if file.compression() != CompressionMethod::Stored || file.encrypted() {
        return Err("its storage is compressed or encrypted".into());
    }
    let size = storage.dtype.n_bytes() as u64;
    let start = file.data_start().ok_or("its storage has no place in the file")?;
    let skipped =
        (view.offset as u64).checked_mul(size).filter(|n| *n <= file.size()).ok_or("it is out of its storage")?;
    let n_values = view.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
    let whole = skipped == 0 && n_values.and_then(|n| n.checked_mul(size)) == Some(file.size());
    Ok(Located {
        name: name.to_owned(),
        dtype: storage.dtype.name().to_owned(),
        shape: view.shape.clone(),
        strides: view.strides.clone(),
        offset: start.checked_add(skipped).ok_or("it is out of the file")?,
        available: (file.size() - skipped) / size,
        crc32: (whole && view.shape.len() == view.strides.len() && is_contiguous(&view.shape, &view.strides))
            .then(|| file.crc32()),
    })
}
