//! `returner`: exit codes, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    returner::main()
}
