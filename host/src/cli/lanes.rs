//! `returner lanes`: what is kept for returners that are not in the configuration any more.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

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

impl LanesCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Command::Drop { name, host } = self.command;
        let path = format!("/v1/lanes/{}", segment(&name));
        let answer: Value = Client::new(&host)?.call(Method::DELETE, &path, &[]).await?;
        if host.json {
            return output::json(&answer);
        }
        output::line(&format!("{} items of `{name}` are gone", answer["dropped"]))
    }
}
