//! `returner jobs`: the jobs whose load is known, or one job with its returns.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Client, segment};
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// Show this job and its returns
    jid: Option<String>,
    /// The most jobs to list, the newest of them
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// The returner to ask, instead of the one that the configuration names
    #[arg(long, value_name = "NAME")]
    returner: Option<String>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    jobs: Vec<Job>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    jid: String,
    load: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Returned {
    returns: Vec<Return>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Return {
    minion: String,
    jid: String,
    full: Value,
}

impl Jobs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        let mut query: Vec<_> = self.returner.iter().map(|name| ("returner", name.as_str())).collect();
        match &self.jid {
            Some(jid) => {
                let answer: Returned =
                    client.get(&format!("/v1/jobs/{}/returns", segment(jid)), &query).await?;
                if self.host.json {
                    return output::json(&answer);
                }
                if answer.returns.is_empty() {
                    eprintln!("nothing was returned to the job `{jid}`");
                }
                output::table(
                    &["minion", "function", "success", "return"],
                    answer.returns.iter().map(returned).collect(),
                )
            }
            None => {
                let limit = self.limit.to_string();
                query.push(("limit", &limit));
                let answer: Listed = client.get("/v1/jobs", &query).await?;
                if self.host.json {
                    return output::json(&answer);
                }
                if answer.jobs.is_empty() {
                    eprintln!(
                        "no job is known by its load\n  hint: minions send returns only; the loads are the master's. `returner \
                         jobs JID` shows what was returned to a job"
                    );
                }
                output::table(
                    &["jid", "function", "target", "user"],
                    answer.jobs.iter().map(listed).collect(),
                )
            }
        }
    }
}

fn listed(job: &Job) -> Vec<String> {
    vec![job.jid.clone(), short(&job.load["fun"]), short(&job.load["tgt"]), short(&job.load["user"])]
}

fn returned(answer: &Return) -> Vec<String> {
    let full = &answer.full;
    vec![answer.minion.clone(), short(&full["fun"]), short(&full["success"]), short(&full["return"])]
}

/// A value on one line, cut to what a terminal shows.
fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
