//! The fenced blocks of a Markdown page, and what is to be done with each.
//!
//! Every block of a language that can be run is run as it stands, unless a comment right above it says otherwise. So a new
//! block is tested by default, and leaving one out takes a reason in the page's source.

use anyhow::{Context, bail, ensure};

/// What is done with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Use {
    /// Run, and it has to end well.
    Run,
    /// Started before all that are run, and stopped after them.
    Serve,
    /// Left out, for a reason.
    NotRun(String),
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Line of its fence, from 1.
    pub(crate) line: usize,
    /// The word behind the fence.
    pub(crate) language: String,
    /// What is inside.
    pub(crate) text: String,
    /// What is done with it.
    pub(crate) r#use: Use,
}

/// Languages that a block can be run in.
const RUNNABLE: [&str; 2] = ["sh", "python"];

/// Languages that are shown only. Rust's example is compiled where it comes from, and configuration is tested there.
const SHOWN: [&str; 3] = ["rust", "toml", "json"];

/// Reads the blocks of a page, those of [`RUNNABLE`] languages.
///
/// # Errors
/// A fence that is never closed, a language that is neither runnable nor known to be for show, a mark that stands above no
/// block, or one without a reason; with the line.
pub(crate) fn blocks(page: &str) -> anyhow::Result<Vec<Block>> {
    let mut lines = page.lines().zip(1..);
    let (mut found, mut mark) = (Vec::new(), None);
    while let Some((line, number)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
            ensure!(page.lines().nth(number + body.len()) == Some("```"), "line {number}: the block is never closed");
            let block = Block { line: number, language: language.into(), text: body.join("\n"), r#use: Use::Run };
            match (RUNNABLE.contains(&language), SHOWN.contains(&language), mark.take()) {
                (true, _, mark) => found.push(Block { r#use: mark.unwrap_or(Use::Run), ..block }),
                (false, true, None) => {}
                (false, true, Some(_)) => bail!("line {number}: {language} is never run, so it needs no mark"),
                _ => bail!("line {number}: is {language:?} to be run? Say so in {}", file!()),
            }
            continue;
        }
        ensure!(mark.is_none(), "line {number}: a mark stands right above its block");
        mark = marked(line).with_context(|| format!("line {number}"))?;
    }
    ensure!(mark.is_none(), "the last mark has no block");
    Ok(found)
}

/// The mark that a line is, if it is one.
fn marked(line: &str) -> anyhow::Result<Option<Use>> {
    let Some(comment) = line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) else { return Ok(None) };
    Ok(Some(match comment.trim() {
        "served" => Use::Serve,
        other => {
            let reason = other.strip_prefix("not run:").map(str::trim).filter(|reason| !reason.is_empty());
            Use::NotRun(reason.with_context(|| format!("`{other}` is no mark: `served` or `not run: REASON`"))?.into())
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(line: usize, language: &str, text: &str, r#use: Use) -> Block {
        Block { line, language: language.into(), text: text.into(), r#use }
    }

    #[test]
    fn a_block_is_run_unless_it_is_marked() {
        let page = "# A\n```sh\na \\\n  b\n\nc\n```\n<!-- served -->\n```sh\nd\n```\ntext\n```rust\ne\n```\n\
                    <!-- not run: it takes hours -->\n```python\nf\n```\n";
        let want = [
            block(2, "sh", "a \\\n  b\n\nc", Use::Run),
            block(9, "sh", "d", Use::Serve),
            block(17, "python", "f", Use::NotRun("it takes hours".into())),
        ];
        assert_eq!(blocks(page).expect("a page"), want);
        assert_eq!(blocks("").expect("an empty page"), []);
        assert_eq!(blocks("```sh\n```").expect("an empty block"), [block(1, "sh", "", Use::Run)]);
    }

    #[test]
    fn what_nobody_decided_is_refused() {
        let wrong = [
            ("```console\n$ a\n```", "line 1: is \"console\" to be run?"),
            ("\n```\na\n```", "line 2: is \"\" to be run?"),
            ("```sh\na", "line 1: the block is never closed"),
            ("<!-- not run: why -->\n\n```sh\na\n```", "line 2: a mark stands right above its block"),
            ("a\n<!-- not run: why -->", "the last mark has no block"),
            ("<!-- not run: -->\n```sh\na\n```", "line 1: `not run:` is no mark"),
            ("<!-- skipped -->\n```sh\na\n```", "line 1: `skipped` is no mark"),
            ("<!-- served -->\n```toml\na\n```", "line 2: toml is never run"),
        ];
        for (page, complaint) in wrong {
            let said = format!("{:#}", blocks(page).expect_err(page));
            assert!(said.contains(complaint), "{said}");
        }
    }
}
