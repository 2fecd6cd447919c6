//! Tensors in files: where each one is, and reading it in pieces.
//!
//! A file lies on the disk or is part of the program; everything else here is the same for both, so an embedded checkpoint
//! goes through every check that one from the disk goes through, and needs no place to be unpacked to.
//!
//! Files are never mapped. A mapped file that another process truncates kills this one with SIGBUS; a positioned read
//! of it is an error. Reads are in pieces of 4 MiB, so that turning a bf16 file into f32 tensors needs the tensors and
//! 4 MiB.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::StoredDtype;
use crate::dtype::Collected;
use crate::error::WeightsError;
use crate::header::{self, printable};

/// Bytes per read; a multiple of every dtype's size.
pub(crate) const PIECE: usize = 4 << 20;

/// Where a tensor is and what it is. Holds no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which file of the source.
    pub(crate) file: usize,
    /// First byte in that file.
    pub(crate) offset: u64,
    pub(crate) dtype: StoredDtype,
    pub(crate) shape: Vec<usize>,
    /// In values per axis, where they are not those of a contiguous tensor.
    pub(crate) strides: Option<Vec<usize>>,
    /// Checksum of the tensor's bytes, where the file has one for exactly those.
    pub(crate) crc32: Option<u32>,
}

impl Entry {
    /// Number of values.
    pub(crate) fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of its values, laid out contiguously.
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_values() * self.dtype.n_bytes()
    }
}

/// A tensor file's bytes, read by position.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// An open file.
    File(File),
    /// A file that is part of the program.
    Embedded(&'static [u8]),
}

impl Bytes {
    /// How many there are.
    pub(crate) fn len(&self) -> std::io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Embedded(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, offset),
            Self::Embedded(bytes) => {
                let from = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)?.get(..buffer.len()));
                buffer.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// Open tensor files and the tensors in them by canonical name.
#[derive(Debug, Default)]
pub(crate) struct Source {
    files: Vec<(PathBuf, Bytes)>,
    entries: BTreeMap<String, Entry>,
}

impl Source {
    /// Adds the tensors of a safetensors file under the names that `rename` gives them; `None` leaves one out.
    pub(crate) fn add_safetensors(
        &mut self,
        path: &Path,
        rename: impl Fn(String) -> Option<String>,
    ) -> Result<(), WeightsError> {
        let file = Bytes::File(File::open(path).map_err(|e| WeightsError::io(path, e))?);
        let entries = header::read(path, &file, self.files.len())?;
        self.add(path, file, entries, rename)
    }

    /// Adds the tensors of a safetensors file that is part of the program; `name` stands for its path in messages.
    pub(crate) fn add_embedded(&mut self, name: &Path, bytes: &'static [u8]) -> Result<(), WeightsError> {
        let bytes = Bytes::Embedded(bytes);
        let entries = header::read(name, &bytes, self.files.len())?;
        self.add(name, bytes, entries, Some)
    }

    /// Adds a file's tensors. A name that is there already is an error: one of the two would be silently ignored.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        file: Bytes,
        entries: Vec<(String, Entry)>,
        rename: impl Fn(String) -> Option<String>,
    ) -> Result<(), WeightsError> {
        self.files.push((path.to_owned(), file));
        for (name, entry) in entries {
            let Some(name) = rename(name) else { continue };
            if self.entries.contains_key(&name) {
                return Err(WeightsError::malformed(path, format!("`{}` is in another file too", printable(&name))));
            }
            self.entries.insert(name, entry);
        }
        Ok(())
    }

    /// Number of files so far, which is the index of the next.
    pub(crate) fn n_files(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Calls `each` with the tensor's bytes, contiguous, in pieces of whole values.
    ///
    /// # Errors
    /// When the file cannot be read there, as where it was truncated after opening.
    pub(crate) fn pieces(&self, entry: &Entry, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
        let (_, file) = self.files.get(entry.file).ok_or_else(|| std::io::Error::other("no such file"))?;
        if let Some(strides) = &entry.strides {
            gather(file, entry, strides)?.chunks(PIECE).for_each(each);
            return Ok(());
        }
        let mut left = entry.n_bytes();
        let mut offset = entry.offset;
        let mut buffer = vec![0u8; left.min(PIECE)];
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE)];
            file.read_exact_at(piece, offset)?;
            each(piece);
            offset += piece.len() as u64;
            left -= piece.len();
        }
        Ok(())
    }

    /// The tensor `name` in another dtype and on a device.
    ///
    /// # Errors
    /// When there is no such tensor, it cannot be read, or it is not finite in that dtype.
    pub(crate) fn tensor(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let Some(entry) = self.entries.get(name) else {
            candle_core::bail!("there is no tensor `{name}`");
        };
        let mut values = Collected::with_capacity(dtype, entry.n_values())?;
        self.pieces(entry, |bytes| values.push(entry.dtype, bytes))
            .map_err(|e| candle_core::Error::msg(format!("tensor `{name}` cannot be read: {e}")))?;
        if !values.is_finite() {
            candle_core::bail!("tensor `{name}` has values that are not finite in {dtype:?}");
        }
        values.into_tensor(entry.shape.as_slice(), device)
    }
}

/// Reads a strided tensor as a contiguous one.
fn gather(file: &Bytes, entry: &Entry, strides: &[usize]) -> std::io::Result<Vec<u8>> {
    let n_values = entry.n_values();
    if n_values == 0 {
        return Ok(Vec::new());
    }
    let size = entry.dtype.n_bytes();
    let last: usize = entry.shape.iter().zip(strides).map(|(n, stride)| (n - 1) * stride).sum();
    let mut bytes = vec![0u8; (last + 1) * size];
    file.read_exact_at(&mut bytes, entry.offset)?;
    let mut out = Vec::with_capacity(n_values * size);
    let mut place = vec![0usize; strides.len()];
    for _ in 0..n_values {
        let at = size * place.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
        out.extend_from_slice(&bytes[at..at + size]);
        for axis in (0..place.len()).rev() {
            place[axis] += 1;
            if place[axis] < entry.shape[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    Ok(out)
}
