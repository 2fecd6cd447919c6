//! Backward passes of the kernels. Sums over rows are taken in blocks of a fixed size, so that a gradient does not depend
//! on the number of threads.

pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod norm;
pub(crate) mod pointwise;
