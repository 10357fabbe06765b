//! What a plugin is granted that is run without a host: what its `returner.yaml` grants, the
//! same lines as in the host's configuration, and what the command line adds.
//!
//! No server of the configuration is used: those are named on the command line. An SQL
//! connection without one is a database in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::config::{
    Bundled, ConnectionSettings, DeliverySettings, Limits, PluginSource, ReturnerSettings, Settings,
};
use crate::connections::{Connection, OpenError, TimeBounds};
use crate::delivery;
use crate::plugins::{Grants, Plugin};

/// The file beside a plugin that has its lines of configuration.
const BESIDE: &str = "returner.yaml";

#[derive(Debug, Clone, Args)]
pub(super) struct BenchArgs {
    /// The lines of configuration that grant it something; without it `returner.yaml` beside
    /// the component, if there is one
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
    /// An option of the returner
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// A server for a connection, by the plugin's name for it: `db=sqlite::memory:`,
    /// `db=mysql://USER:PASSWORD@HOST/DATABASE`, `redis://HOST/0`, `mongodb://HOST/DATABASE`
    #[arg(long = "connection", value_name = "NAME=URL", value_parser = pair)]
    connections: Vec<(String, String)>,
    /// An origin that it may ask by HTTP: `https://hooks.example`
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_http: Vec<String>,
    /// A peer that it may open a socket to: `tcp://mail.example:25`
    #[arg(long, value_name = "PEER", value_parser = peer)]
    allow_connect: Vec<String>,
}

/// What is granted, before anything is opened.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) settings: ReturnerSettings,
    /// By the plugin's names.
    pub(super) connections: BTreeMap<String, ConnectionSettings>,
}

/// Two words of a command line with a `=` between them.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

impl BenchArgs {
    /// What is granted to a plugin.
    pub(super) fn granted(&self, plugin: &PluginSource) -> Result<Granted, Failure> {
        let mut granted = match self.file(plugin) {
            Some(file) => of_file(&file, plugin, &self.connections)?,
            None => Granted { settings: nothing(plugin), connections: in_memory(plugin)? },
        };
        let declared = &granted.settings.connections;
        let unknown = |(name, _): &&(String, String)| !declared.is_empty() && !declared.contains_key(name);
        if let Some((name, _)) = self.connections.iter().find(unknown) {
            let declared: Vec<String> = declared.keys().map(|name| format!("`{name}`")).collect();
            return Err(Failure::usage(format!(
                "`--connection {name}=...`: its configuration has no connection `{name}`\n  hint: it has {}",
                declared.join(", ")
            )));
        }
        granted.settings.options.extend(self.options.iter().cloned());
        granted.connect(&self.connections)?;
        granted.settings.allow_http.extend(self.allow_http.iter().cloned());
        granted.settings.allow_connect.extend(self.allow_connect.iter().cloned());
        Ok(granted)
    }

    fn file(&self, plugin: &PluginSource) -> Option<PathBuf> {
        let beside = || match plugin {
            PluginSource::File { path, .. } => Some(path.with_file_name(BESIDE)).filter(|path| path.exists()),
            PluginSource::Bundled(_) => None,
        };
        self.grants.clone().or_else(beside)
    }
}

/// What the host refuses, too: an option that the plugin does not know.
pub(super) fn expect_options(settings: &ReturnerSettings, plugin: &Plugin) -> Result<(), Failure> {
    delivery::check_options(settings, plugin).map_err(|error| Failure::usage(error.to_string()))
}

/// An origin, as `allow_http` has it.
fn origin(text: &str) -> Result<String, String> {
    ReturnerSettings::is_origin(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "write it as `https://hooks.example.com`".to_owned())
}

/// A peer, as `allow_connect` has it.
fn peer(text: &str) -> Result<String, String> {
    ReturnerSettings::is_peer(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "write it as `tcp://mail.example:25`".to_owned())
}

