//! A look at a TIFF file's first directory, before the decoder sees it.
//!
//! The decoder makes room for a field's values before it reads them, 32 bytes for each, and knows our limits only when the
//! directory has been read: two hundred bytes could make it ask for 256 MiB. A field cannot have more values than the file
//! has bytes for, so a file that says so is refused here.

use crate::ImageError;

const NAME: &str = "TIFF";

/// Bytes that the decoder keeps for one value of a field.
const VALUE_BYTES: u64 = 32;

/// The first private field. Programs keep layers and profiles there, many megabytes of them, and the decoder reads none.
const FIRST_PRIVATE: u64 = 32_768;

/// Checks the number of values of every field of the first directory that the decoder may read; it decodes no other. What else
/// is wrong with a file is the decoder's to find.
///
/// # Errors
/// `Malformed` when a field has more values than the file could hold, `TooMuchMemory` when reading them would take more than
/// `max_alloc_bytes`.
pub(crate) fn scan(bytes: &[u8], max_alloc_bytes: u64) -> Result<(), ImageError> {
    let Some(reader) = Reader::new(bytes) else { return Ok(()) };
    let Some((first, n_fields)) = reader.directory() else { return Ok(()) };
    let (entry_bytes, count_bytes) = if reader.is_big { (20, 8) } else { (12, 4) };
    for field in 0..n_fields {
        // Beyond the end of the file there is nothing to read for the decoder either.
        let Some(at) = field.checked_mul(entry_bytes).and_then(|offset| first.checked_add(offset)) else { break };
        let (Some(tag), Some(kind)) = (reader.number(at, 2), reader.number(at + 2, 2)) else { break };
        let Some(count) = reader.number(at + 4, count_bytes) else { break };
        if tag >= FIRST_PRIVATE {
            continue;
        }
        if count.saturating_mul(size_of_kind(kind)) > bytes.len() as u64 {
            let reason = format!("a field says that it has {count} values, more than the file could hold");
            return Err(ImageError::Malformed { format: NAME, reason });
        }
        let needed = count.saturating_mul(VALUE_BYTES);
        if needed > max_alloc_bytes {
            return Err(ImageError::TooMuchMemory { needed, limit: max_alloc_bytes });
        }
    }
    Ok(())
}

/// Bytes of one value of a field's type; at least one, also for types that nobody knows.
fn size_of_kind(kind: u64) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => 1,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
    /// A BigTIFF, whose offsets and counts take 8 bytes.
    is_big: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let is_little_endian = match bytes.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let reader = Self { bytes, is_little_endian, is_big: false };
        let is_big = reader.number(2, 2)? == 43;
        Some(Self { is_big, ..reader })
    }

    /// Where the fields of the first directory begin, and how many there are.
    fn directory(&self) -> Option<(u64, u64)> {
        let (at, count_bytes) = if self.is_big { (self.number(8, 8)?, 8) } else { (self.number(4, 4)?, 2) };
        Some((at.checked_add(count_bytes)?, self.number(at, count_bytes)?))
    }

    /// An unsigned number of at most 8 bytes.
    fn number(&self, at: u64, n_bytes: u64) -> Option<u64> {
        let start = usize::try_from(at).ok()?;
        let digits = self.bytes.get(start..start.checked_add(usize::try_from(n_bytes).ok()?)?)?;
        let push = |number: u64, digit: &u8| number << 8 | u64::from(*digit);
        Some(match self.is_little_endian {
            true => digits.iter().rev().fold(0, push),
            false => digits.iter().fold(0, push),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one field; `count` values of type `kind`.
    fn file(is_little_endian: bool, is_big: bool, kind: u16, count: u32) -> Vec<u8> {
        file_with(256, is_little_endian, is_big, kind, count)
    }

    fn file_with(tag: u64, is_little_endian: bool, is_big: bool, kind: u16, count: u32) -> Vec<u8> {
        let number = |value: u64, n_bytes: usize| {
            let mut digits = value.to_le_bytes()[..n_bytes].to_vec();
            if !is_little_endian {
                digits.reverse();
            }
            digits
        };
        let mark: &[u8] = if is_little_endian { b"II" } else { b"MM" };
        let wide = if is_big { 8 } else { 4 };
        let head = match is_big {
            true => [mark, &number(43, 2), &number(8, 2), &number(0, 2), &number(16, 8), &number(1, 8)].concat(),
            false => [mark, &number(42, 2), &number(8, 4), &number(1, 2)].concat(),
        };
        let field = [number(tag, 2), number(kind.into(), 2), number(count.into(), wide), number(0, wide)].concat();
        [head, field, vec![0; 100]].concat()
    }

    #[test]
    fn a_field_has_no_more_values_than_the_file_has_room_for() {
        for (is_little_endian, is_big) in [(true, false), (false, false), (true, true), (false, true)] {
            let check = |kind, count| scan(&file(is_little_endian, is_big, kind, count), 1 << 20);
            assert_eq!(check(4, 20), Ok(()));
            assert!(matches!(check(4, 60), Err(ImageError::Malformed { .. })), "{is_little_endian} {is_big}");
            assert!(matches!(check(1, u32::MAX), Err(ImageError::Malformed { .. })));
            let long = scan(&file(is_little_endian, is_big, 1, 100), 1000);
            assert_eq!(long, Err(ImageError::TooMuchMemory { needed: 3200, limit: 1000 }));
        }
    }

    #[test]
    fn private_fields_may_be_large() {
        assert_eq!(scan(&file_with(37_724, true, false, 7, 100), 1000), Ok(()));
    }

    #[test]
    fn what_ends_early_is_left_to_the_decoder() {
        let whole = file(true, true, 4, 1);
        for end in 0..40 {
            assert_eq!(scan(&whole[..end], 1 << 20), Ok(()), "{end}");
        }
        let far = [&b"II+\0\x08\0\0\0"[..], &[0xff; 40]].concat();
        assert_eq!(scan(&far, 1 << 20), Ok(()));
    }
}
