//! SigLIP2 vision tower.
