//! The shared autoregressive decoder.
