//! How a failure is told, and with which exit status.

use std::io::Write;
use std::process::ExitCode;

use tonic::Code;
use unipic_client::ClientError;
use unipic_eval::EvalError;
use unipic_trainer::TrainError;

use crate::health::Unhealthy;

/// A request, a flag or a file's contents that is wrong: trying again will not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(String);

/// The person pressed ctrl-c.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// What is wrong, in words.
pub(crate) fn wrong(what: impl Into<String>) -> anyhow::Error {
    Wrong(what.into()).into()
}

/// Exit status of a run that was stopped and can go on: a shell's for SIGINT.
pub(crate) const STOPPED: u8 = 130;

/// Tells what went wrong on standard error and picks the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    // The status still tells where the text cannot be written.
    let _ = writeln!(std::io::stderr(), "error: {}", said(error));
    ExitCode::from(status(error))
}

/// The exit status, as `--help` lists them: 2 for a request, a recipe or a setting that is wrong, 3 when the server cannot be
/// reached or is busy (trying again may help), 130 for a run that was stopped, 1 for everything else.
fn status(error: &anyhow::Error) -> u8 {
    if let Some(failed) = client_error(error) {
        return match failed.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 2,
            Code::Unavailable | Code::ResourceExhausted => 3,
            _ => 1,
        };
    }
    if let Some(Unhealthy::Unreachable(_)) = error.downcast_ref() {
        return 3;
    }
    if error.downcast_ref::<Wrong>().is_some() {
        return 2;
    }
    if error.downcast_ref::<Stopped>().is_some() {
        return STOPPED;
    }
    match (error.downcast_ref::<TrainError>(), error.downcast_ref::<EvalError>()) {
        (Some(TrainError::Stopped { .. }), _) => STOPPED,
        (Some(TrainError::Recipe { .. }), _) => 2,
        (_, Some(EvalError::Setting { .. } | EvalError::Input { .. } | EvalError::OtherRun { .. })) => 2,
        _ => 1,
    }
}

/// What a server said, where the error comes from one.
fn client_error(error: &anyhow::Error) -> Option<&ClientError> {
    error.chain().find_map(|e| e.downcast_ref::<ClientError>())
}

/// The error and its causes in one line; of a server's, what the server said. Some errors tell their cause themselves; it is
/// not told twice.
pub(crate) fn said(error: &anyhow::Error) -> String {
    if let Some(failed) = client_error(error) {
        return failed.to_string();
    }
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.ends_with(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file").context("x: no such file").context("read x");
        assert_eq!(said(&error), "read x: x: no such file");
    }

    #[test]
    fn every_kind_of_failure_has_the_status_that_the_help_promises() {
        let server = |status| anyhow::Error::from(ClientError::from(status)).context("one of many");
        for (error, expected) in [
            (server(Status::invalid_argument("x")), 2),
            (server(Status::out_of_range("x")), 2),
            (server(Status::unavailable("x")), 3),
            (server(Status::resource_exhausted("x")), 3),
            (server(Status::internal("x")), 1),
            (server(Status::deadline_exceeded("x")), 1),
            (wrong("x"), 2),
            (wrong("x").context("in a file"), 2),
            (Stopped.into(), 130),
            (anyhow::anyhow!("x"), 1),
        ] {
            assert_eq!(status(&error), expected, "{error:#}");
        }
    }
}
