//! What the beginning of a prompt depends on, hashed.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};
use sha2::{Digest, Sha256};

use crate::plan::Unit;

/// A hash of everything up to some position.
pub(crate) type Key = [u8; 32];

/// Whose prompt it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Everybody's: nothing but text of ours.
    Everyone,
    /// One tenant's.
    Tenant(Arc<str>),
}

/// The keys of a prompt's beginnings.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    owner: Owner,
    /// For each unit the positions up to its end and their key.
    ends: Vec<(usize, Key)>,
}

impl Keys {
    /// Those of a prompt of these units, for a model of these weights. Reads every embedding, which for a large image takes
    /// milliseconds.
    ///
    /// # Errors
    /// When embeddings cannot be copied from their device.
    pub(crate) fn new(owner: Owner, weights_sha256: &str, units: &[Unit]) -> Result<Self> {
        let mut hash = Sha256::new();
        // Lengths and marks keep one part from running into the next.
        let name = match &owner {
            Owner::Everyone => None,
            Owner::Tenant(name) => Some(name.as_bytes()),
        };
        hash.update([u8::from(name.is_some())]);
        for field in [name.unwrap_or_default(), weights_sha256.as_bytes()] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        let (mut ends, mut position) = (Vec::with_capacity(units.len()), 0);
        for unit in units {
            add(&mut hash, unit)?;
            position += unit.n_positions();
            ends.push((position, hash.clone().finalize().into()));
        }
        Ok(Self { owner, ends })
    }

    /// Whose prompt it is.
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Beginnings of at most `n_units` units, from the shortest to the longest: their units and their keys.
    pub(super) fn ends(&self, n_units: usize) -> impl DoubleEndedIterator<Item = (usize, Key)> {
        self.ends.iter().take(n_units).enumerate().map(|(i, (_, key))| (i + 1, *key))
    }

    /// The key of the beginning of so many positions, where a unit ends there.
    pub(super) fn at(&self, position: usize) -> Option<Key> {
        let found = self.ends.binary_search_by_key(&position, |(end, _)| *end).ok()?;
        self.ends.get(found).map(|(_, key)| *key)
    }
}

fn add(hash: &mut Sha256, unit: &Unit) -> Result<()> {
    match unit {
        Unit::Id(id) => {
            hash.update(b"i");
            hash.update(id.to_le_bytes());
        }
        Unit::Embeddings(x) => {
            hash.update(b"e");
            for dim in x.dims() {
                hash.update((*dim as u64).to_le_bytes());
            }
            hash.update(x.dtype().as_str());
            hash.update(Sha256::digest(values(x)?));
        }
    }
    Ok(())
}

/// Every value as f32, which holds each value of the shorter formats as it is.
fn values(x: &Tensor) -> Result<Vec<u8>> {
    let x = x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(x.into_iter().flat_map(f32::to_le_bytes).collect())
}
