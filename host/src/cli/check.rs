//! `returner check`: does what loading does, and says everything that is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;

use super::scratch::Scratch;
use super::{ConfigArgs, Failure, output};
use crate::config::Settings;
use crate::connections::Connection;
use crate::delivery::{Lanes, Returner};
use crate::web::Access;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Also connect to the servers, and run each plugin's `setup`
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let loaded = Settings::load(self.config.file().as_deref());
        let loaded = loaded.map_err(|errors| Failure::usage(errors.to_string()))?;
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
        let settings = Arc::new(loaded.settings);
        let runtime = Scratch::new()?;
        let returners = Lanes::check(&settings, &runtime).await.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(|error| format!("error: {error}")).collect();
            Failure::usage(lines.join("\n"))
        })?;
        Access::new(&settings.host.access).map_err(|error| Failure::usage(error.to_string()))?;
        for warning in returners.iter().flat_map(|returner| returner.warnings()) {
            eprintln!("warning: {warning}");
        }
        describe(&settings, &returners)?;
        if self.connect { connect(&returners).await } else { Ok(()) }
    }
}

fn describe(settings: &Settings, returners: &[Arc<Returner>]) -> Result<(), Failure> {
    let files: Vec<String> = settings.files.iter().map(|file| file.display().to_string()).collect();
    let source = if files.is_empty() { "no file: the defaults".to_owned() } else { files.join(", ") };
    output::line(&format!("configuration  {source}"))?;
    output::line(&format!("returns go to  {}", settings.return_to.join(", ")))?;
    output::line(&format!("questions to   {}\n", settings.job_cache))?;
    let rows = returners.iter().map(|returner| {
        let exports: Vec<&str> = returner.plugin.exports.iter().map(|interface| interface.name()).collect();
        vec![returner.settings.name.clone(), returner.plugin.title(), exports.join(" ")]
    });
    output::table(&["returner", "plugin", "exports"], rows.collect())
}

/// Connects to each server once, then runs each `setup`; all errors are said.
async fn connect(returners: &[Arc<Returner>]) -> Result<(), Failure> {
    let mut servers: BTreeMap<&str, &Arc<Connection>> = BTreeMap::new();
    for returner in returners {
        for (guest, connection) in &returner.grants.connections {
            let name = returner.settings.connections.get(guest).unwrap_or(guest);
            servers.insert(name, connection);
        }
    }
    let mut errors = Vec::new();
    let mut rows = Vec::new();
    for (name, connection) in servers {
        match connection.check().await {
            Ok(version) => rows.push(vec![name.to_owned(), connection.kind().to_owned(), version]),
            Err(error) => errors.push(format!("error: the connection `{name}`: {error}")),
        }
    }
    output::line("")?;
    output::table(&["connection", "kind", "server"], rows)?;
    if errors.is_empty() {
        for returner in returners {
            if let Err(error) = returner.set_up().await {
                errors.push(format!("error: setup of `{}`: {error}", returner.settings.name));
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::failed(errors.join("\n"))) }
}
