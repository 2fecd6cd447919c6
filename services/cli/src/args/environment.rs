//! What the environment adds to the command line. A variable stands in for a flag that nobody typed: an empty one says
//! nothing, and none of them contradicts what was typed.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, Command, CommandFactory, FromArgMatches};

use super::Cli;

/// Where the server is: the name of [`super::Server::url`].
const SERVER: &str = "url";

/// How to load a model, which has no sense beside a server: the names of [`super::Local`].
const LOCAL: [&str; 4] = ["model", "device", "dtype", "linear"];

/// Reads the command line, the program's name first.
///
/// # Errors
/// What is wrong with it; help and version come this way too.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let typed = typed(arguments);
    let command = throughout(Cli::command(), &|command| settled(command, &typed));
    let mut matches = command.try_get_matches_from(arguments)?;
    Cli::from_arg_matches_mut(&mut matches)
}

/// The names of the arguments that were typed. What is wrong with them is told when they are read for good.
fn typed(arguments: &[OsString]) -> Vec<String> {
    let without_variables = |command: Command| command.ignore_errors(true).mut_args(without_variable);
    let Ok(matches) = throughout(Cli::command(), &without_variables).try_get_matches_from(arguments) else {
        return Vec::new();
    };
    let mut innermost = &matches;
    while let Some((_, matches)) = innermost.subcommand() {
        innermost = matches;
    }
    let is_typed = |name: &&str| innermost.value_source(name) == Some(ValueSource::CommandLine);
    innermost.ids().map(|id| id.as_str()).filter(is_typed).map(str::to_owned).collect()
}

/// A command whose variables are empty no more and contradict nothing: the flag that was typed goes before a variable,
/// and between two variables the server goes before the model.
fn settled(command: Command, typed: &[String]) -> Command {
    let is_typed = |name: &str| typed.iter().any(|typed| typed == name);
    let argument = |name: &str| command.get_arguments().find(|argument| argument.get_id() == name);
    let idle = match (argument(SERVER), argument("model")) {
        (Some(_), Some(_)) if !is_typed(SERVER) && LOCAL.into_iter().any(is_typed) => Some(SERVER),
        (Some(server), Some(_)) if is_typed(SERVER) || variable(server).is_some_and(|url| !url.is_empty()) => {
            Some("model")
        }
        _ => None,
    };
    command.mut_args(|argument| {
        let is_empty = variable(&argument).is_some_and(|value| value.is_empty());
        let is_idle = idle.is_some_and(|name| argument.get_id() == name);
        if is_empty || is_idle { without_variable(argument) } else { argument }
    })
}

fn variable(argument: &Arg) -> Option<OsString> {
    argument.get_env().and_then(std::env::var_os)
}

fn without_variable(argument: Arg) -> Arg {
    argument.env(None::<&'static str>)
}

/// Changes a command and all below it.
fn throughout(command: Command, change: &dyn Fn(Command) -> Command) -> Command {
    change(command).mut_subcommands(|below| throughout(below, change))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed_in(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let mut names = typed(&words);
        names.retain(|name| name.chars().all(|c| c.is_ascii_lowercase()));
        names.sort();
        names
    }

    #[test]
    fn what_was_typed_is_known_even_where_it_is_wrong() {
        assert_eq!(typed_in("unipic generate x --model nano"), ["model", "prompt"]);
        assert_eq!(typed_in("unipic eval nano out --server http://a:1"), ["out", "url"]);
        assert_eq!(typed_in("unipic describe a.png --dtype f32 --sede 1"), ["dtype", "image"]);
        assert_eq!(typed_in("unipic generate --help"), [""; 0]);
    }
}
