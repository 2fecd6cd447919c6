//! What a model part is built from: tensors by name, and how to hold and run them.

use candle_core::{Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;

use crate::Ops;

/// How the weights of linear layers are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinearFormat {
    /// In the builder's dtype.
    #[default]
    Dense,
    /// Blocks of 32 with one scale each (8.5 bits a weight). Layers narrower than 256 whose input width is no multiple of 32
    /// stay dense.
    Q8_0,
}

/// A place in the tree of checkpoint names, with the choices that hold for everything below it.
#[derive(Clone)]
pub struct Build<'a> {
    /// The tensors, their dtype and device.
    pub tensors: VarBuilder<'a>,
    /// Which operations the built part runs on.
    pub ops: Ops,
    /// How linear layers are held.
    pub linear_format: LinearFormat,
}

impl<'a> Build<'a> {
    /// Dense linear layers on `ops`.
    pub fn new(tensors: VarBuilder<'a>, ops: Ops) -> Self {
        Self { tensors, ops, linear_format: LinearFormat::Dense }
    }

    /// The same with another format for linear layers.
    pub fn with_linear_format(mut self, linear_format: LinearFormat) -> Self {
        self.linear_format = linear_format;
        self
    }

    /// The place one step down, by checkpoint name.
    pub fn pp(&self, name: impl ToString) -> Self {
        Self { tensors: self.tensors.pp(name), ops: self.ops, linear_format: self.linear_format }
    }

    /// The tensor `name` at this place.
    ///
    /// # Errors
    /// When it is missing or its shape is not `shape`.
    pub fn get(&self, shape: impl Into<Shape>, name: &str) -> Result<Tensor> {
        self.tensors.get(shape, name)
    }

    /// The device that tensors are loaded to.
    pub fn device(&self) -> &Device {
        self.tensors.device()
    }
}
