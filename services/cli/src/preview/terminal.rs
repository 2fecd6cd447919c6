//! What the terminal can show, told by the variables that terminals set.
//!
//! Asking the terminal itself would be surer and is not done: an answer that comes late lands in what the person types.

use console::Term;

use super::Protocol;

/// A terminal, as far as it says what it is.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    /// Standard error is one.
    is_there: bool,
    /// Columns of text.
    pub(super) columns: u16,
    /// Rows of text.
    pub(super) rows: u16,
    /// `TERM`.
    term: String,
    /// `TERM_PROGRAM`, or `LC_TERMINAL`, which survives ssh.
    program: String,
    /// `COLORTERM`.
    colorterm: String,
    /// `KITTY_WINDOW_ID` is set.
    in_kitty: bool,
    /// `TMUX` is set: what is between swallows graphics.
    in_tmux: bool,
    /// `NO_COLOR` is set to something.
    no_colour: bool,
}

/// How many colours text can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    /// Every RGB value.
    All,
    /// The usual table of 256.
    Table,
}

impl Terminal {
    /// The one that standard error is.
    pub(super) fn of_standard_error() -> Self {
        let term = Term::stderr();
        let (rows, columns) = term.size();
        let said = |name: &str| std::env::var(name).unwrap_or_default();
        let program = [said("TERM_PROGRAM"), said("LC_TERMINAL")].into_iter().find(|name| !name.is_empty());
        Self {
            is_there: term.is_term(),
            columns,
            rows,
            term: said("TERM"),
            program: program.unwrap_or_default(),
            colorterm: said("COLORTERM"),
            in_kitty: !said("KITTY_WINDOW_ID").is_empty(),
            in_tmux: !said("TMUX").is_empty(),
            no_colour: !said("NO_COLOR").is_empty(),
        }
    }

    /// The best way to show an image here; `None` where there is no terminal, a dumb one, or colour is not wanted.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        if !self.is_there || self.no_colour || ["", "dumb"].contains(&self.term.as_str()) {
            return None;
        }
        let is_wrapped = self.in_tmux || self.term.starts_with("screen") || self.term.starts_with("tmux");
        let graphics = match self.program.as_str() {
            "iTerm.app" | "iTerm2" | "WezTerm" => Some(Protocol::ITerm2),
            "ghostty" => Some(Protocol::Kitty),
            _ if self.in_kitty || ["xterm-kitty", "xterm-ghostty"].contains(&self.term.as_str()) => {
                Some(Protocol::Kitty)
            }
            _ if ["foot", "mlterm"].iter().any(|name| self.term.starts_with(name)) => Some(Protocol::Sixel),
            _ => None,
        };
        Some(graphics.filter(|_| !is_wrapped).unwrap_or(Protocol::Blocks(self.colours())))
    }

    /// The colours that text can have.
    pub(super) fn colours(&self) -> Colours {
        let says_all = ["truecolor", "24bit"].contains(&self.colorterm.as_str()) || self.term.ends_with("-direct");
        if says_all { Colours::All } else { Colours::Table }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(term: &str) -> Terminal {
        Terminal { is_there: true, term: term.into(), columns: 80, rows: 24, ..Terminal::default() }
    }

    #[test]
    fn terminals_are_known_by_what_they_say() {
        let blocks = Protocol::Blocks(Colours::Table);
        for (terminal, expected) in [
            (terminal("xterm-256color"), Some(blocks)),
            (Terminal { colorterm: "truecolor".into(), ..terminal("xterm") }, Some(Protocol::Blocks(Colours::All))),
            (terminal("xterm-kitty"), Some(Protocol::Kitty)),
            (Terminal { in_kitty: true, ..terminal("xterm-256color") }, Some(Protocol::Kitty)),
            (Terminal { program: "ghostty".into(), ..terminal("xterm-256color") }, Some(Protocol::Kitty)),
            (Terminal { program: "iTerm.app".into(), ..terminal("xterm-256color") }, Some(Protocol::ITerm2)),
            (Terminal { program: "WezTerm".into(), ..terminal("xterm-256color") }, Some(Protocol::ITerm2)),
            (terminal("foot-extra"), Some(Protocol::Sixel)),
            (Terminal { in_tmux: true, ..terminal("xterm-kitty") }, Some(blocks)),
            (Terminal { in_kitty: true, ..terminal("screen-256color") }, Some(blocks)),
            (terminal("dumb"), None),
            (terminal(""), None),
            (Terminal { no_colour: true, ..terminal("xterm-kitty") }, None),
            (Terminal { is_there: false, ..terminal("xterm-kitty") }, None),
        ] {
            assert_eq!(terminal.protocol(), expected, "{terminal:?}");
        }
    }
}
