//! `unipic health` tells an orchestrator by its exit status how a server is.

use std::process::{Command, Stdio};

use integration::processes::{Process, binary};

/// The exit status of `unipic health` for a server.
fn status(server: &str, rest: &[&str]) -> anyhow::Result<Option<i32>> {
    let mut command = Command::new(binary("unipic")?);
    command
        .args(["health", "--timeout", "30", "--server", server])
        .args(rest)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command.status()?.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_exit_status_is_the_servers_health() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut node = Process::start(&binary("unipic-node")?, &[], "", dir.path())?;
    let url = node.url();
    node.ready().await?;
    assert_eq!(status(&url, &[])?, Some(0));
    assert_eq!(status(&url, &["--service", "unipic.v1.UniPic"])?, Some(0));
    assert_eq!(status(&url, &["--service", "no.Such"])?, Some(1), "it knows no such service");
    node.stop().await?;
    assert_eq!(status(&url, &[])?, Some(3), "nobody answers");
    Ok(())
}
