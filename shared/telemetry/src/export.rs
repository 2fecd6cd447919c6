//! Export whose failures an operator hears of, once.
//!
//! The SDK drops spans that cannot be exported without a word. A line per failed batch would be a flood for as long as a
//! collector is down, so only the changes are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// An exporter that logs when export begins to fail and when it works again.
#[derive(Debug)]
pub(crate) struct Reporting<E> {
    exporter: E,
    is_failing: AtomicBool,
}

impl<E> Reporting<E> {
    pub(crate) fn new(exporter: E) -> Self {
        Self { exporter, is_failing: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Reporting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        match (&result, was_failing) {
            (Err(error), false) => tracing::warn!(%error, "spans cannot be exported and are dropped"),
            (Ok(()), true) => tracing::info!("spans are exported again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    #[derive(Debug)]
    struct Down(Arc<AtomicBool>);

    impl SpanExporter for Down {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            match self.0.load(Ordering::Relaxed) {
                true => Err(OTelSdkError::InternalFailure("connection refused".into())),
                false => Ok(()),
            }
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn only_changes_are_told() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _default = tracing::subscriber::set_default(subscriber);
        let is_down = Arc::new(AtomicBool::new(true));
        let exporter = Reporting::new(Down(is_down.clone()));
        for _ in 0..3 {
            exporter.export(Vec::new()).await.unwrap_err();
        }
        is_down.store(false, Ordering::Relaxed);
        for _ in 0..3 {
            exporter.export(Vec::new()).await.unwrap();
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 2, "{log}");
        assert!(log.contains("connection refused") && log.contains("exported again"), "{log}");
    }
}
