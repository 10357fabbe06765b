//! `returner jobs`: the jobs whose load is known, or one job with its returns.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
    load: Box<RawValue>,
}

/// What is known of one job.
#[derive(Debug, Serialize)]
struct Known {
    jid: String,
    /// None where the master's load was never sent.
    load: Option<Box<RawValue>>,
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
    full: Box<RawValue>,
}

/// What is shown of a load or a return, as it stands there: a small JSON can be a hundred times as
/// much in memory once it is read.
#[derive(Debug, Default, Deserialize)]
struct Shown<'a> {
    #[serde(borrow, default)]
    fun: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tgt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tgt_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    arg: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "Minions")]
    expected: Option<&'a RawValue>,
    #[serde(borrow, default)]
    minions: Option<&'a RawValue>,
    #[serde(borrow, default)]
    success: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "return")]
    value: Option<&'a RawValue>,
}

impl<'a> Shown<'a> {
    /// What is not an object has none of it.
    fn of(json: &'a RawValue) -> Self {
        let is_object = json.get().starts_with('{');
        is_object.then(|| serde_json::from_str(json.get()).ok()).flatten().unwrap_or_default()
    }
}

/// The most characters of a cell of a table, and of a line of its own.
const CELL: usize = 60;
const LINE: usize = 500;

/// The longest text that is read for one, in bytes; of a longer one stands the JSON's beginning.
const READ: usize = 64 << 10;

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
fn described(jid: &str, load: &RawValue) -> String {
    let load = Shown::of(load);
    let target = match text(load.tgt_type, LINE) {
        kind if kind.is_empty() => words(load.tgt, LINE),
        kind => format!("{} ({kind})", words(load.tgt, LINE)),
    };
    let minions = load
        .expected
        .or(load.minions)
        .map_or_else(|| "not known".to_owned(), |minions| words(Some(minions), LINE));
    let rows = [
        ("job", jid.to_owned()),
        ("function", words(load.fun, LINE)),
        ("target", target),
        ("arguments", text(load.arg, LINE)),
        ("minions", minions),
    ];
    rows.map(|(name, value)| format!("{name:<11}{value}\n")).concat()
}

fn listed(job: &Job) -> Vec<String> {
    let load = Shown::of(&job.load);
    vec![job.jid.clone(), words(load.fun, CELL), words(load.tgt, CELL), words(load.user, CELL)]
}

fn returned(answer: &Return) -> Vec<String> {
    let full = Shown::of(&answer.full);
    let minion = answer.minion.clone();
    vec![minion, words(full.fun, CELL), text(full.success, CELL), text(full.value, CELL)]
}

/// Names by commas, as Salt's own command line has them.
fn words(value: Option<&RawValue>, longest: usize) -> String {
    let short = value.filter(|value| value.get().len() <= READ);
    match short.and_then(|value| serde_json::from_str::<Vec<String>>(value.get()).ok()) {
        Some(names) => cut(&names.join(","), longest),
        None => text(value, longest),
    }
}

/// A value on one line, cut to what a terminal shows.
fn text(value: Option<&RawValue>, longest: usize) -> String {
    let json = value.map_or("null", RawValue::get);
    match json.as_bytes().first() {
        Some(b'"') if json.len() <= READ => {
            cut(&serde_json::from_str::<String>(json).unwrap_or_default(), longest)
        }
        _ if json == "null" => String::new(),
        _ => cut(json, longest),
    }
}

fn cut(text: &str, longest: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    match text.char_indices().nth(longest) {
        Some((at, _)) => text[..at].chars().map(clean).chain(['…']).collect(),
        None => text.chars().map(clean).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_salt_says() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).expect("JSON");
        let load = raw(
            r#"{"fun": ["a.b", "c.d"], "tgt": "*", "tgt_type": "glob", "user": null, "Minions": ["w1", "w2"], "minions": []}"#,
        );
        let job = Job { jid: "1".to_owned(), load: load.clone() };
        assert_eq!(listed(&job), ["1", "a.b,c.d", "*", ""]);
        let shown = described("1", &load);
        assert!(shown.contains("target     * (glob)\n") && shown.contains("minions    w1,w2\n"), "{shown}");
        let full = raw(r#"{"fun": "a.b", "success": true, "return": {"k": "line\nnext"}}"#);
        let answer = Return { minion: "w1".to_owned(), jid: "1".to_owned(), full };
        assert_eq!(returned(&answer), ["w1", "a.b", "true", r#"{"k": "line\nnext"}"#]);
        let long = raw(&format!(r#"{{"return": "{}"}}"#, "ä".repeat(READ)));
        assert_eq!(text(Shown::of(&long).value, 3), "\"ää…");
        assert_eq!(listed(&Job { jid: "2".to_owned(), load: raw("[1]") }), ["2", "", "", ""]);
    }
}
