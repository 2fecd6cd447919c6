//! How urgent a request is.

use tonic::metadata::MetadataMap;

/// The key of a request's priority in headers and metadata, of callers and between services.
pub const PRIORITY: &str = "unipic-priority";

/// How urgent a request is. Work in the background waits behind the interactive work of everybody, and shares the devices
/// with its tenant's own as if it were another tenant's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// It can wait.
    Batch,
}

impl Priority {
    /// What a caller's header says: `interactive`, which is as good as none, or `batch`; none where it says anything else.
    pub fn read(value: Option<&[u8]>) -> Option<Self> {
        match value {
            None | Some(b"interactive") => Some(Self::Interactive),
            Some(b"batch") => Some(Self::Batch),
            Some(_) => None,
        }
    }

    /// What a peer of ours says of the request that it calls for; interactive where it says nothing sensible.
    pub fn told(metadata: &MetadataMap) -> Self {
        Self::read(metadata.get(PRIORITY).map(|value| value.as_bytes())).unwrap_or_default()
    }

    /// Says it to a service behind this one.
    pub fn tell(self, metadata: &mut MetadataMap) {
        if self == Self::Batch {
            metadata.insert(PRIORITY, tonic::metadata::MetadataValue::from_static("batch"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_was_said() {
        for priority in [Priority::Interactive, Priority::Batch] {
            let mut metadata = MetadataMap::new();
            priority.tell(&mut metadata);
            assert_eq!(Priority::told(&metadata), priority);
        }
        assert_eq!(Priority::read(Some(b"urgent")), None);
    }
}
