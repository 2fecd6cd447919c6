//! Where a result that leaves a service is handed over.

use candle_core::{DType, Device, Result, Tensor};

/// Where results that leave a service are handed over. Chosen by who takes them, done by the device's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// Where they were computed, in the model's dtype: for a taker on the same device.
    Device,
    /// On the host in f32: for the wire.
    Host,
}

impl Handover {
    /// The tensor as it is handed over; nothing is copied where it already is what is wanted.
    ///
    /// # Errors
    /// When the device fails.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Device => Ok(x.clone()),
            Self::Host => x.to_dtype(DType::F32)?.to_device(&Device::Cpu),
        }
    }
}
