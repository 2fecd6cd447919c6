//! Short runs on one node: what they hold is everything but speed, which a busy machine has no say in.
#![allow(clippy::expect_used, reason = "a test that cannot look has failed")]

use integration::processes::binary;
use unipic_chaos::{Runs, overload, peers, throughput};

fn runs<'a>(binaries: &'a std::path::Path, dir: &'a std::path::Path) -> Runs<'a> {
    Runs { binaries, dir, model: "nano".to_owned(), scale: 0.05, lasting: None }
}

/// The run itself refuses an image or an answer that depends on its company.
#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_what_one_gets() -> anyhow::Result<()> {
    let (binary, dir) = (binary("unipic")?, tempfile::tempdir()?);
    let section = throughput(&runs(binary.parent().expect("a folder"), dir.path())).await?;
    assert_eq!(section.text.matches("| images |").count() + section.text.matches("| answers |").count(), 6);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_are_refused_with_the_time_to_come_back() -> anyhow::Result<()> {
    let (binary, dir) = (binary("unipic")?, tempfile::tempdir()?);
    let section = overload(&runs(binary.parent().expect("a folder"), dir.path())).await?;
    let wrong = |miss: &&String| miss.contains("failed otherwise") || miss.contains("do not say");
    assert_eq!(section.misses.iter().find(wrong), None, "{}", section.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_clients_are_served_beside_slow_and_hasty_peers() -> anyhow::Result<()> {
    let (binary, dir) = (binary("unipic")?, tempfile::tempdir()?);
    // That every healthy request succeeds is seen to by the run itself; how quickly is for a calm machine.
    let section = peers(&runs(binary.parent().expect("a folder"), dir.path())).await?;
    assert_eq!(section.misses.iter().find(|miss| miss.contains("closed in")), None, "{}", section.text);
    Ok(())
}
