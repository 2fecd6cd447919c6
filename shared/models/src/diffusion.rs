//! Diffusion head, schedule and sampler.
