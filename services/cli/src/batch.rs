//! `batch`: rows of a file drawn and edited, a few at a time, so that an interruption costs only what was under way.

mod failures;
mod journal;
mod persist;
mod row;

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use futures::StreamExt;
use serde_json::json;
use unipic_client::UniPicClient;
use unipic_eval::{Step, StepOutcome};

use crate::args::Batch;
use crate::connect::Connection;
use crate::failure::{said, wrong};
use crate::output::{self, STANDARD};
use crate::progress::Progress;
use failures::Failures;
use journal::{Entry, Journal};
use row::Row;

/// So many failures in a row mean that the server is at fault rather than the rows: the rest is not tried.
const FAILURES_IN_A_ROW: usize = 16;

/// A line of the file, by its number from 1.
struct Job {
    number: usize,
    line: Vec<u8>,
    row: anyhow::Result<Row>,
}

/// What came of a row.
enum End {
    Kept,
    Made(Entry),
}

/// Counts of a run.
#[derive(Default)]
struct Counts {
    made: usize,
    kept: usize,
    tried: usize,
}

/// Does every row that is not done.
///
/// # Errors
/// When the file or the folder cannot be used, or any row failed; those are listed in the folder.
pub(crate) async fn batch(args: &Batch, progress: &Progress) -> anyhow::Result<()> {
    let jobs = jobs(&read(&args.jobs)?);
    if jobs.is_empty() {
        return Err(wrong(format!("`{}` holds no row", args.jobs.display())));
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("make the folder {}", args.out.display()))?;
    output::clear_unfinished(&args.out)?;
    let mut journal = Journal::open(&args.out)?;
    let mut failures = Failures::begin(&args.out)?;
    let connection = Connection::open(&args.target, progress).await?;
    let client = connection.client();
    // A server that is not there is told once, not for every row.
    client.get_model().await?;
    let n = jobs.len();
    let counts = run(jobs, args, &client, (&mut journal, &mut failures), progress).await?;
    drop(client);
    connection.close().await?;
    tell_outcome(&counts, n, &failures, args, progress)
}

/// The rows' file.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new(STANDARD) {
        let mut data = Vec::new();
        std::io::stdin().lock().read_to_end(&mut data).context("read rows from standard input")?;
        return Ok(data);
    }
    std::fs::read(path).map_err(|error| wrong(format!("cannot read the rows `{}`: {error}", path.display())))
}

/// Lines that say something. Of two with one id, or with one file's name, the second is bad: it would overwrite the first
/// one's files.
fn jobs(data: &[u8]) -> Vec<Job> {
    let (mut ids, mut files) = (HashSet::new(), HashSet::new());
    let lines = data.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let job = |(at, line): (usize, &[u8])| {
        let row = Row::parse(line).and_then(|row| {
            if !ids.insert(row.id.clone()) {
                return Err(wrong(format!("an earlier row has the id {:?} too", row.id)));
            }
            if let Some(name) = row.file_names().find(|name| !files.insert(name.clone())) {
                return Err(wrong(format!("an earlier row writes the file {name:?} too")));
            }
            Ok(row)
        });
        Job { number: at + 1, line: line.to_vec(), row }
    };
    lines.map(job).collect()
}