impl Granted {
    /// Servers by the plugin's names for them, as the command line has them.
    pub(super) fn connect(&mut self, given: &[(String, String)]) -> Result<(), Failure> {
        for (name, url) in given {
            let wrong = |error: String| Failure::usage(format!("the connection `{name}`: {error}"));
            self.connections.insert(name.clone(), ConnectionSettings::of_url(url).map_err(wrong)?);
        }
        Ok(())
    }

    /// Opens the connections.
    pub(super) fn open(&self) -> Result<Grants, OpenError> {
        let connections = Connection::open_all(&self.connections, TimeBounds::of(&self.settings.limits))?;
        Grants::of(&self.settings, connections)
    }
}

/// A returner that is granted nothing.
pub(super) fn nothing(plugin: &PluginSource) -> ReturnerSettings {
    let name = match plugin {
        PluginSource::Bundled(bundled) => bundled.name().to_owned(),
        PluginSource::File { path, .. } => {
            path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
        }
    };
    ReturnerSettings {
        name,
        plugin: plugin.clone(),
        options: BTreeMap::new(),
        connections: BTreeMap::new(),
        narrowed: BTreeMap::new(),
        limits: Limits::default(),
        delivery: DeliverySettings::default(),
        allow_http: Vec::new(),
        http_headers: BTreeMap::new(),
        allow_connect: Vec::new(),
    }
}

/// What needs no server, for the bundled returner that takes it.
fn in_memory(plugin: &PluginSource) -> Result<BTreeMap<String, ConnectionSettings>, Failure> {
    let PluginSource::Bundled(Bundled::Sqlite3) = plugin else { return Ok(BTreeMap::new()) };
    let memory = ConnectionSettings::of_url("sqlite::memory:").map_err(Failure::usage)?;
    Ok(BTreeMap::from([("db".to_owned(), memory)]))
}

/// What a file grants to the returner whose plugin this is.
fn of_file(file: &Path, plugin: &PluginSource, given: &[(String, String)]) -> Result<Granted, Failure> {
    let loaded = Settings::load(Some(file)).map_err(|errors| Failure::usage(errors.to_string()))?;
    let settings = loaded.settings;
    let is_it = |returner: &&ReturnerSettings| is_same(&returner.plugin, plugin);
    let Some(returner) = settings.returners.values().find(is_it) else {
        let message = format!("no returner of `{}` has this plugin", file.display());
        return Err(Failure::usage(format!(
            "{message}\n  hint: `NAME.plugin` there names it, or `--grants FILE` another file"
        )));
    };
    let mut connections = BTreeMap::new();
    for (name, host) in &returner.connections {
        if given.iter().any(|(given, _)| given == name) {
            continue;
        }
        let stand_in = match settings.connections.get(host) {
            Some(ConnectionSettings::Mysql(_) | ConnectionSettings::Sqlite(_)) => {
                ConnectionSettings::of_url("sqlite::memory:").map_err(Failure::usage)?
            }
            Some(ConnectionSettings::Postgres(_)) => {
                return Err(no_server(name, "postgres://USER:PASSWORD@127.0.0.1/returner_test"));
            }
            Some(ConnectionSettings::Redis(_)) => return Err(no_server(name, "redis://127.0.0.1:6379/15")),
            Some(ConnectionSettings::Mongo(_)) => {
                return Err(no_server(name, "mongodb://127.0.0.1:27017/returner_test"));
            }
            // The configuration has seen to it that it is declared.
            None => continue,
        };
        connections.insert(name.clone(), stand_in);
    }
    Ok(Granted { settings: returner.clone(), connections })
}

fn no_server(name: &str, url: &str) -> Failure {
    Failure::usage(format!(
        "the connection `{name}` needs a server\n  hint: `--connection {name}={url}` names one that nothing else uses"
    ))
}

fn is_same(one: &PluginSource, other: &PluginSource) -> bool {
    match (one, other) {
        (PluginSource::File { path: one, .. }, PluginSource::File { path: other, .. }) => {
            let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            real(one) == real(other)
        }
        (PluginSource::Bundled(one), PluginSource::Bundled(other)) => one == other,
        _ => false,
    }
}
