//! A short run on the small model: whatever happens to the processes, every request ends well or says why.
#![allow(clippy::expect_used, reason = "a test that cannot look has failed")]

use std::time::Duration;

use integration::processes::{binary, model};
use unipic_chaos::{Plan, run};
use unipic_measures::measured;

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_accounted_for() -> anyhow::Result<()> {
    let binaries = binary("unipic-gateway")?;
    let model = model().to_str().expect("a UTF-8 path").to_owned();
    let plan = Plan { duration: Duration::from_secs(20), clients: 2, model, ..Plan::default() };
    let dir = tempfile::tempdir()?;
    let account = run(binaries.parent().expect("a folder"), dir.path(), &plan).await?;
    let report = account.section().markdown();
    measured!("requests", account.n_requests());
    measured!("faults", account.faults.len());
    measured!("goals missed", account.misses().len());
    assert!(account.misses().is_empty(), "{report}");
    assert!(account.n_requests() > 0 && account.n_same() > 0 && !account.faults.is_empty(), "{report}");
    Ok(())
}