/// Works through the rows, `in_flight` at a time.
async fn run(
    jobs: Vec<Job>,
    args: &Batch,
    client: &UniPicClient,
    (journal, failures): (&mut Journal, &mut Failures),
    progress: &Progress,
) -> anyhow::Result<Counts> {
    let total = jobs.len();
    let beside = args.jobs.parent().map_or_else(PathBuf::new, Path::to_owned);
    let done: HashSet<String> = jobs
        .iter()
        .filter_map(|job| job.row.as_ref().ok())
        .filter(|row| journal.has(row))
        .map(|row| row.id.clone())
        .collect();
    let work = jobs.into_iter().map(|job| work(job, &done, client, (&beside, &args.out)));
    let mut ends = std::pin::pin!(futures::stream::iter(work).buffer_unordered(usize::from(args.in_flight)));
    let (mut counts, mut in_a_row) = (Counts::default(), 0);
    while in_a_row < FAILURES_IN_A_ROW
        && let Some((number, line, id, end)) = ends.next().await
    {
        counts.tried += 1;
        let id = id.as_deref();
        let name = id.map_or_else(|| format!("line {number}"), str::to_owned);
        let tell = |outcome| progress.item(&Step { done: counts.tried, total, item: &name, outcome });
        match end {
            Ok(End::Kept) => {
                counts.kept += 1;
                tell(StepOutcome::Kept);
            }
            Ok(End::Made(entry)) => {
                journal.add(&entry)?;
                (counts.made, in_a_row) = (counts.made + 1, 0);
                tell(StepOutcome::Made);
            }
            Err(error) => {
                let reason = said(&error);
                // A row that is bad in itself says nothing about the server.
                in_a_row += usize::from(persist::is_the_servers(&error));
                failures.add(number, id, &line, &reason)?;
                tell(StepOutcome::Failed(&reason));
            }
        }
    }
    Ok(counts)
}

type Ended = (usize, Vec<u8>, Option<String>, anyhow::Result<End>);

/// Does one row.
async fn work(job: Job, done: &HashSet<String>, client: &UniPicClient, (beside, out): (&Path, &Path)) -> Ended {
    let Job { number, line, row } = job;
    let row = match row {
        Ok(row) => row,
        Err(error) => return (number, line.clone(), row::id_of(&line), Err(error)),
    };
    let id = Some(row.id.clone());
    if done.contains(&row.id) {
        return (number, line, id, Ok(End::Kept));
    }
    let made = async {
        let images = persist::make(&row.request(beside)?, client).await?;
        let mut files = Vec::new();
        for image in &images {
            let name = row.file_name(image.image);
            output::write(&out.join(&name), &image.data)?;
            files.push(name);
        }
        let seed = images.first().map(|image| image.seed).context("the server sent no image")?;
        Ok(End::Made(Entry { id: row.id.clone(), sha256: row.sha256.clone(), seed, files }))
    };
    (number, line, id, made.await)
}

fn tell_outcome(
    counts: &Counts,
    n: usize,
    failures: &Failures,
    args: &Batch,
    progress: &Progress,
) -> anyhow::Result<()> {
    let Counts { made, kept, tried } = *counts;
    let (failed, not_tried) = (failures.n, n - tried);
    let text = format!("{}: {made} rows made, {kept} were done, {failed} failed", args.out.display());
    let counts = json!({ "made": made, "kept": kept, "failed": failed, "not_tried": not_tried });
    progress.result(&text, counts);
    let listed = failures.path().display();
    anyhow::ensure!(
        not_tried == 0,
        "{FAILURES_IN_A_ROW} rows in a row failed at the server, so {not_tried} were not tried; reasons are in {listed}; run \
         the same command to go on"
    );
    anyhow::ensure!(
        failed == 0,
        "{failed} of {n} rows failed; reasons are in {listed}; the same command tries them again"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_and_a_second_id_is_bad() {
        let data = b"\n{\"id\":\"a\",\"prompt\":\"x\"}\r\n  \nnonsense\n{\"id\":\"a\",\"prompt\":\"y\"}";
        let jobs = jobs(data);
        let told: Vec<_> = jobs.iter().map(|job| (job.number, job.row.is_ok())).collect();
        assert_eq!(told, [(2, true), (4, false), (5, false)]);
        let said = jobs[2].row.as_ref().unwrap_err().to_string();
        assert!(said.contains("an earlier row") && said.contains("\"a\""), "{said}");
    }

    #[test]
    fn two_rows_do_not_write_one_file() {
        let data = b"{\"id\":\"a\",\"prompt\":\"x\",\"n\":2}\n{\"id\":\"a-1\",\"prompt\":\"x\"}\n{\"id\":\"a-2\",\"prompt\":\"x\"}";
        let jobs = jobs(data);
        assert_eq!(jobs.iter().map(|job| job.row.is_ok()).collect::<Vec<_>>(), [true, false, true]);
        assert!(jobs[1].row.as_ref().unwrap_err().to_string().contains("a-1.png"));
    }
}
