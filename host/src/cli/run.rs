//! `returner plugins run`: one plugin without a host: what it is given, what it asks for and
//! is answered, and what comes of it.
//!
//! The sandbox is the host's. What is granted is named on the command line, and nothing else.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use parking_lot::Mutex;
use serde::Serialize;

use super::bench::{BenchArgs, expect_options};
use super::scratch::Scratch;
use super::{Failure, output, watch};
use crate::config::PluginSource;
use crate::connections::{Connection, HttpRequest, HttpResponse, Purpose};
use crate::items::{self, Item, Kind};
use crate::journal::now;
use crate::plugins::{Asked, Bench, CallError, Delivery, Fault, Grants, Instance, Interface, Plugin, advice};

/// The longest text of one call or answer that is printed, in bytes.
const MOST: usize = 2000;

/// What it is given where no file is named.
const SAMPLE: &str = r#"[
{"jid": "20260214093012345678", "id": "web1", "fun": "test.ping", "return": true, "retcode": 0, "success": true},
{"jid": "20260214093012345678", "id": "web2", "fun": "test.ping", "return": true, "retcode": 0, "success": true},
{"jid": "20260214093013000001", "id": "web1", "fun": "cmd.run", "fun_args": ["uptim"],
 "return": "/bin/sh: 1: uptim: not found", "retcode": 127, "success": false}
]"#;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The component
    file: PathBuf,
    /// Returns to give it, as NDJSON or a JSON array; `-` is stdin. Three of them without this
    #[arg(long, value_name = "FILE")]
    returns: Option<PathBuf>,
    /// Loads to give it before
    #[arg(long, value_name = "FILE")]
    loads: Option<PathBuf>,
    /// Events to give it afterwards
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Say that all of it was delivered before
    #[arg(long)]
    redelivered: bool,
    /// Build it by `make` in its folder, and do all of this again, on each change of a file there
    #[arg(long)]
    watch: bool,
    /// SQL to run first, on the first connection that takes SQL
    #[arg(long, value_name = "SQL")]
    prepare: Vec<String>,
    #[command(flatten)]
    bench: BenchArgs,
}

/// What came of it, for programs.
#[derive(Debug, Default, Serialize)]
struct Report {
    calls: Vec<Call>,
    stored: usize,
    refused: Vec<Refused>,
    #[serde(skip)]
    set_up: bool,
    /// Why a whole call failed, or was stopped.
    failure: Option<String>,
    printed: String,
    memory: usize,
}

/// The calls of the host by the plugin, which are printed as they come.
struct Calls {
    printing: bool,
    calls: Mutex<Vec<Call>>,
}

#[derive(Debug, Serialize)]
struct Call {
    call: String,
    answer: String,
}

#[derive(Debug, Serialize)]
struct Refused {
    item: String,
    reason: String,
}

impl Bench for Calls {
    fn fault(&self, _: &Asked) -> Option<Fault> {
        None
    }

    fn answered(&self, asked: &Asked, answer: &str) {
        let (call, answer) = (cut(asked.to_string()), cut(answer.to_owned()));
        if self.printing {
            let _ = output::line(&format!("  {call}"));
            if !answer.is_empty() {
                let _ = output::line(&format!("    -> {answer}"));
            }
        }
        self.calls.lock().push(Call { call, answer });
    }

    fn respond(&self, _: &HttpRequest, _: bool) -> Option<HttpResponse> {
        None
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push_str("...");
    }
    text
}

impl Run {
    pub(super) async fn run(self, json: bool) -> Result<(), Failure> {
        match self.watch {
            true => watch::on_each_change(&self.file, async || self.once(json).await).await,
            false => self.once(json).await,
        }
    }

    async fn once(&self, json: bool) -> Result<(), Failure> {
        let runtime = Scratch::new()?;
        let source = PluginSource::File { path: self.file.clone(), sha256: None };
        let granted = self.bench.granted(&source)?;
        let plugin = runtime.load(&source).await.map_err(|error| Failure::failed(error.to_string()))?;
        expect_options(&granted.settings, &plugin)?;
        let plugin = Arc::new(plugin);
        let batches = self.batches(&plugin)?;
        let calls = Arc::new(Calls { printing: !json, calls: Mutex::default() });
        let bench = Arc::clone(&calls) as Arc<dyn Bench>;
        let grants = granted.open().map_err(|error| Failure::usage(error.to_string()))?;
        let grants = Arc::new(Grants { bench: Some(bench), ..grants });
        self.prepare(&grants).await?;
        let mut report = Report::default();
        let ran = Box::pin(run(&plugin, &grants, &batches, self.redelivered, json, &mut report)).await;
        report.calls = std::mem::take(&mut *calls.calls.lock());
        if let Err(error) = ran {
            report.failure = Some(match &error {
                CallError::Failed(failure) => {
                    format!("{error}\n  ({})", what_follows(failure, report.set_up))
                }
                _ => error.to_string(),
            });
            if let CallError::Stopped(trap) = &error {
                // What stopped it before any call.
                if report.printed.is_empty() {
                    report.printed.clone_from(&trap.stderr);
                }
                if !json && !trap.backtrace.is_empty() {
                    output::line(trap.backtrace.trim_end())?;
                }
            }
        }
        if json {
            output::json(&report)?;
        } else if !report.printed.trim().is_empty() {
            output::line(&format!("it printed:\n{}", report.printed.trim_end()))?;
        }
        match report.failure {
            Some(failure) => Err(Failure::failed(match advice(&report.printed) {
                Some(advice) => format!("{failure}\n  hint: {advice}"),
                None => failure,
            })),
            None => Ok(()),
        }
    }

