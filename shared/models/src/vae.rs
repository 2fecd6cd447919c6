//! KL autoencoder.
