//! The launcher for tests; `panopticon` is its own launcher.

use std::{env, process::ExitCode};

use provision::{RUN_WITH_PARENT, run_with_parent};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    assert_eq!(arguments.next(), Some(RUN_WITH_PARENT.into()), "a launcher has no other purpose");
    eprintln!("{}", run_with_parent(arguments));
    ExitCode::FAILURE
}
