//! Turns a released checkpoint into a converted one: `unipic-convert SOURCE DESTINATION`.
//!
//! Also the process in which pickles are read for programs that cannot start themselves again, such as tests.

use std::path::Path;
use std::process::ExitCode;

use unipic_weights::{OpenOptions, convert, pickle};

fn main() -> ExitCode {
    if let Some(code) = pickle::child_main() {
        return code;
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, destination] = &arguments[..] else {
        eprintln!("usage: unipic-convert SOURCE DESTINATION");
        return ExitCode::from(2);
    };
    let converted = convert(Path::new(source), Path::new(destination), &OpenOptions::default(), None, &mut |_| {});
    match converted {
        Ok(report) => {
            println!("{} tensors, {} bytes, sha256 {}", report.n_tensors, report.n_bytes, report.sha256);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
