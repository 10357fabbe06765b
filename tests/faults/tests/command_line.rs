//! The program's command line. With a test of it, `cargo test` builds the program, with
//! the same libraries as everything else.

use std::process::{Command, Output};

fn faults(arguments: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_returner-faults")).args(arguments).output();
    run.expect("the program can be run")
}

#[test]
fn help_names_the_faults_and_the_scenarios() {
    let output = faults(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    for word in ["--seed", "--duration", "host-kill", "mysql-cut-committed", "full-of-backlog"] {
        assert!(text.contains(word), "nothing of `{word}`:\n{text}");
    }
}

#[test]
fn what_is_unknown_is_refused() {
    for arguments in [["--faults", "host-kil"], ["--scenario", "strom"], ["--duration", "60"]] {
        let output = faults(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
