//! `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Print completions for a shell, to be put where it looks for them.
///
/// For bash: `unipic completions bash > ~/.local/share/bash-completion/completions/unipic`. For zsh: a file `_unipic` in a
/// folder of $fpath. For fish: `~/.config/fish/completions/unipic.fish`.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: Shell,
}

/// Write manual pages, one for each command.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The folder to write them to, such as ~/.local/share/man/man1; made where it is missing.
    pub(crate) folder: PathBuf,
}
