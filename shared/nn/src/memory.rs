//! Whether a device ran out of memory.

use candle_core::Error;

/// What the driver and its libraries say then. Candle wraps these in errors of its own, at times several, and without the
/// `cuda` feature their types are not there; the names are CUDA's and do not change.
const SAID: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"];

/// True for an operation that failed because the device has no memory for it: the same on less may succeed. Anything that
/// is not known to mean that is another fault.
pub fn is_out_of_memory(error: &Error) -> bool {
    let text = error.to_string();
    SAID.iter().any(|said| text.contains(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_driver_says_counts() {
        let driver = Error::msg("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert!(is_out_of_memory(&driver));
        assert!(is_out_of_memory(&driver.context("matmul").bt()));
        assert!(is_out_of_memory(&Error::msg("CublasError(CUBLAS_STATUS_ALLOC_FAILED)")));
        assert!(!is_out_of_memory(&Error::msg(
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")"
        )));
        assert!(!is_out_of_memory(&Error::msg("out of memory")), "whoever says so may mean anything");
    }
}
