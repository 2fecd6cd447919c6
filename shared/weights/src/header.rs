//! Headers of safetensors files, read as hostile input.
//!
//! A file is eight bytes of header length, a JSON header, then the tensors' bytes. Everything that the header says is
//! checked against the file's true length before anything is allocated or read by it. The `safetensors` crate's own
//! reader wants the whole file in memory or mapped, and keeps the last of two entries of one name; this one reads the
//! header alone and refuses duplicates.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::StoredDtype;
use crate::error::WeightsError;
use crate::source::{Bytes, Entry};

/// Longest header accepted, in bytes. The published model's takes 0.2 MB.
const MAX_HEADER: u64 = 16 << 20;
/// Most axes of a tensor.
pub(crate) const MAX_RANK: usize = 8;

/// The tensors of the safetensors file `file`, which is number `index` of its checkpoint.
///
/// # Errors
/// When the header is not valid, or does not fit the file exactly.
pub(crate) fn read(path: &Path, file: &Bytes, index: usize) -> Result<Vec<(String, Entry)>, WeightsError> {
    let length = file.len().map_err(|e| WeightsError::io(path, e))?;
    let mut size = [0u8; 8];
    if length < 8 {
        return Err(WeightsError::malformed(path, "shorter than its header length"));
    }
    file.read_exact_at(&mut size, 0).map_err(|e| WeightsError::io(path, e))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEADER || size > length - 8 {
        return Err(WeightsError::malformed(path, format!("header of {size} bytes in a file of {length}")));
    }
    let mut header = vec![0u8; size as usize];
    file.read_exact_at(&mut header, 8).map_err(|e| WeightsError::io(path, e))?;
    let Header(raw) =
        serde_json::from_slice(&header).map_err(|e| WeightsError::malformed(path, format!("header: {e}")))?;
    let mut entries = Vec::with_capacity(raw.len());
    for (name, info) in raw {
        let entry = entry(&info, index, 8 + size, length)
            .map_err(|why| WeightsError::malformed(path, format!("tensor `{}`: {why}", printable(&name))))?;
        entries.push((name, entry));
    }
    check_cover(&entries, 8 + size, length).map_err(|why| WeightsError::malformed(path, why))?;
    Ok(entries)
}

/// A name from a file, shortened and escaped, fit for a message.
pub(crate) fn printable(name: &str) -> String {
    name.chars().take(120).flat_map(char::escape_default).collect()
}

fn entry(info: &RawInfo, file: usize, start: u64, length: u64) -> Result<Entry, String> {
    let dtype =
        StoredDtype::from_name(&info.dtype).ok_or_else(|| format!("dtype {} is unknown", printable(&info.dtype)))?;
    if info.shape.len() > MAX_RANK {
        return Err(format!("{} axes", info.shape.len()));
    }
    let n_bytes = info
        .shape
        .iter()
        .try_fold(dtype.n_bytes(), |n, d| n.checked_mul(*d))
        .ok_or_else(|| format!("shape {:?} overflows", info.shape))?;
    let [from, to] = info.data_offsets;
    let span = to.checked_sub(from).ok_or("offsets run backwards")?;
    if to > length - start {
        return Err(format!("ends at byte {to} of {}", length - start));
    }
    if span != n_bytes as u64 {
        return Err(format!("{span} bytes for shape {:?} of {}", info.shape, dtype.name()));
    }
    Ok(Entry { file, offset: start + from, dtype, shape: info.shape.clone(), strides: None, crc32: None })
}

/// Tensors must follow each other without gap or overlap, from the header's end to the file's.
fn check_cover(entries: &[(String, Entry)], start: u64, length: u64) -> Result<(), String> {
    let mut spans: Vec<(u64, u64, &str)> =
        entries.iter().map(|(name, e)| (e.offset, e.offset + e.n_bytes() as u64, name.as_str())).collect();
    spans.sort_unstable();
    let mut at = start;
    for (from, to, name) in spans {
        if from != at {
            return Err(format!("tensor `{}` overlaps another, or leaves a gap", printable(name)));
        }
        at = to;
    }
    if at == length { Ok(()) } else { Err(format!("{} bytes behind the last tensor", length - at)) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInfo {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

struct Header(Vec<(String, RawInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut names = std::collections::HashSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        let name = printable(&name);
                        return Err(serde::de::Error::custom(format!("`{name}` occurs twice")));
                    }
                    if name == "__metadata__" {
                        map.next_value::<std::collections::HashMap<String, String>>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
