//! `returner plugins crash`: guests that were stopped.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{ConfigArgs, Failure, Reach, output};
use crate::delivery::{Report, Summary};

#[derive(Debug, Args)]
pub(super) struct Crash {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, newest first
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show one: why, where, what it printed; with `--json` what it was given, too
    Show {
        id: u64,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    crashes: Vec<Summary>,
}

impl Crash {
    pub(super) async fn run(self, config: &ConfigArgs, json: bool) -> Result<(), Failure> {
        match self.command {
            Command::List { reach } => list(&Client::of(config, &reach)?, json).await,
            Command::Show { id, reach } => {
                let report = report(&Client::of(config, &reach)?, id).await?;
                if json { output::json(&report) } else { show(&report) }
            }
        }
    }
}

/// The report of this number.
pub(super) async fn report(client: &Client, id: u64) -> Result<Report, Failure> {
    client.get(&format!("/v1/crashes/{id}"), &[]).await
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer: Listed = client.get("/v1/crashes", &[]).await?;
    if json {
        return output::json(&answer);
    }
    let row = |entry: &Summary| {
        let Summary { id, at, returner, plugin, function, reason, item } = entry;
        let item = item.clone().unwrap_or_default();
        vec![
            id.to_string(),
            at.clone(),
            returner.clone(),
            plugin.clone(),
            function.clone(),
            reason.clone(),
            item,
        ]
    };
    output::table(
        &["id", "at", "returner", "plugin", "function", "reason", "item"],
        answer.crashes.iter().map(row).collect(),
    )
}

fn show(report: &Report) -> Result<(), Failure> {
    let Report {
        id,
        at,
        returner,
        plugin,
        sha256,
        function,
        reason,
        backtrace,
        stderr,
        item,
        items,
        left_out,
    } = report;
    output::line(&format!(
        "crash {id}: {reason}\n  at        {at}\n  returner  {returner}\n  plugin    {plugin} (SHA-256 {sha256})\n  \
         function  {function}"
    ))?;
    let given = output::counted((items.len() + left_out) as u64, "item", "items");
    output::line(&match item {
        Some(item) => format!("  item      {item}"),
        None => format!("  given     {given}"),
    })?;
    if !backtrace.is_empty() {
        output::line(&format!("where it was:\n{}", backtrace.trim_end()))?;
    }
    if !stderr.is_empty() {
        output::line(&format!("the plugin printed:\n{}", stderr.trim_end()))?;
    }
    match items.is_empty() {
        true => Ok(()),
        false => {
            output::line(&format!("hint: `returner plugins replay {id}` runs the same call again, offline"))
        }
    }
}
