//! How a failure is told, and with which exit status.

use std::process::ExitCode;

use tonic::Code;
use unipic_client::ClientError;
use unipic_eval::EvalError;
use unipic_trainer::TrainError;

use crate::health::Unhealthy;

/// Exit status of a run that was stopped and can go on: a shell's for SIGINT.
pub(crate) const STOPPED: u8 = 130;

/// Tells what went wrong on standard error and picks the exit status: 2 for a request, a recipe or a setting that is wrong,
/// 3 when the server cannot be reached or is busy (trying again may help), 130 for a training run that was stopped, 1 for
/// everything else.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let Some(failed) = error.chain().find_map(|e| e.downcast_ref::<ClientError>()) else {
        eprintln!("error: {}", said(error));
        return local(error);
    };
    eprintln!("error: {failed}");
    match failed.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => ExitCode::from(2),
        Code::Unavailable | Code::ResourceExhausted => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}

/// The status of what failed in this process.
fn local(error: &anyhow::Error) -> ExitCode {
    if let Some(Unhealthy::Unreachable(_)) = error.downcast_ref() {
        return ExitCode::from(3);
    }
    match (error.downcast_ref::<TrainError>(), error.downcast_ref::<EvalError>()) {
        (Some(TrainError::Stopped { .. }), _) => ExitCode::from(STOPPED),
        (Some(TrainError::Recipe { .. }), _) => ExitCode::from(2),
        (_, Some(EvalError::Setting { .. } | EvalError::Input { .. } | EvalError::OtherRun { .. })) => {
            ExitCode::from(2)
        }
        _ => ExitCode::FAILURE,
    }
}

/// The error and its causes in one line. Some errors tell their cause themselves; it is not told twice.
fn said(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.ends_with(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file").context("x: no such file").context("read x");
        assert_eq!(said(&error), "read x: x: no such file");
    }
}
