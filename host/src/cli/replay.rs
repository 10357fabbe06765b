//! `returner plugins replay`: the call of a crash once more, in a sandbox of its own that
//! reaches no server but those that are named for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::bench::{self, Granted};
use super::client::Client;
use super::scratch::Scratch;
use super::{ConfigArgs, Failure, Reach, crashes, output};
use crate::config::{PluginSource, ReturnerSettings, Settings};
use crate::delivery::Report;
use crate::items::{self, Item, Kind};
use crate::plugins::{CallError, Delivery, Grants, Instance, Plugin};

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The number of the crash, or a file with what `plugins crash show --json` printed
    crash: String,
    /// Run this plugin, and not the one that the configuration has
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// A server for a connection, by the plugin's name for it, as for `plugins run`; without it
    /// there is none, and a call of one ends what was to come. What it stores there stays
    #[arg(long = "connection", value_name = "NAME=URL", value_parser = bench::pair)]
    connections: Vec<(String, String)>,
    #[command(flatten)]
    reach: Reach,
}

/// An item of the call.
struct Given {
    item: Item,
    accepted: u64,
    redelivered: bool,
}

impl Replay {
    /// Fails if the plugin is stopped again.
    pub(super) async fn run(self, config: &ConfigArgs) -> Result<(), Failure> {
        let runtime = Scratch::new()?;
        let report = match self.crash.parse() {
            Ok(id) => crashes::report(&Client::of(config, &self.reach)?, id).await?,
            Err(_) => read(Path::new(&self.crash))?,
        };
        let (kind, given) = given(&report)?;
        let returner = configured(config, &report.returner);
        let source = match (self.plugin.clone(), &returner) {
            (Some(path), _) => PluginSource::File { path, sha256: None },
            (None, Some(returner)) => returner.plugin.clone(),
            (None, None) => {
                let message = format!("the configuration has no returner `{}`", report.returner);
                return Err(Failure::usage(format!("{message}\n  hint: `--plugin FILE` names the plugin")));
            }
        };
        let plugin = runtime.load(&source).await.map_err(|error| Failure::failed(error.to_string()))?;
        output::line(&format!(
            "{} of {}, given {}",
            report.function,
            plugin.title(),
            kind.counted(given.len())
        ))?;
        let returner =
            returner.unwrap_or_else(|| ReturnerSettings { name: report.returner, ..bench::nothing(&source) });
        let grants = self.grants(returner)?;
        let batch: Vec<Delivery> = given
            .into_iter()
            .map(|Given { item, accepted, redelivered }| Delivery {
                given: Arc::new(item),
                accepted,
                redelivered,
            })
            .collect();
        match call(Arc::new(plugin), grants, kind, batch).await {
            Ok(refusals) if refusals.is_empty() => output::line("it was not stopped: it stored all of it"),
            Ok(refusals) => {
                output::line("it was not stopped: it refused")?;
                for refusal in refusals {
                    output::line(&format!("  item {}: {}", refusal.index, refusal.failure.message()))?;
                }
                Ok(())
            }
            Err(CallError::Stopped(trap)) => {
                let (backtrace, stderr) = (trap.backtrace.trim_end(), trap.stderr.trim_end());
                Err(Failure::failed(format!("{}\n{backtrace}\nthe plugin printed:\n{stderr}", trap.reason)))
            }
            Err(error) => output::line(&format!(
                "it was not stopped: it failed: {error}\n  hint: it reaches no server here but those that `--connection NAME=URL` names, and a \
                 call of another ends what was to come"
            )),
        }
    }

    /// The returner's options and limits, and no servers but those that are named here.
    fn grants(&self, returner: ReturnerSettings) -> Result<Grants, Failure> {
        let mut granted = Granted {
            settings: ReturnerSettings {
                allow_http: Vec::new(),
                http_headers: BTreeMap::new(),
                allow_connect: Vec::new(),
                ..returner
            },
            connections: BTreeMap::new(),
        };
        granted.connect(&self.connections)?;
        granted.open().map_err(|error| Failure::usage(error.to_string()))
    }
}

/// With `setup` before, where there is a server that may have nothing yet.
async fn call(
    plugin: Arc<Plugin>,
    grants: Grants,
    kind: Kind,
    batch: Vec<Delivery>,
) -> Result<Vec<items::Refusal>, CallError> {
    let grants = Arc::new(grants);
    let mut instance = Instance::new(&plugin, &grants).await?;
    if !grants.connections.is_empty() {
        instance.setup().await?;
    }
    instance.store(kind, batch).await
}

fn read(path: &Path) -> Result<Report, Failure> {
    let wrong = |error: String| {
        let message = format!("`{}` is no report of a crash: {error}", path.display());
        Failure::usage(format!("{message}\n  hint: `returner plugins crash show ID --json` prints one"))
    };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

/// What the call was given; they are of one kind.
fn given(report: &Report) -> Result<(Kind, Vec<Given>), Failure> {
    let wrong = |what: &str| Failure::failed(format!("the call cannot be run again: {what}"));
    if report.left_out > 0 {
        return Err(wrong("its items were too large to be kept"));
    }
    let first = report.items.first().ok_or_else(|| wrong("it was given no items"))?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == first.kind);
    let kind = kind.ok_or_else(|| wrong("its items are of no kind that this version knows"))?;
    let mut given = Vec::new();
    for one in &report.items {
        let item =
            items::parse(kind, &one.body, String::new).map_err(|invalid| wrong(&invalid.to_string()))?;
        given.push(Given { item, accepted: one.accepted, redelivered: one.redelivered });
    }
    Ok((kind, given))
}

/// The returner as the configuration has it, if that can be read and has it.
fn configured(config: &ConfigArgs, name: &str) -> Option<ReturnerSettings> {
    Settings::load(config.file().as_deref()).ok()?.settings.returners.remove(name)
}
