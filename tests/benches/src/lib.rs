//! Benchmarks: `benches/` for operations and parts at the published widths, `src/bin/` for whole processes, and `runs/`
//! with what they printed, where and when.
