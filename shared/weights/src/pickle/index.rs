//! What the child tells its parent about a pickle: one JSON document on standard output.

use serde::{Deserialize, Serialize};

use crate::StoredDtype;
use crate::header::MAX_RANK;
use crate::source::Entry;

/// The child's whole answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Tensors(Vec<Located>),
    Refused(String),
}

/// A tensor and where its values are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Located {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    /// In values per axis.
    pub(super) strides: Vec<usize>,
    /// First byte in the file.
    pub(super) offset: u64,
    /// Values in the storage from there on.
    pub(super) available: u64,
    /// The archive's checksum, where it is of exactly this tensor's bytes.
    pub(super) crc32: Option<u32>,
}

impl Located {
    /// The same as an entry of file number `file`, `length` bytes long. The child is believed in nothing that could
    /// make this process read or allocate beyond the file.
    pub(super) fn entry(&self, file: usize, length: u64) -> Result<Entry, String> {
        let dtype = StoredDtype::from_name(&self.dtype).ok_or("unknown dtype")?;
        if self.shape.len() != self.strides.len() || self.shape.len() > MAX_RANK {
            return Err(format!("shape {:?} with strides {:?}", self.shape, self.strides));
        }
        let overflow = || format!("shape {:?} with strides {:?} overflows", self.shape, self.strides);
        let n_values = product(&self.shape).ok_or_else(overflow)? as u64;
        let span = span(&self.shape, &self.strides).ok_or_else(overflow)?;
        let bytes = |n: u64| n.checked_mul(dtype.n_bytes() as u64).ok_or_else(overflow);
        let end = self.offset.checked_add(bytes(span.max(n_values))?).ok_or_else(overflow)?;
        // More values than the storage has would be one value under several indices: never so in saved weights, and
        // without limit on what it takes in memory.
        if span.max(n_values) > self.available || end > length {
            return Err(format!("shape {:?} with strides {:?} exceeds its storage", self.shape, self.strides));
        }
        let contiguous = is_contiguous(&self.shape, &self.strides);
        Ok(Entry {
            file,
            offset: self.offset,
            dtype,
            shape: self.shape.clone(),
            strides: (!contiguous).then(|| self.strides.clone()),
            crc32: self.crc32.filter(|_| contiguous),
        })
    }
}

fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

/// Values from the first to the last one that the tensor touches, inclusive.
fn span(shape: &[usize], strides: &[usize]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let last = shape.iter().zip(strides).try_fold(0usize, |n, (d, s)| n.checked_add((d - 1).checked_mul(*s)?))?;
    Some(last.checked_add(1)? as u64)
}

/// Whether the values lie in order; the stride of an axis of length 1 does not matter.
pub(super) fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1;
    for (n, stride) in shape.iter().zip(strides).rev() {
        if *n > 1 && *stride != step {
            return false;
        }
        step *= (*n).max(1);
    }
    true
}
