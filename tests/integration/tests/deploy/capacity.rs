//! The table of bytes in deploy/README.md, worked out again from the model's sizes.

use crate::root;

/// Width of a hidden state of the language model.
const LLM_WIDTH: u64 = 1536;
/// Tokens before those of an image.
const N_BUFFERS: u64 = 64;
/// Hidden states travel as f32.
const VALUE_BYTES: u64 = 4;

/// Tokens that the language model is shown in each iteration: the buffers and what is known by then. Iterations that
/// reveal nothing are left out, as the loop leaves them out.
fn tokens(n_buffers: u64, n_places: u64, n_iterations: u64) -> Vec<u64> {
    let (mut masked, mut rows) = (n_places, Vec::new());
    for k in 1..=n_iterations {
        let share = (std::f64::consts::FRAC_PI_2 * k as f64 / n_iterations as f64).cos();
        let wanted = (n_places as f64 * share).floor() as u64;
        let next = if k == n_iterations { 0 } else { wanted.min(masked - 1).max(1) };
        if next < masked {
            rows.push(n_buffers + n_places - masked);
            masked = next;
        }
    }
    rows
}

/// Bytes as the table writes them.
fn mb(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[test]
fn the_table_of_bytes_is_what_the_sizes_make() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("deploy/README.md"))?;
    for (side, n_places) in [(512_u64, 1024), (1024, 4096)] {
        let rows = tokens(N_BUFFERS, n_places, 32);
        let bytes = |rows: u64| rows * LLM_WIDTH * VALUE_BYTES;
        let (last, all) = (bytes(*rows.last().expect("an iteration")), bytes(rows.iter().sum()));
        let source = bytes(n_places + N_BUFFERS);
        let pixels = side * side * 3;
        let line = format!(
            "| {side}×{side} | {} / {} | {} / {} | {} | {} |",
            mb(last),
            mb(2 * last),
            mb(all),
            mb(2 * all),
            mb(source),
            mb(pixels),
        );
        assert!(readme.contains(&line), "deploy/README.md lacks\n{line}");
    }
    Ok(())
}

/// The cell of a row of the report that begins so.
fn reported<'a>(report: &'a str, row: &str, cell: usize) -> &'a str {
    let line = report.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("no row {row:?}"));
    line.split('|').nth(cell).map_or("", str::trim)
}

#[test]
fn the_figures_of_batching_are_the_reports() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(root().join("deploy/README.md"))?.replace('\n', " ");
    let report = std::fs::read_to_string(root().join("tests/chaos/REPORT.md"))?;
    let goodput = reported(&report, "| served, requests/s", 2);
    let (_, goodput) = goodput.split_once('(').expect("a share of the peak");
    let (_, refusal) = reported(&report, "| refusal, p50 and p99, ms", 2).split_once(", ").expect("two times");
    for said in [
        format!("answered {} times as fast", reported(&report, "| answers | 32 |", 4)),
        format!("8 images {} and", reported(&report, "| images | 8 |", 4)),
        format!("32 images {} times", reported(&report, "| images | 32 |", 4)),
        format!("takes {} times as long as alone", reported(&report, "| one long, of the same size", 3)),
        format!("refusals take {refusal} ms (p99)"),
        format!("and {} of the peak", goodput.trim_end_matches(')')),
    ] {
        assert!(readme.contains(&said), "deploy/README.md lacks {said:?}");
    }
    Ok(())
}

#[test]
fn the_first_iteration_shows_buffers_only_and_the_last_nearly_everything() {
    let rows = tokens(N_BUFFERS, 1024, 32);
    assert_eq!((rows.len(), rows[0]), (32, N_BUFFERS));
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "{rows:?}");
    assert_eq!(rows[31], N_BUFFERS + 1024 - 50, "cos(31/32 of a quarter turn) of 1024 places is 50");
    assert_eq!(tokens(64, 4, 16), [64, 65, 66, 67], "one place an iteration, and then there are none left");
}

/// Nano has 8 buffers, 64 places at 128 px and hidden states of 192: what four processes said of such an image.
#[test]
fn the_arithmetic_is_what_was_measured() {
    let rows: u64 = tokens(8, 64, 16).iter().sum();
    assert_eq!(rows * 192 * VALUE_BYTES, 364_800);
}
