//! `returner reload`: a running host reads its configuration again.

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct Reload {
    /// Only say what would change, and whether it would be taken
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    applied: bool,
    changes: Vec<Change>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Change {
    subject: String,
    change: String,
    widens: bool,
}

impl Reload {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let dry_run = self.dry_run.to_string();
        let client = Client::new(&self.host)?;
        let answer: Answer = client.call(Method::POST, "/v1/reload", &[("dry_run", &dry_run)]).await?;
        if self.host.json {
            return output::json(&answer);
        }
        for Change { subject, change, widens } in &answer.changes {
            let mark = match *widens {
                true if subject.starts_with("`host.") => "  [opens it to more]",
                true => "  [widens what it can reach]",
                false => "",
            };
            output::line(&format!("{subject}: {change}{mark}"))?;
        }
        for warning in &answer.warnings {
            output::line(&format!("warning: {warning}"))?;
        }
        output::line(match (&answer.changes[..], answer.applied) {
            ([], _) => {
                "nothing differs from what runs\n  hint: a file that is saved is taken within a second, unless \
                 `host.watch: false` leaves that to `returner reload`"
            }
            (_, true) => "applied",
            (_, false) => "not applied: this was a dry run",
        })
    }
}
