//! `returner journal`: the journal of a host that does not run.

use clap::{Args, Subcommand};

use super::{ConfigArgs, Failure, output};
use crate::config::Settings;
use crate::journal;

#[derive(Debug, Args)]
pub(super) struct JournalCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look whether the journal is whole
    Check {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Make a new journal of what can be read of a damaged one, and keep that beside it
    Rescue {
        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl JournalCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Check { config } => check(&config),
            Command::Rescue { config } => rescue(&config),
        }
    }
}

fn check(config: &ConfigArgs) -> Result<(), Failure> {
    let directory = settings(config)?.data.join("journal");
    let health = journal::check(&directory).map_err(|error| Failure::failed(error.to_string()))?;
    let items = output::counted(health.items.unwrap_or(0), "item", "items");
    output::line(&format!("the journal is whole; in it: {items}"))
}

fn rescue(config: &ConfigArgs) -> Result<(), Failure> {
    let directory = settings(config)?.data.join("journal");
    if journal::check(&directory).is_ok() {
        return output::line("the journal is whole; there is nothing to rescue, and nothing was changed");
    }
    let rescued = journal::rescue(&directory).map_err(|error| Failure::failed(error.to_string()))?;
    output::line(&format!(
        "saved {} items and {} dead letters; the damaged journal is in `{}`",
        rescued.items,
        rescued.dead,
        rescued.kept.display()
    ))?;
    match rescued.missing.as_slice() {
        [] => output::line("nothing is missing"),
        missing => Err(Failure::failed(format!("something is missing:\n  {}", missing.join("\n  ")))),
    }
}

fn settings(config: &ConfigArgs) -> Result<crate::config::HostSettings, Failure> {
    let loaded = Settings::load(config.file().as_deref());
    Ok(loaded.map_err(|errors| Failure::usage(errors.to_string()))?.settings.host)
}
