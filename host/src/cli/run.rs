//! `returner plugins run`: one plugin without a host: what it is given, what it asks for and
//! is answered, and what comes of it.
//!
//! The sandbox is the host's. What is granted is named on the command line, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use parking_lot::Mutex;
use serde::Serialize;

use super::scratch::Scratch;
use super::{Failure, output};
use crate::config::{ConnectionSettings, Limits, PluginSource};
use crate::connections::{AnswerBounds, Connection, HttpBounds, HttpClient, Peers, Purpose};
use crate::items::{self, Item, Kind};
use crate::plugins::{CallError, Delivery, Grants, Instance, Interface, LogBudget, Plugin, Trace};

/// What it is given where no file is named.
const SAMPLE: &str = r#"[
{"jid": "20260214093012345678", "id": "web1", "fun": "test.ping", "return": true, "retcode": 0, "success": true},
{"jid": "20260214093012345678", "id": "web2", "fun": "test.ping", "return": true, "retcode": 0, "success": true},
{"jid": "20260214093013000001", "id": "web1", "fun": "cmd.run", "fun_args": ["uptime"], "return": "up 3 days",
 "retcode": 0, "success": true}
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
    /// An option of the returner
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// A connection to grant, by the plugin's name for it: `db=sqlite::memory:`,
    /// `db=mysql://USER:PASSWORD@HOST/DATABASE`, `redis://HOST/0`, `mongodb://HOST/DATABASE`
    #[arg(long = "connection", value_name = "NAME=URL", value_parser = pair)]
    connections: Vec<(String, String)>,
    /// SQL to run first, on the first connection that takes SQL
    #[arg(long, value_name = "SQL")]
    prepare: Vec<String>,
    /// An origin that it may ask by HTTP: `https://hooks.example`
    #[arg(long, value_name = "ORIGIN")]
    allow_http: Vec<String>,
    /// A peer that it may open a socket to: `tcp://mail.example:25`
    #[arg(long, value_name = "PEER")]
    allow_connect: Vec<String>,
}

/// What came of it, for programs.
#[derive(Debug, Default, Serialize)]
struct Report {
    calls: Vec<Call>,
    stored: usize,
    refused: Vec<Refused>,
    /// Why a whole call failed, or was stopped.
    failure: Option<String>,
    printed: String,
    memory: usize,
}

/// A call of the host by the plugin.
#[derive(Debug, Clone, Serialize)]
struct Call {
    call: String,
    answer: String,
}

#[derive(Debug, Serialize)]
struct Refused {
    item: String,
    reason: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

impl Run {
    pub(super) async fn run(self, json: bool) -> Result<(), Failure> {
        let runtime = Scratch::new()?;
        let source = PluginSource::File { path: self.file.clone(), sha256: None };
        let plugin = runtime.load(&source).await.map_err(|error| Failure::failed(error.to_string()))?;
        let plugin = Arc::new(plugin);
        let batches = self.batches(&plugin)?;
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let grants = Arc::new(self.grants(Arc::clone(&calls), json)?);
        self.prepare(&grants).await?;
        let mut report = Report::default();
        let ran = Box::pin(run(&plugin, &grants, &batches, self.redelivered, json, &mut report)).await;
        report.calls = calls.lock().clone();
        if let Err(error) = ran {
            report.failure = Some(error.to_string());
            if let CallError::Stopped(trap) = &error {
                report.printed.clone_from(&trap.stderr);
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
            Some(failure) => Err(Failure::failed(failure)),
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
            let text = match file {
                Some(_) if !plugin.exports.contains(&interface) => {
                    let message = format!("`{}` does not export `{interface}`", plugin.title());
                    return Err(Failure::usage(format!("{message}: it takes no {}s", kind.name())));
                }
                Some(path) => read(path)?,
                None if kind == Kind::Return && self.loads.is_none() && self.events.is_none() => {
                    SAMPLE.to_owned()
                }
                None => continue,
            };
            batches.push((kind, parse(kind, &text)?));
        }
        Ok(batches)
    }

    fn grants(&self, calls: Arc<Mutex<Vec<Call>>>, json: bool) -> Result<Grants, Failure> {
        let limits = Limits::default();
        let name = self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut connections = BTreeMap::new();
        for (name, url) in &self.connections {
            let wrong = |error: String| Failure::usage(format!("the connection `{name}`: {error}"));
            let settings = ConnectionSettings::of_url(url).map_err(wrong)?;
            let opened = Connection::open(name, &settings, limits.host_call);
            connections
                .insert(name.clone(), Arc::new(opened.map_err(|error| Failure::usage(error.to_string()))?));
        }
        let bounds = HttpBounds {
            time: limits.host_call,
            answer: AnswerBounds { bytes: limits.answer, rows: limits.rows },
            requests: limits.requests as usize,
        };
        let http = (!self.allow_http.is_empty()).then(|| HttpClient::new(&name, &self.allow_http, bounds));
        let http = http.transpose().map_err(|error| Failure::usage(error.to_string()))?;
        let trace = Trace::new(move |call, answer| {
            if !json {
                let _ = output::line(&format!("  {call}\n    -> {answer}"));
            }
            calls.lock().push(Call { call: call.to_owned(), answer: answer.to_owned() });
        });
        Ok(Grants {
            options: self.options.iter().cloned().collect(),
            connections,
            http: http.map(Arc::new),
            peers: (!self.allow_connect.is_empty()).then(|| Arc::new(Peers::new(&self.allow_connect))),
            log: LogBudget::new(limits.log_lines),
            trace: Some(trace),
            ..Grants::nothing(&name)
        })
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
        instance.setup().await?;
    }
    let accepted = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    for (kind, items) in batches {
        let _ = say(format!("store {}", kind.counted(items.len())));
        let batch: Vec<Delivery<'_>> =
            items.iter().map(|item| Delivery { item, accepted, redelivered }).collect();
        let begun = Instant::now();
        let refusals = instance.store(*kind, &batch).await?;
        let took = begun.elapsed();
        report.stored += items.len() - refusals.len();
        for refusal in &refusals {
            let item = items.get(refusal.index).map(Item::title).unwrap_or_default();
            let reason = refusal.failure.message().to_owned();
            let _ = say(format!("  refused: {item}: {reason}"));
            report.refused.push(Refused { item, reason });
        }
        let stored = items.len() - refusals.len();
        let memory = bytesize::ByteSize(instance.memory() as u64);
        let _ = say(format!("  stored {stored} of {}, in {took:.1?}, with {memory} of memory", items.len()));
    }
    report.memory = instance.memory();
    report.printed = instance.printed();
    Ok(())
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

fn parse(kind: Kind, text: &str) -> Result<Vec<Item>, Failure> {
    let wrong = |error: String| Failure::usage(format!("{}s: {error}", kind.name()));
    let texts = items::split(text).map_err(|malformed| wrong(malformed.to_string()))?;
    let parsed = texts.iter().enumerate().map(|(index, text)| {
        let item = items::parse(kind, text, || "20260214093000000000".to_owned());
        item.map_err(|invalid| wrong(format!("number {}: {invalid}", index + 1)))
    });
    parsed.collect()
}
