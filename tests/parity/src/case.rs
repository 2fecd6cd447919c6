//! One case file, and the account of its quantities: each is an input that was used or an expectation that was checked,
//! or the case fails. A harness that ignores what it does not know would pass a fixture it never looked at.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;

use crate::bound::{Bound, Measured};
use crate::report::Row;

/// A case with what has been found out about it.
pub struct Case {
    name: String,
    settings: String,
    tensors: HashMap<String, Tensor>,
    seen: BTreeSet<String>,
    rows: Vec<Row>,
}

/// The settings of cases that have none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl Case {
    /// Reads `NAME.safetensors`, whose metadata key `settings` is JSON.
    ///
    /// # Errors
    /// When the file is not such a file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
        let settings = header.metadata().as_ref().and_then(|m| m.get("settings")).context("it has no settings")?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("its name is not text")?;
        Ok(Self {
            name: name.into(),
            settings: settings.clone(),
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?,
            seen: BTreeSet::new(),
            rows: Vec::new(),
        })
    }

    /// Its name: the file's without extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its settings, none of which may be unknown: `T` should deny unknown fields.
    ///
    /// # Errors
    /// When one is missing, unknown or of another type.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.settings).context("its settings are not understood")
    }

    /// Names of its quantities, in order.
    pub fn quantities(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// All tensors, for readers that look for their own; nothing counts as used by this.
    pub fn tensors(&self) -> &HashMap<String, Tensor> {
        &self.tensors
    }

    /// Whether it has this quantity.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A quantity as an input or for a comparison of the caller's own.
    ///
    /// # Errors
    /// When the case does not have it.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let tensor = self.tensors.get(name).with_context(|| format!("it has no quantity {name}"))?;
        self.seen.insert(name.into());
        Ok(tensor.clone())
    }

    /// Rows of ids.
    ///
    /// # Errors
    /// When the case does not have it or it is no matrix of ids.
    pub fn take_ids(&mut self, name: &str) -> Result<Vec<Vec<u32>>> {
        let rows = self.take(name)?.to_dtype(DType::I64)?.to_vec2::<i64>()?;
        let id = |id: i64| u32::try_from(id).with_context(|| format!("{name} has the id {id}"));
        rows.into_iter().map(|row| row.into_iter().map(id).collect()).collect()
    }

    /// Compares ours with the quantity `name`, both in the quantity's own shape.
    ///
    /// # Errors
    /// When the case does not have it, or the number of values differs.
    pub fn check(&mut self, name: &str, ours: &Tensor, bound: Bound) -> Result<()> {
        let expected = self.take(name)?;
        let measured = bound.measure(ours, &expected).with_context(|| format!("quantity {name}"))?;
        self.record(name, expected.dims(), bound, measured);
        Ok(())
    }

    /// The same where ours is packed: rows of all sequences one after the other.
    ///
    /// # Errors
    /// As [`Case::check`].
    pub fn check_packed(&mut self, name: &str, ours: &Tensor, bound: Bound) -> Result<()> {
        let dims = self.tensors.get(name).map(|t| t.dims().to_vec()).unwrap_or_default();
        let fits = dims.iter().product::<usize>() == ours.elem_count();
        ensure!(fits, "quantity {name}: ours has the shape {:?}, not one that packs {dims:?}", ours.dims());
        self.check(name, &ours.reshape(dims)?, bound)
    }

    /// Compares ids with the rows of the quantity `name`.
    ///
    /// # Errors
    /// When the case does not have it.
    pub fn check_ids(&mut self, name: &str, ours: &[Vec<u32>]) -> Result<()> {
        let expected = self.take_ids(name)?;
        self.record_ids(name, ours, &expected);
        Ok(())
    }

    /// Records a comparison of rows of ids that the caller prepared.
    pub fn record_ids(&mut self, name: &str, ours: &[Vec<u32>], expected: &[Vec<u32>]) {
        let shape = [expected.len(), expected.iter().map(Vec::len).max().unwrap_or(0)];
        let measured = match ours.len() == expected.len() {
            true => Bound::measure_ids(&ours.concat(), &expected.concat()),
            false => Measured { max_error: f64::INFINITY, passed: false },
        };
        self.record(name, &shape, Bound::Equal, measured);
    }

    /// Records that there is nothing to compare a quantity with.
    pub fn fail(&mut self, name: &str, why: &str) {
        self.seen.insert(name.into());
        self.rows.push(Row::failed(&self.name, name, why.into()));
    }

    fn record(&mut self, name: &str, shape: &[usize], bound: Bound, measured: Measured) {
        self.rows.push(Row::measured(&self.name, name, shape, bound, measured));
    }

    /// Everything found out. `outcome` is how the check of the case ended; quantities that it never came to are failures,
    /// and after an error they are not reported on top of it.
    pub fn finish(mut self, outcome: Result<()>) -> Vec<Row> {
        match outcome {
            Err(error) => self.rows.push(Row::failed(&self.name, "", format!("{error:#}"))),
            Ok(()) => {
                for name in self.quantities().into_iter().filter(|name| !self.seen.contains(name)) {
                    self.rows.push(Row::failed(&self.name, &name, "a quantity that the model never came to".into()));
                }
                if self.rows.is_empty() {
                    self.rows.push(Row::failed(&self.name, "", "nothing was checked".into()));
                }
            }
        }
        self.rows
    }
}
