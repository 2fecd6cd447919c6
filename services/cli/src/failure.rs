//! How a failure is told, and with which exit status.

mod checkpoint;

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};
use tonic::Code;
use unipic_api::{ApiError, FieldViolation, Reason};
use unipic_client::ClientError;
use unipic_eval::EvalError;
use unipic_telemetry::metrics::code_name;
use unipic_trainer::TrainError;

use crate::health::Unhealthy;
use crate::progress::Progress;

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

/// The same for an error of a part below, where a flag, a file or a setting is to blame for it.
pub(crate) fn as_wrong(error: impl Into<anyhow::Error>) -> anyhow::Error {
    wrong(said(&error.into()))
}

/// Exit status of a run that was stopped and can go on: a shell's for SIGINT.
pub(crate) const STOPPED: u8 = 130;

/// Tells what went wrong, to programs as their last event and to people on standard error, and picks the exit status.
pub(crate) fn report(error: &anyhow::Error, progress: &Progress) -> ExitCode {
    progress.event("error", event(error));
    progress.finish();
    let kind = if error.is::<Stopped>() { "" } else { "error: " };
    // The status still tells where the text cannot be written.
    let _ = writeln!(std::io::stderr(), "{kind}{}", said(error));
    ExitCode::from(status(error))
}

/// Tells what the command line's reader found in place of a command: a mistake, the help or the version.
pub(crate) fn report_unread(error: &clap::Error, progress: &Progress) -> ExitCode {
    let status = u8::try_from(error.exit_code()).unwrap_or(2);
    if error.use_stderr() {
        progress.event("error", json!({ "message": mistake(error), "status": status }));
    }
    let _ = error.print();
    ExitCode::from(status)
}

/// A mistake without the usage and the tips below it, in one line.
fn mistake(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A failure as an event has it: its text and exit status, and of a server's refusal the code and the fields at fault.
pub(crate) fn event(error: &anyhow::Error) -> Value {
    let mut event = json!({ "message": said(error), "status": status(error) });
    if let Some(refusal) = client_error(error) {
        event["code"] = code_name(refusal.code()).into();
        if let ApiError::Invalid(violations) = refusal.api() {
            let field = |v: &FieldViolation| json!({ "field": v.field, "message": v.description });
            event["fields"] = violations.iter().map(field).collect();
        }
    }
    event
}

/// The exit status, as `--help` lists them: 2 for a request, a recipe or a setting that is wrong, 3 when the server cannot be
/// reached or is busy (trying again may help), 130 for a run that was stopped, 1 for everything else.
fn status(error: &anyhow::Error) -> u8 {
    if let Some(failed) = client_error(error) {
        return match failed.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 2,
            // The key is a setting.
            Code::Unauthenticated | Code::PermissionDenied => 2,
            Code::Unavailable | Code::ResourceExhausted => 3,
            _ => 1,
        };
    }
    if let Some(Unhealthy::Unreachable(_)) = error.downcast_ref() {
        return 3;
    }
    if error.is::<Wrong>() || checkpoint::is_wrong(error) {
        return 2;
    }
    if error.is::<Stopped>() {
        return STOPPED;
    }
    match (error.downcast_ref::<TrainError>(), error.downcast_ref::<EvalError>()) {
        (Some(TrainError::Stopped { .. }), _) => STOPPED,
        (Some(TrainError::Recipe { .. } | TrainError::Stage { .. }), _) => 2,
        // A folder that is another's, or another run's.
        (Some(TrainError::Folder { .. } | TrainError::Resume { .. }), _) => 2,
        (_, Some(EvalError::Setting { .. } | EvalError::OtherRun { .. })) => 2,
        (_, Some(EvalError::Input { .. } | EvalError::Read { .. })) => 2,
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
        return match failed.api() {
            ApiError::Unauthenticated => {
                format!("{failed}; give a key that the server knows as UNIPIC_API_KEY or --api-key")
            }
            // What cannot be reached is more often the server itself than one behind it, and its other port a likely slip.
            ApiError::Unavailable { reason: Reason::BackendUnavailable, .. } => {
                "the server, or a service behind it, cannot be reached; --server takes the address for gRPC, such as \
                 http://127.0.0.1:50051, not the one for HTTP"
                    .to_owned()
            }
            _ => failed.to_string(),
        };
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
    fn a_refusal_is_told_to_programs_field_by_field() {
        let refusal = ClientError::from(ApiError::invalid("--iterations", "must be more"));
        let told = event(&anyhow::Error::from(refusal));
        let fields = json!([{ "field": "--iterations", "message": "must be more" }]);
        let message = "invalid request: --iterations: must be more";
        assert_eq!(told, json!({ "message": message, "status": 2, "code": "INVALID_ARGUMENT", "fields": fields }));
        assert_eq!(event(&Stopped.into()), json!({ "message": "stopped", "status": 130 }));
    }

    #[test]
    fn what_a_training_run_cannot_be_helped_by_is_the_callers_to_change() {
        let (path, stage, why) = (std::path::PathBuf::from("run"), "s".to_owned(), "is wrong".to_owned());
        let io = std::io::Error::other("no space");
        for (error, expected) in [
            (TrainError::Recipe { path: path.clone(), why: why.clone() }, 2),
            (TrainError::Stage { stage: stage.clone(), why: why.clone() }, 2),
            (TrainError::Folder { path: path.clone(), why: why.clone() }, 2),
            (TrainError::Resume { path: path.clone(), why }, 2),
            (TrainError::Stopped { stage, step: 1 }, 130),
            (TrainError::Io { path, source: io }, 1),
        ] {
            assert_eq!(status(&error.into()), expected);
        }
    }

    #[test]
    fn every_kind_of_failure_has_the_status_that_the_help_promises() {
        let server = |status| anyhow::Error::from(ClientError::from(status)).context("one of many");
        for (error, expected) in [
            (server(Status::invalid_argument("x")), 2),
            (server(Status::out_of_range("x")), 2),
            (server(Status::unavailable("x")), 3),
            (server(Status::resource_exhausted("x")), 3),
            (server(Status::unauthenticated("x")), 2),
            (server(Status::permission_denied("x")), 2),
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
