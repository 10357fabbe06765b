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

/// What is known of one job.
#[derive(Debug, Serialize)]
struct Known {
    jid: String,
    /// None where the master's load was never sent.
    load: Option<Value>,
    returns: Vec<Return>,
}

#[derive(Debug, Deserialize)]
struct Returned {
    returns: Vec<Return>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Return {
    minion: String,
    jid: String,
    full: Value,
}

/// The most characters of a cell of a table, and of a line of its own.
const CELL: usize = 60;
const LINE: usize = 500;

impl Jobs {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        match &self.jid {
            Some(jid) => self.one(&client, jid).await,
            None => self.list(&client).await,
        }
    }

    fn query(&self) -> Vec<(&str, &str)> {
        self.returner.iter().map(|name| ("returner", name.as_str())).collect()
    }

    async fn one(&self, client: &Client, jid: &str) -> Result<(), Failure> {
        let (path, query) = (format!("/v1/jobs/{}", segment(jid)), self.query());
        // The returns first: that there are none is no error there, so an error is about the
        // question, and a 404 to the next one about the job.
        let answer: Returned = client.get(&format!("{path}/returns"), &query).await?;
        let job: Option<Job> = client.find(&path, &query).await?;
        let known = Known { jid: jid.to_owned(), load: job.map(|job| job.load), returns: answer.returns };
        if known.load.is_none() && known.returns.is_empty() {
            return Err(Failure::failed(format!(
                "there is no job `{jid}`: neither its load nor a return to it is stored\n  hint: `returner jobs` lists the \
                 jobs whose load is known; `--returner NAME` asks another returner"
            )));
        }
        if self.host.json {
            return output::json(&known);
        }
        if let Some(load) = &known.load {
            output::line(&described(jid, load))?;
        }
        if known.returns.is_empty() {
            output::complain(&format!("nothing was returned to the job `{jid}`"));
        }
        output::table(
            &["minion", "function", "success", "return"],
            known.returns.iter().map(returned).collect(),
        )
    }

    async fn list(&self, client: &Client) -> Result<(), Failure> {
        let (mut query, limit) = (self.query(), self.limit.to_string());
        query.push(("limit", &limit));
        let answer: Listed = client.get("/v1/jobs", &query).await?;
        if self.host.json {
            return output::json(&answer);
        }
        if answer.jobs.is_empty() {
            output::complain(
                "no job is known by its load\n  hint: minions send returns only; the loads are the master's. `returner jobs \
                 JID` shows what was returned to a job",
            );
        }
        output::table(&["jid", "function", "target", "user"], answer.jobs.iter().map(listed).collect())
    }
}

/// What was asked, of whom, and who is expected to answer.
fn described(jid: &str, load: &Value) -> String {
    let minions = load.get("Minions").or_else(|| load.get("minions"));
    let target = match load["tgt_type"].as_str() {
        Some(kind) => format!("{} ({kind})", words(&load["tgt"], LINE)),
        None => words(&load["tgt"], LINE),
    };
    let rows = [
        ("job", jid.to_owned()),
        ("function", words(&load["fun"], LINE)),
        ("target", target),
        ("arguments", text(&load["arg"], LINE)),
        ("minions", minions.map_or_else(|| "not known".to_owned(), |minions| words(minions, LINE))),
    ];
    rows.map(|(name, value)| format!("{name:<11}{value}\n")).concat()
}

fn listed(job: &Job) -> Vec<String> {
    let cell = |name: &str| words(&job.load[name], CELL);
    vec![job.jid.clone(), cell("fun"), cell("tgt"), cell("user")]
}

fn returned(answer: &Return) -> Vec<String> {
    let full = &answer.full;
    let cell = |name: &str| text(&full[name], CELL);
    vec![answer.minion.clone(), words(&full["fun"], CELL), cell("success"), cell("return")]
}

/// Names by commas, as Salt's own command line has them.
fn words(value: &Value, longest: usize) -> String {
    let names = value.as_array().and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    match names {
        Some(names) => text(&Value::String(names.join(",")), longest),
        None => text(value, longest),
    }
}

/// A value on one line, cut to what a terminal shows.
fn text(value: &Value, longest: usize) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