    /// What it is given, in the order in which a lane delivers.
    fn batches(&self, plugin: &Plugin) -> Result<Vec<(Kind, Vec<Item>)>, Failure> {
        let mut batches = Vec::new();
        let given = [
            (Kind::Load, &self.loads, Interface::Loads),
            (Kind::Return, &self.returns, Interface::Returns),
            (Kind::Event, &self.events, Interface::Events),
        ];
        for (kind, file, interface) in given {
            let (text, name) = match file {
                Some(_) if !plugin.exports.contains(&interface) => {
                    let message = format!("`{}` does not export `{interface}`", plugin.title());
                    return Err(Failure::usage(format!("{message}: it takes no {}s", kind.name())));
                }
                Some(path) => (read(path)?, path.display().to_string()),
                None if kind == Kind::Return && self.loads.is_none() && self.events.is_none() => {
                    (SAMPLE.to_owned(), "the sample".to_owned())
                }
                None => continue,
            };
            batches.push((kind, parse(kind, &text, &name)?));
        }
        Ok(batches)
    }

    async fn prepare(&self, grants: &Grants) -> Result<(), Failure> {
        let Some(statement) = self.prepare.first() else { return Ok(()) };
        let pool = grants.connections.values().find_map(|connection| match &**connection {
            Connection::Sql(pool) => Some(pool),
            _ => None,
        });
        let failed = |statement: &str, error: &str| Failure::failed(format!("`{statement}`: {error}"));
        let pool = pool.ok_or_else(|| {
            failed(statement, "no connection takes SQL\n  hint: `--connection db=sqlite::memory:`")
        })?;
        for statement in &self.prepare {
            let ran = async {
                let mut transaction = pool.begin(Purpose::Write).await.map_err(|error| error.message)?;
                transaction.execute(statement.clone(), Vec::new()).await.map_err(|error| error.message)?;
                transaction.commit().await.map_err(|error| error.to_string())
            };
            ran.await.map_err(|error: String| failed(statement, &error))?;
        }
        Ok(())
    }
}

/// As a lane does: `setup`, then one call a kind.
async fn run(
    plugin: &Arc<Plugin>,
    grants: &Arc<Grants>,
    batches: &[(Kind, Vec<Item>)],
    redelivered: bool,
    json: bool,
    report: &mut Report,
) -> Result<(), CallError> {
    let say = |text: String| if json { Ok(()) } else { output::line(&text) };
    let _ = say(plugin.title());
    let mut instance = Instance::new(plugin, grants).await?;
    if plugin.exports.contains(&Interface::Lifecycle) {
        let _ = say("setup".to_owned());
        let answer = instance.setup().await;
        report.printed += &instance.printed();
        answer?;
    }
    report.set_up = true;
    let accepted = now();
    for (kind, items) in batches {
        let _ = say(format!("store {}", kind.counted(items.len())));
        let given = |item: &Item| Delivery { given: Arc::new(item.clone()), accepted, redelivered };
        let batch = items.iter().map(given).collect();
        let begun = Instant::now();
        let answer = instance.store(*kind, batch).await;
        let took = begun.elapsed();
        report.printed += &instance.printed();
        let refusals = answer?;
        report.stored += items.len() - refusals.len();
        for refusal in &refusals {
            let item = items.get(refusal.index).map(Item::title).unwrap_or_default();
            let reason = refusal.failure.message().to_owned();
            let follows = match &refusal.failure {
                items::Failure::Retry { .. } => RETRIED,
                items::Failure::Reject(_) => "reject: a host makes a dead letter of it",
            };
            let _ = say(format!("  refused: {item}: {reason}\n    ({follows})"));
            report.refused.push(Refused { item, reason });
        }
        let stored = items.len() - refusals.len();
        let memory = bytesize::ByteSize(instance.memory() as u64);
        let _ = say(format!("  stored {stored} of {}, in {took:.1?}, with {memory} of memory", items.len()));
    }
    report.memory = instance.memory();
    Ok(())
}

const RETRIED: &str = "retry: a host tries it again";

/// What a host makes of a call that failed as a whole: `setup`, or one to store.
fn what_follows(failure: &items::Failure, set_up: bool) -> &'static str {
    match failure {
        items::Failure::Retry { .. } => RETRIED,
        items::Failure::Reject(_) if set_up => {
            "reject: a host makes a dead letter of the item that is to blame, once it is known which one that is"
        }
        items::Failure::Reject(_) => "reject: a host takes no such configuration",
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text).map(drop),
        _ => fs::read_to_string(path).map(|content| text = content),
    };
    read.map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", path.display())))?;
    Ok(text)
}

/// The items of a text; `name` is the file's.
fn parse(kind: Kind, text: &str, name: &str) -> Result<Vec<Item>, Failure> {
    let wrong = |error: String| Failure::usage(format!("the {}s of `{name}`: {error}", kind.name()));
    let texts = items::split(text, usize::MAX).map_err(|malformed| wrong(malformed.to_string()))?;
    let parsed = texts.into_iter().enumerate().map(|(index, text)| {
        let numbered = |reason: String| wrong(format!("number {}: {reason}", index + 1));
        let text = text.map_err(|malformed| numbered(malformed.to_string()))?;
        let item = items::parse(kind, text, || "20260214093000000000".to_owned());
        item.map_err(|invalid| numbered(invalid.to_string()))
    });
    parsed.collect()
}
