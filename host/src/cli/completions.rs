//! `returner completions`: what a shell completes.

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure, output};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For example `bash`: `returner completions bash > /etc/bash_completion.d/returner`
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        // Not to stdout itself: clap panics if a reader goes away.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown(), "returner", &mut script);
        output::line(String::from_utf8_lossy(&script).trim_end())
    }
}

/// The command without what only its own processes run, which a shell would offer too.
fn shown() -> Command {
    let all = Cli::command();
    let subcommands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("returner").args(all.get_arguments().cloned()).subcommands(subcommands)
}
