//! `returner salt`: what connects a Salt to the host.

mod backfill;
mod doctor;
mod install;
mod job_cache;
mod own_jobs;

use clap::{Args, Subcommand};

use super::Failure;

#[derive(Debug, Args)]
pub(super) struct SaltCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the modules by which minions and masters reach each configured returner
    Install(install::Install),
    /// Send what the host did not hear of Salt's event bus, from the master's own job cache
    Backfill(backfill::Backfill),
    /// Look at this minion or master, and say what keeps it from storing through the host
    Doctor(doctor::Doctor),
}

impl SaltCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Install(command) => command.run(),
            Command::Backfill(command) => command.run().await,
            Command::Doctor(command) => command.run().await,
        }
    }
}
