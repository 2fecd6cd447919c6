//! How long a caller waits, as it says in its headers.

use std::time::Duration;

use http::HeaderMap;
use unipic_api::ApiError;

/// The header of gRPC in which a caller says how long it waits.
const TIMEOUT: &str = "grpc-timeout";

/// Bytes of a wrong value that are told back.
const TOLD_BYTES: usize = 32;

/// The caller's timeout: up to eight digits and a unit; none where it gives none.
///
/// # Errors
/// A value of another form. Taken for none, a typing error would become the longest call that is allowed.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    match value.to_str().ok().and_then(parse) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(refusal(value.as_bytes())),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

fn refusal(value: &[u8]) -> ApiError {
    let told = String::from_utf8_lossy(value.get(..TOLD_BYTES).unwrap_or(value));
    let what =
        format!("the header is {told:?}: write one to eight digits and a unit of H, M, S, m, u or n, such as 30S");
    ApiError::invalid(TIMEOUT, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
            timeout(&headers)
        };
        for (text, expected) in [
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("9n", Duration::from_nanos(9)),
        ] {
            assert_eq!(read(text).unwrap(), Some(expected), "{text}");
        }
        assert!(timeout(&HeaderMap::new()).unwrap().is_none());
        let long = "9".repeat(9000);
        for bad in ["", "S", "1", "123456789S", "-1S", "+1S", "1.5S", "1s", "1 S", "1µ", &long] {
            let ApiError::Invalid(violations) = read(bad).unwrap_err() else { panic!("{bad:?}") };
            assert_eq!(violations[0].field, "grpc-timeout", "{bad:?}");
            assert!(violations[0].description.len() < 200, "{:?}", violations[0]);
        }
    }
}
