//! The figures of a table, from two looks: rates and means over the time between them.

use serde::Serialize;

use super::metrics::Metrics;

/// Two looks at a process, or one and the moment it began, when every counter was 0.
#[derive(Debug)]
pub(super) struct Span<'a> {
    now: &'a Metrics,
    before: Option<&'a Metrics>,
    seconds: f64,
}

/// A process's row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Process {
    /// How long it has run.
    pub(super) up_seconds: f64,
    /// The first letters of its weights' hash; absent until they are known.
    pub(super) weights: Option<String>,
    /// Requests under way, those that wait included.
    pub(super) running: f64,
    /// Requests that wait for their turn at a gateway.
    pub(super) queued: f64,
    /// Jobs that wait for the device.
    pub(super) jobs_queued: f64,
    /// Generations whose loop is under way.
    pub(super) syntheses: f64,
    /// Requests that ended well, per second.
    pub(super) done_per_second: f64,
    /// Requests that ended otherwise, per second.
    pub(super) failed_per_second: f64,
    /// Mean time of an iteration of the loop.
    pub(super) iteration_ms: Option<f64>,
    /// Mean time per finished image.
    pub(super) image_seconds: Option<f64>,
    /// Mean time to an answer's first token.
    pub(super) first_token_ms: Option<f64>,
    /// Share of the time that the device computed.
    pub(super) busy: f64,
    /// Memory that lies in RAM.
    pub(super) memory_bytes: f64,
    /// The services that it calls.
    pub(super) replicas: Vec<Replicas>,
}

/// The replicas of a service, as a process that calls them sees them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Replicas {
    /// The service's word.
    pub(super) backend: String,
    /// Replicas that are called.
    pub(super) well: f64,
    /// Those that load, stop or cannot be asked.
    pub(super) unwell: f64,
    /// Those that broke a call, and rest.
    pub(super) open: f64,
    /// Calls under way at all of them.
    pub(super) calls: f64,
}

/// A kind of batches, over all processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Kind {
    /// Its word.
    pub(super) kind: String,
    /// Batches per second.
    pub(super) per_second: f64,
    /// Mean jobs of a batch.
    pub(super) jobs: Option<f64>,
    /// Mean tokens of a batch; absent for jobs that run alone.
    pub(super) tokens: Option<f64>,
    /// Mean time of a batch on the device.
    pub(super) step_ms: Option<f64>,
    /// Mean time that a job had waited for it.
    pub(super) wait_ms: Option<f64>,
    /// Share of the time that it took.
    pub(super) busy: f64,
}

const BATCHES: &str = "unipic_engine_batch_duration_seconds_count";
const REPLICAS: &str = "unipic_replicas";
const START: &str = "unipic_process_start_time_seconds";

impl<'a> Span<'a> {
    /// Of a look at `now_seconds` since 1970, and one before it by `between` seconds.
    pub(super) fn new(now: &'a Metrics, before: Option<(&'a Metrics, f64)>, now_seconds: f64) -> Self {
        let up = now_seconds - now.sum(START, &[]).unwrap_or(now_seconds);
        // A process that began again since counts from 0, whatever an earlier one had counted.
        let before = before.filter(|(before, _)| before.sum(START, &[]) == now.sum(START, &[]));
        let seconds = before.map_or(up, |(_, between)| between).max(1e-3);
        Self { now, before: before.map(|(before, _)| before), seconds }
    }

    /// What a counter has grown by.
    fn growth(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let value = |metrics: &Metrics| metrics.sum(name, labels).unwrap_or(0.0);
        (value(self.now) - self.before.map_or(0.0, value)).max(0.0)
    }

    /// The mean of a histogram's new observations.
    fn mean(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let n = self.growth(&format!("{name}_count"), labels);
        (n > 0.0).then(|| self.growth(&format!("{name}_sum"), labels) / n)
    }

    /// The process's row.
    pub(super) fn process(&self, now_seconds: f64) -> Process {
        let gauge = |name: &str| self.now.sum(name, &[]).unwrap_or(0.0);
        let ended = self.growth("unipic_requests_total", &[]);
        let well = self.growth("unipic_requests_total", &[("code", "OK")]);
        let weights = self.now.labels("unipic_build_info", "weights_sha256");
        Process {
            up_seconds: (now_seconds - self.now.sum(START, &[]).unwrap_or(now_seconds)).max(0.0),
            weights: weights.first().map(|hash| hash.chars().take(8).collect()),
            running: gauge("unipic_requests_running"),
            queued: gauge("unipic_admission_queued"),
            jobs_queued: gauge("unipic_engine_jobs_queued"),
            syntheses: gauge("unipic_syntheses_running"),
            done_per_second: well / self.seconds,
            failed_per_second: (ended - well) / self.seconds,
            iteration_ms: self.mean("unipic_iteration_duration_seconds", &[]).map(|mean| mean * 1e3),
            image_seconds: self.mean("unipic_image_seconds", &[]),
            first_token_ms: self.mean("unipic_first_token_seconds", &[]).map(|mean| mean * 1e3),
            busy: self.growth("unipic_engine_batch_duration_seconds_sum", &[]) / self.seconds,
            memory_bytes: gauge("unipic_process_resident_memory_bytes"),
            replicas: self.now.labels(REPLICAS, "backend").into_iter().map(|backend| self.replicas(backend)).collect(),
        }
    }

    /// What it knows of the replicas of a service.
    fn replicas(&self, backend: &str) -> Replicas {
        let gauge = |name: &str, labels: &[(&str, &str)]| self.now.sum(name, labels).unwrap_or(0.0);
        let n = |state: &str| gauge(REPLICAS, &[("backend", backend), ("state", state)]);
        Replicas {
            backend: backend.to_owned(),
            well: n("well"),
            unwell: n("unwell"),
            open: n("open"),
            calls: gauge("unipic_replica_calls", &[("backend", backend)]),
        }
    }
}

