//! Masked autoregressive encoder and decoder.
