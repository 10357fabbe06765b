//! `returner dead`: the items that a returner rejected for good.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::Client;
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct Dead {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, oldest first
    List {
        /// The most to list
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Show one with its item, the reason, and what the plugin printed
    Show {
        id: i64,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Hand dead letters to their returners again
    Replay {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Remove dead letters for good
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        host: HostArgs,
    },
}

/// Which of them: those that fit all that is said.
#[derive(Debug, Args)]
struct Which {
    /// Only of this returner
    #[arg(long, value_name = "NAME")]
    returner: Option<String>,
    /// Only those with these words in the reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those rejected longer ago than this, for example `2h` or `30d`
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// Only those rejected since this long ago
    #[arg(long, value_name = "AGE")]
    newer_than: Option<String>,
}

/// Those to change. Nobody means all by saying nothing.
#[derive(Debug, Args)]
struct Chosen {
    /// These, by the numbers that `dead list` shows
    ids: Vec<i64>,
    #[command(flatten)]
    which: Which,
    /// Every one
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    dead_letters: Vec<Entry>,
    next: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    id: i64,
    returner: String,
    kind: String,
    title: String,
    reason: String,
    plugin: String,
    tries: u32,
    at: String,
    accepted: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Whole {
    #[serde(flatten)]
    entry: Entry,
    stderr: String,
    item: Box<RawValue>,
}

impl Dead {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::List { limit, which, host } => list(&which, limit, &host).await,
            Command::Show { id, host } => show(id, &host).await,
            Command::Replay { chosen, host } => {
                change(Method::POST, "/v1/dead-letters/replay", "replayed", &chosen, &host).await
            }
            Command::Drop { chosen, host } => {
                change(Method::DELETE, "/v1/dead-letters", "dropped", &chosen, &host).await
            }
        }
    }
}

impl Which {
    fn query(&self) -> Vec<(&'static str, String)> {
        let said = [
            ("returner", &self.returner),
            ("reason", &self.reason),
            ("older_than", &self.older_than),
            ("newer_than", &self.newer_than),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

async fn list(which: &Which, limit: usize, host: &HostArgs) -> Result<(), Failure> {
    let mut query = which.query();
    query.push(("limit", limit.to_string()));
    let answer: Listed = Client::new(host)?.get("/v1/dead-letters", &borrowed(&query)).await?;
    if host.json {
        return output::json(&answer);
    }
    output::table(
        &["id", "returner", "rejected at", "tries", "item", "reason"],
        answer.dead_letters.iter().map(row).collect(),
    )?;
    match answer.next {
        Some(_) => output::line("hint: there are more; `--limit` lists more of them"),
        None => Ok(()),
    }
}

async fn show(id: i64, host: &HostArgs) -> Result<(), Failure> {
    let answer: Whole = Client::new(host)?.get(&format!("/v1/dead-letters/{id}"), &[]).await?;
    if host.json {
        return output::json(&answer);
    }
    let Entry { id, returner, title, reason, plugin, tries, at, accepted, .. } = &answer.entry;
    output::line(&format!(
        "dead letter {id}: {title}\n  returner  {returner} ({plugin})\n  accepted  {accepted}\n  \
         rejected  {at}, after {}\n  reason    {}",
        output::counted(u64::from(*tries), "try", "tries"),
        reason.trim_end().replace('\n', "\n            ")
    ))?;
    if !answer.stderr.is_empty() {
        output::line(&format!("the plugin printed:\n{}", answer.stderr.trim_end()))?;
    }
    output::json(&answer.item)?;
    output::line(&format!(
        "hint: `returner dead replay {id}` tries it again, `returner dead drop {id}` removes it"
    ))
}

async fn change(
    method: Method,
    path: &str,
    done: &str,
    chosen: &Chosen,
    host: &HostArgs,
) -> Result<(), Failure> {
    let mut query = chosen.which.query();
    if !chosen.ids.is_empty() {
        query.push(("id", chosen.ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
    }
    if chosen.all {
        query.push(("all", "true".to_owned()));
    }
    if query.is_empty() {
        return Err(Failure::usage(
            "nothing says which dead letters are meant\n  hint: name them by number, by `--returner`, `--reason`, \
             `--older-than` or `--newer-than`, or say `--all`",
        ));
    }
    let answer: Value = Client::new(host)?.call(method, path, &borrowed(&query)).await?;
    if host.json {
        output::json(&answer)?;
    } else {
        output::line(&format!("{} {done}", answer[done]))?;
    }
    let missing = (chosen.ids.len() as u64).saturating_sub(answer[done].as_u64().unwrap_or(0));
    if missing == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{missing} of the {} named are not there, or do not fit what else is said\n  hint: `returner dead list` shows \
         which there are",
        chosen.ids.len()
    )))
}

fn row(entry: &Entry) -> Vec<String> {
    let reason = entry.reason.lines().next().unwrap_or_default();
    vec![
        entry.id.to_string(),
        entry.returner.clone(),
        entry.at.clone(),
        entry.tries.to_string(),
        entry.title.clone(),
        reason.to_owned(),
    ]
}

fn borrowed<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    query.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
