//! How a failure is told, and with which exit status.

use std::process::ExitCode;

use tonic::Code;
use unipic_client::ClientError;

/// Tells what went wrong on standard error and picks the exit status: 2 for a request that is wrong, 3 when the server
/// cannot be reached or is busy (trying again may help), 1 for everything else.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let Some(failed) = error.chain().find_map(|e| e.downcast_ref::<ClientError>()) else {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    };
    eprintln!("error: {failed}");
    match failed.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => ExitCode::from(2),
        Code::Unavailable | Code::ResourceExhausted => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}
