//! A collector of violations, and the checks that every kind of request shares.

use std::ops::RangeInclusive;

use unipic_api::{ApiError, FieldViolation};

/// What is wrong with a request so far.
#[derive(Debug, Default)]
pub(crate) struct Violations(Vec<FieldViolation>);

impl Violations {
    /// Notes a violation of the field at `path`, such as `options.width`.
    pub(crate) fn add(&mut self, path: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldViolation::new(path, description));
    }

    /// Ends the check.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with everything that was noted.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.0)) }
    }

    /// True as long as nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// INVALID_ARGUMENT with everything that was noted.
    pub(crate) fn into_error(self) -> ApiError {
        ApiError::Invalid(self.0)
    }

    /// A whole number within bounds; returns the default when left out or wrong.
    pub(crate) fn count(
        &mut self,
        path: &str,
        value: Option<u32>,
        default: Option<u32>,
        allowed: RangeInclusive<u32>,
    ) -> u32 {
        let default = default.unwrap_or(*allowed.start());
        match value {
            Some(value) if !allowed.contains(&value) => {
                self.add(path, format!("must be between {} and {}, not {value}", allowed.start(), allowed.end()));
                default
            }
            Some(value) => value,
            None => default,
        }
    }

    /// A finite number from 0 to `most`; returns the default when left out or wrong.
    pub(crate) fn number(&mut self, path: &str, value: Option<f32>, default: Option<f32>, most: f32) -> f32 {
        let default = default.unwrap_or(0.0);
        match value {
            // Not-a-number is in no range.
            Some(value) if !(0.0..=most).contains(&value) => {
                self.add(path, format!("must be a number between 0 and {most}, not {value}"));
                default
            }
            Some(value) => value,
            None => default,
        }
    }

    /// A text that may be empty.
    pub(crate) fn text(&mut self, path: &str, text: &str, max_bytes: u32) {
        if text.len() > max_bytes as usize {
            self.add(path, format!("must be at most {max_bytes} bytes, not {}", text.len()));
        }
    }

    /// A text that must say something.
    pub(crate) fn words(&mut self, path: &str, text: &str, max_bytes: u32) {
        if text.trim().is_empty() {
            self.add(path, "must not be empty");
        }
        self.text(path, text, max_bytes);
    }

    /// A known value of an enum; returns the default when unspecified or wrong.
    pub(crate) fn choice<E>(&mut self, path: &str, value: i32, default: E) -> E
    where
        E: TryFrom<i32> + Into<i32>,
    {
        match E::try_from(value) {
            Ok(_) if value == 0 => default,
            Ok(known) => known,
            Err(_) => {
                self.add(path, format!("{value} is not a value of this enum"));
                default
            }
        }
    }
}