/// The kinds of batches over all processes; those that did nothing are left out.
pub(super) fn kinds(spans: &[Span<'_>]) -> Vec<Kind> {
    let mut names: Vec<&str> = spans.iter().flat_map(|span| span.now.labels(BATCHES, "kind")).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| kind(spans, name)).collect()
}

fn kind(spans: &[Span<'_>], name: &str) -> Option<Kind> {
    let labels = [("kind", name)];
    let all = |metric: &str| spans.iter().map(|span| span.growth(metric, &labels)).sum::<f64>();
    let mean = |metric: &str| {
        let n = all(&format!("{metric}_count"));
        (n > 0.0).then(|| all(&format!("{metric}_sum")) / n)
    };
    let rate = |metric: &str| spans.iter().map(|span| span.growth(metric, &labels) / span.seconds).sum::<f64>();
    (all(BATCHES) > 0.0).then(|| Kind {
        kind: name.to_owned(),
        per_second: rate(BATCHES),
        jobs: mean("unipic_engine_batch_jobs"),
        tokens: mean("unipic_engine_batch_tokens"),
        step_ms: mean("unipic_engine_batch_duration_seconds").map(|mean| mean * 1e3),
        wait_ms: mean("unipic_engine_job_wait_seconds").map(|mean| mean * 1e3),
        busy: rate("unipic_engine_batch_duration_seconds_sum"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(start: u32, done: u32, batches: u32) -> Metrics {
        Metrics::parse(&format!(
            "unipic_process_start_time_seconds {start}\nunipic_requests_running{{method=\"a\"}} 2\n\
             unipic_requests_total{{code=\"OK\"}} {done}\nunipic_requests_total{{code=\"INTERNAL\"}} 1\n\
             unipic_engine_batch_duration_seconds_count{{kind=\"head\"}} {batches}\n\
             unipic_engine_batch_duration_seconds_sum{{kind=\"head\"}} {}\n\
             unipic_engine_batch_jobs_count{{kind=\"head\"}} {batches}\nunipic_engine_batch_jobs_sum{{kind=\"head\"}} {}\n",
            f64::from(batches) * 0.01,
            batches * 3,
        ))
    }

    #[test]
    fn figures_are_of_the_time_between_two_looks() {
        let (before, now) = (metrics(100, 10, 50), metrics(100, 30, 150));
        let span = Span::new(&now, Some((&before, 2.0)), 200.0);
        let process = span.process(200.0);
        assert_eq!((process.up_seconds, process.running, process.done_per_second), (100.0, 2.0, 10.0));
        assert_eq!((process.failed_per_second, process.image_seconds), (0.0, None));
        assert!((process.busy - 0.5).abs() < 1e-9, "{process:?}");
        let kinds = kinds(&[span]);
        assert_eq!((kinds[0].kind.as_str(), kinds[0].per_second, kinds[0].jobs), ("head", 50.0, Some(3.0)));
        assert!(kinds[0].step_ms.is_some_and(|ms| (ms - 10.0).abs() < 1e-9) && kinds[0].tokens.is_none());
    }

    #[test]
    fn replicas_are_told_by_service_and_state() {
        let line = |name: &str, backend: &str, state: &str, n: u32| {
            format!("{name}{{backend=\"{backend}\",state=\"{state}\"}} {n}\n")
        };
        let mut text = "unipic_process_start_time_seconds 1\n".to_owned();
        for (backend, state, n, calls) in [
            ("synthesis", "well", 2, 5),
            ("decoder", "well", 1, 3),
            ("decoder", "unwell", 2, 1),
            ("decoder", "open", 4, 0),
        ] {
            text += &line("unipic_replicas", backend, state, n);
            text += &line("unipic_replica_calls", backend, state, calls);
        }
        let now = Metrics::parse(&text);
        let replicas = Span::new(&now, None, 2.0).process(2.0).replicas;
        let of = |backend: &str, [well, unwell, open, calls]: [f64; 4]| Replicas {
            backend: backend.to_owned(),
            well,
            unwell,
            open,
            calls,
        };
        assert_eq!(replicas, [of("decoder", [1.0, 2.0, 4.0, 4.0]), of("synthesis", [2.0, 0.0, 0.0, 5.0])]);
    }

    #[test]
    fn a_first_look_and_a_process_that_began_again_count_from_the_beginning() {
        let now = metrics(100, 30, 150);
        for before in [None, Some((&metrics(50, 1000, 1000), 2.0))] {
            let process = Span::new(&now, before, 110.0).process(110.0);
            assert_eq!((process.done_per_second, process.failed_per_second), (3.0, 0.1));
        }
        let idle = Span::new(&now, Some((&now, 2.0)), 110.0);
        assert!(kinds(&[idle]).is_empty());
    }
}
