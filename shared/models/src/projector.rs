//! Projectors between the parts.
