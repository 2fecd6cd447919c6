//! `data`: datasets made and filtered.

mod curate;
mod shapes;

pub(crate) use curate::curate;
pub(crate) use shapes::shapes;
