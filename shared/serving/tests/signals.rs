//! Signals to a process of its own: the first one drains, the second one ends it at once.

#![allow(clippy::unwrap_used, clippy::panic)] // Helper functions of tests fail by panicking, as tests do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unipic_serving::stop_signal;

/// Set in the process that is sent signals.
const IS_CHILD: &str = "UNIPIC_TEST_IS_CHILD";

/// What that process does: it waits for a signal, then drains for a minute.
#[tokio::test]
async fn child() {
    if std::env::var_os(IS_CHILD).is_none() {
        return;
    }
    let mut stopping = std::pin::pin!(stop_signal());
    assert!(futures::poll!(&mut stopping).is_pending());
    println!("\nup");
    stopping.await;
    println!("\ndraining");
    tokio::time::sleep(Duration::from_secs(60)).await;
    println!("\ndrained");
}

fn send(signal: &str, process: &Child) {
    let sent = Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_second_signal_ends_a_drain() {
    for (first, second, status) in [("-TERM", "-INT", 130), ("-INT", "-TERM", 143), ("-INT", "-INT", 130)] {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(IS_CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line == "up"));
        send(first, &process);
        assert!(said.any(|line| line == "draining"), "{first}");
        let start = Instant::now();
        send(second, &process);
        assert!(!said.any(|line| line == "drained"), "{first} {second}");
        assert_eq!(process.wait().unwrap().code(), Some(status), "{first} {second}");
        assert!(start.elapsed() < Duration::from_secs(10), "{first} {second}: {:?}", start.elapsed());
    }
}
