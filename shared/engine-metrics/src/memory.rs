//! What a process holds on its device.

use unipic_telemetry::Metrics;
use unipic_telemetry::metrics::{KeyValue, Level, Raised};

/// What memory on a device is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The model.
    Weights,
    /// Keys and values of the prompts of open sessions.
    Sessions,
    /// Keys and values of answers that are being written.
    Answers,
    /// Keys and values of beginnings of prompts, kept for later ones.
    Prefixes,
    /// Embeddings of images, those that are kept for later questions included.
    Embeddings,
}

impl Held {
    fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Sessions => "sessions",
            Self::Answers => "answers",
            Self::Prefixes => "prefixes",
            Self::Embeddings => "embeddings",
        }
    }
}

/// The memory that a process knows it holds on one device: what it put there and how large that is, not what an allocator or a
/// step's activations take beside it. The same on every kind of device.
#[derive(Debug, Clone)]
pub struct DeviceMemory {
    bytes: Level,
    device: KeyValue,
}

impl DeviceMemory {
    /// Memory of the device of this name (`cpu`, `cuda:0`), nothing held yet for any of `kinds`.
    pub fn new(metrics: &Metrics, device: &str, kinds: &[Held]) -> Self {
        let help = "Memory that is held on the device, by what it is for.";
        let memory = Self {
            bytes: metrics.byte_level("unipic.device_memory", help),
            device: KeyValue::new("device", device.to_owned()),
        };
        kinds.iter().for_each(|kind| memory.bytes.add(0, &memory.labels(*kind)));
        memory
    }

    /// So much is held until the guard is dropped.
    pub fn holds(&self, kind: Held, bytes: u64) -> Raised {
        self.bytes.raise_by(bytes, &self.labels(kind))
    }

    fn labels(&self, kind: Held) -> [KeyValue; 2] {
        [self.device.clone(), KeyValue::new("kind", kind.name())]
    }
}

#[cfg(test)]
mod tests {
    use unipic_telemetry::TelemetryConfig;

    use super::*;

    #[test]
    fn parts_on_one_device_add_up_and_what_grows_is_followed() {
        let metrics = Metrics::new(&TelemetryConfig::for_service("test")).unwrap();
        let told = |kind: &str, bytes: u64| {
            let line = format!("unipic_device_memory_bytes{{device=\"cuda:0\",kind=\"{kind}\"}} {bytes}");
            assert!(metrics.render().lines().any(|found| found == line), "no {line} in {}", metrics.render());
        };
        let [one, other] = [[Held::Weights, Held::Answers], [Held::Weights, Held::Sessions]]
            .map(|kinds| DeviceMemory::new(&metrics, "cuda:0", &kinds));
        told("sessions", 0);
        let (_mine, theirs) = (one.holds(Held::Weights, 100), other.holds(Held::Weights, 10));
        let mut answer = one.holds(Held::Answers, 5);
        told("weights", 110);
        answer.set(8);
        told("answers", 8);
        answer.set(2);
        drop(theirs);
        told("weights", 100);
        told("answers", 2);
        drop(answer);
        told("answers", 0);
    }
}
