//! Tests of the whole: the processes as they are shipped, talking to each other, and the shape of the tree.
//!
//! The library part starts and stops those processes for the tests.

pub mod disk;
pub mod processes;
pub mod python;
pub mod unipic;
