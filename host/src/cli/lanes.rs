//! `returner lanes`: what is kept for returners that are not in the configuration any more.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::{Client, segment};
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct LanesCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove for good what is kept for a returner that is gone
    Drop {
        /// Its name, as `returner status` shows it
        name: String,
        #[command(flatten)]
        host: HostArgs,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Dropped {
    dropped: u64,
    dead_letters: u64,
}

impl LanesCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Command::Drop { name, host } = self.command;
        let path = format!("/v1/lanes/{}", segment(&name));
        let answer: Dropped = Client::new(&host)?.call(Method::DELETE, &path, &[]).await?;
        if host.json {
            return output::json(&answer);
        }
        let Dropped { dropped, dead_letters } = answer;
        let items = output::counted(dropped, "item", "items");
        let dead_letters = output::counted(dead_letters, "dead letter", "dead letters");
        output::line(&format!("gone for good, of `{name}`: {items}, {dead_letters}"))
    }
}
