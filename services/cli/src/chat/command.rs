//! What a line of a conversation asks for.

use std::path::PathBuf;

use super::files;

/// What can be typed, for people.
pub(super) const HELP: &str = "\
/draw PROMPT       draw an image
/edit INSTRUCTION  change the last image
/image FILE…       take an image from a file, or several; dropping files on the terminal does the same
/save FILE         write the last image (png, jpg or webp)
/new               forget what was said, and all images but the last
/help              this list
/quit              end (so does ctrl-d)
anything else is a question about the images; those taken one after another are asked about together, and one that comes after
a question begins a new conversation";

/// The commands, as they are completed.
pub(super) const NAMES: [&str; 7] = ["draw", "edit", "image", "save", "new", "help", "quit"];

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Draw(String),
    Edit(String),
    Images(Vec<PathBuf>),
    Save(PathBuf),
    New,
    Help,
    Quit,
    Ask(String),
    Nothing,
}

impl Command {
    /// Reads a line.
    ///
    /// # Errors
    /// A sentence, when it begins like a command and is none, or lacks what the command needs.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(Self::Nothing);
        }
        if let Some(files) = files::dropped(line) {
            return Ok(Self::Images(files));
        }
        // Two slashes are for a question that begins with one.
        let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
            return Ok(Self::Ask(line.strip_prefix('/').unwrap_or(line).to_owned()));
        };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let needed = |what: &str| match rest {
            "" => Err(format!("/{name} needs {what}")),
            rest => Ok(rest.to_owned()),
        };
        let alone = |command| match rest {
            "" => Ok(command),
            _ => Err(format!("/{name} takes nothing more")),
        };
        match name {
            "draw" => needed("a prompt").map(Self::Draw),
            "edit" => needed("an instruction").map(Self::Edit),
            "image" => needed("a file").map(|text| Self::Images(files::named(&text))),
            "save" => needed("a file").map(|path| Self::Save(path.into())),
            "new" => alone(Self::New),
            "help" => alone(Self::Help),
            "quit" | "exit" => alone(Self::Quit),
            other => Err(format!("there is no command /{}; /help lists them", other.escape_debug())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_questions() {
        for (line, expected) in [
            ("/draw  a red circle ", Ok(Command::Draw("a red circle".into()))),
            ("/edit make it green", Ok(Command::Edit("make it green".into()))),
            ("/image my cat.png", Ok(Command::Images(vec!["my cat.png".into()]))),
            ("/save a/b.webp", Ok(Command::Save("a/b.webp".into()))),
            ("/new", Ok(Command::New)),
            ("/exit", Ok(Command::Quit)),
            ("  ", Ok(Command::Nothing)),
            ("What is it?", Ok(Command::Ask("What is it?".into()))),
            ("//draw is what?", Ok(Command::Ask("/draw is what?".into()))),
            ("/draw", Err("/draw needs a prompt".to_owned())),
            ("/save  ", Err("/save needs a file".to_owned())),
            ("/new one", Err("/new takes nothing more".to_owned())),
            ("/paint x", Err("there is no command /paint; /help lists them".to_owned())),
            ("/", Err("there is no command /; /help lists them".to_owned())),
        ] {
            assert_eq!(Command::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn every_command_is_in_the_help() {
        for name in NAMES {
            assert!(HELP.contains(&format!("\n/{name} ")) || HELP.starts_with(&format!("/{name} ")), "{name}");
        }
    }
}
