//! The figures as text: columns as wide as what is in them, numbers to the right.

use super::figures::{Kind, Process, Replicas};
use super::scrape::Address;

/// Headings of the processes.
const PROCESSES: [&str; 13] = [
    "SERVER",
    "STATE",
    "WEIGHTS",
    "UP",
    "RUNNING",
    "QUEUED",
    "JOBS",
    "DRAWING",
    "DONE/S",
    "FAILED/S",
    "BUSY",
    "ITERATION",
    "MEMORY",
];
/// Headings of the replicas that processes call.
const REPLICAS: [&str; 6] = ["CALLED BY", "SERVICE", "WELL", "UNWELL", "OPEN", "CALLS"];
/// Headings of the batches.
const BATCHES: [&str; 7] = ["BATCH", "PER S", "JOBS", "TOKENS", "STEP", "WAIT", "BUSY"];

/// What is known of a server: its figures and whether it is ready, or why there are none.
pub(super) type Row<'a> = (&'a Address, Result<(Process, bool), String>);

/// All tables, and the times that people ask for.
pub(super) fn text(rows: &[Row<'_>], kinds: &[Kind]) -> String {
    let processes = rows.iter().map(|(address, process)| match process {
        Ok((process, is_ready)) => of_process(address, process, *is_ready),
        Err(_) => vec![address.to_string(), "no answer".to_owned()],
    });
    let mut text = table(&PROCESSES, 3, &processes.collect::<Vec<_>>());
    for (address, problem) in rows.iter().filter_map(|(address, process)| Some((address, process.as_ref().err()?))) {
        text += &format!("{address}: {problem}\n");
    }
    for (address, process) in rows.iter().filter_map(|(address, process)| Some((address, &process.as_ref().ok()?.0))) {
        let image = process.image_seconds.map(|seconds| format!("an image took {seconds:.2} s"));
        let token = process.first_token_ms.map(|ms| format!("a first token {}", milliseconds(Some(ms))));
        let times: Vec<String> = image.into_iter().chain(token).collect();
        if !times.is_empty() {
            text += &format!("{address}: {}\n", times.join(", "));
        }
    }
    let well = rows.iter().filter_map(|(address, process)| Some((address, &process.as_ref().ok()?.0)));
    let called = well.flat_map(|(address, process)| process.replicas.iter().map(|of| of_replicas(address, of)));
    let called: Vec<Vec<String>> = called.collect();
    if !called.is_empty() {
        text += &format!("\n{}", table(&REPLICAS, 2, &called));
    }
    match kinds {
        [] => text + "\nno batches\n",
        kinds => text + "\n" + &table(&BATCHES, 1, &kinds.iter().map(of_kind).collect::<Vec<_>>()),
    }
}

fn of_process(address: &Address, process: &Process, is_ready: bool) -> Vec<String> {
    vec![
        address.to_string(),
        if is_ready { "ready" } else { "not ready" }.to_owned(),
        process.weights.clone().unwrap_or_else(|| "-".to_owned()),
        duration(process.up_seconds),
        format!("{}", process.running),
        format!("{}", process.queued),
        format!("{}", process.jobs_queued),
        format!("{}", process.syntheses),
        format!("{:.2}", process.done_per_second),
        format!("{:.2}", process.failed_per_second),
        percent(process.busy),
        milliseconds(process.iteration_ms),
        format!("{:.0} MiB", process.memory_bytes / f64::from(1 << 20)),
    ]
}

fn of_replicas(caller: &Address, replicas: &Replicas) -> Vec<String> {
    let numbers = [replicas.well, replicas.unwell, replicas.open, replicas.calls].map(|n| format!("{n}"));
    [caller.to_string(), replicas.backend.clone()].into_iter().chain(numbers).collect()
}

fn of_kind(kind: &Kind) -> Vec<String> {
    let one = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    vec![
        kind.kind.clone(),
        format!("{:.1}", kind.per_second),
        one(kind.jobs),
        one(kind.tokens),
        milliseconds(kind.step_ms),
        milliseconds(kind.wait_ms),
        percent(kind.busy),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") })
}

/// A time in its two largest units.
fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, ..) => format!("{d}d{h:02}h"),
    }
}

/// Rows under headings; the first `n_left` columns stand to the left.
fn table(headings: &[&str], n_left: usize, rows: &[Vec<String>]) -> String {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(widest).collect();
    let line = |cells: Vec<&str>| {
        let cell = |(at, cell): (usize, &&str)| match at < n_left {
            true => format!("{cell:<width$}", width = widths[at]),
            false => format!("{cell:>width$}", width = widths[at]),
        };
        let line: Vec<String> = cells.iter().enumerate().map(cell).collect();
        line.join("  ").trim_end().to_owned() + "\n"
    };
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(line(headings.to_vec())).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_who_is_missing_is_named() {
        let process = Process {
            up_seconds: 3725.0,
            weights: Some("c5f5f9f8".into()),
            running: 12.0,
            queued: 3.0,
            jobs_queued: 4.0,
            syntheses: 2.0,
            done_per_second: 1.234,
            failed_per_second: 0.0,
            iteration_ms: Some(44.4),
            image_seconds: Some(0.753),
            first_token_ms: None,
            busy: 0.987,
            memory_bytes: 84_131_840.0,
            replicas: vec![
                Replicas { backend: "decoder".into(), well: 2.0, unwell: 1.0, open: 0.0, calls: 7.0 },
                Replicas { backend: "understanding".into(), well: 1.0, unwell: 0.0, open: 0.0, calls: 0.0 },
            ],
        };
        let (there, gone) = (Address::Tcp("127.0.0.1:9090".into()), Address::Tcp("b:1".into()));
        let rows = [(&there, Ok((process, true))), (&gone, Err("no answer: refused".to_owned()))];
        let kind = Kind {
            kind: "head".into(),
            per_second: 50.0,
            jobs: Some(3.0),
            tokens: None,
            step_ms: Some(1.234),
            wait_ms: Some(123.0),
            busy: 0.5,
        };
        let expected = "\
SERVER          STATE      WEIGHTS      UP  RUNNING  QUEUED  JOBS  DRAWING  DONE/S  FAILED/S  BUSY  ITERATION  MEMORY
127.0.0.1:9090  ready      c5f5f9f8  1h02m       12       3     4        2    1.23      0.00  99 %      44 ms  80 MiB
b:1             no answer
b:1: no answer: refused
127.0.0.1:9090: an image took 0.75 s

CALLED BY       SERVICE        WELL  UNWELL  OPEN  CALLS
127.0.0.1:9090  decoder           2       1     0      7
127.0.0.1:9090  understanding     1       0     0      0

BATCH  PER S  JOBS  TOKENS    STEP    WAIT  BUSY
head    50.0   3.0       -  1.2 ms  123 ms  50 %
";
        assert_eq!(text(&rows, &[kind]), expected);
        assert!(text(&rows, &[]).ends_with("\nno batches\n"));
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, expected) in
            [(0.0, "0s"), (59.9, "59s"), (61.0, "1m01s"), (86_399.0, "23h59m"), (90_000.0, "1d01h")]
        {
            assert_eq!(duration(seconds), expected);
        }
    }
}
