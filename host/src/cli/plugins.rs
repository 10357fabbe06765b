//! `returner plugins`: what the bundled plugins, those of the configuration, or a file
//! export and import.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::crashes::Crash;
use super::new::{Bindings, Componentize, New};
use super::replay::Replay;
use super::run::Run;
use super::scratch::Scratch;
use super::test::Test;
use super::trial::Trial;
use super::{ConfigArgs, Failure, output};
use crate::config::{Bundled, PluginSource, Settings};
use crate::plugins::Runtime;

#[derive(Debug, Args)]
pub(super) struct Plugins {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Begin a plugin: a folder that builds as it is
    New(New),
    /// Show what a plugin exports, imports and would need to be granted
    Show {
        /// A bundled plugin's name (`mysql`, `mongo`, `redis`, `sqlite3`), a returner of the
        /// configuration, or a file
        plugin: String,
    },
    /// Plugins that were stopped: why, where, and what they printed
    Crash(Crash),
    /// Run a plugin without a host, and print what it asks for and is answered
    Run(Run),
    /// Check that a plugin keeps to the contract, whatever its servers do
    Test(Test),
    /// Run the call of a crash again, in a sandbox that reaches no server
    Replay(Replay),
    /// Make a component of a core module, the last step of a plugin in C or Go
    Componentize(Componentize),
    /// Make the contract's bindings for C or Go anew, after a change of `wit/`
    Bindings(Bindings),
    /// Run another plugin on the last items of a returner, without a trace, and compare
    Trial(Trial),
}

#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    version: Option<String>,
    /// Of the contract, that it was built for.
    contract: &'static str,
    sha256: String,
    file: Option<PathBuf>,
    exports: Vec<&'static str>,
    imports: Vec<String>,
    options: Option<Vec<String>>,
    needs: Vec<String>,
}

impl Plugins {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(Command::Show { plugin }) => {
                let runtime = Scratch::new()?;
                let shown = load(&runtime, source(&plugin, &self.config)?).await?;
                if self.json { output::json(&shown) } else { print(&shown) }
            }
            Some(Command::New(new)) => new.run(),
            Some(Command::Componentize(componentize)) => componentize.run(),
            Some(Command::Bindings(bindings)) => bindings.run(),
            Some(Command::Run(run)) => run.run(self.json).await,
            Some(Command::Test(test)) => test.run(&self.config, self.json).await,
            Some(Command::Replay(replay)) => replay.run(&self.config).await,
            Some(Command::Crash(crash)) => crash.run(&self.config, self.json).await,
            Some(Command::Trial(trial)) => trial.run(&self.config, self.json).await,
            None => list(&self.config, self.json).await,
        }
    }
}

async fn list(config: &ConfigArgs, json: bool) -> Result<(), Failure> {
    let runtime = Scratch::new()?;
    let mut all = Vec::new();
    for (name, source) in known(config)? {
        all.push((name, load(&runtime, source).await?));
    }
    if json {
        return output::json(&all.into_iter().map(|(_, shown)| shown).collect::<Vec<_>>());
    }
    let rows = all.into_iter().map(|(name, shown)| {
        let version = shown.version.unwrap_or_default();
        vec![name, version, shown.exports.join(" "), shown.needs.join(", ")]
    });
    output::table(&["plugin", "version", "exports", "needs"], rows.collect())
}

/// The bundled plugins, and the files of the configuration by the returners that have them.
fn known(config: &ConfigArgs) -> Result<Vec<(String, PluginSource)>, Failure> {
    let loaded = Settings::load(config.file().as_deref());
    let settings = loaded.map_err(|errors| Failure::usage(errors.to_string()))?.settings;
    let bundled = Bundled::ALL.map(|bundled| (bundled.name().to_owned(), PluginSource::Bundled(bundled)));
    let customs = settings.returners.into_values().filter_map(|returner| match returner.plugin {
        source @ PluginSource::File { .. } => Some((returner.name, source)),
        PluginSource::Bundled(_) => None,
    });
    Ok(bundled.into_iter().chain(customs).collect())
}

/// A file is looked at without reading the configuration: it may be what is wrong there.
pub(super) fn source(plugin: &str, config: &ConfigArgs) -> Result<PluginSource, Failure> {
    if let Some(bundled) = Bundled::from_name(plugin) {
        return Ok(PluginSource::Bundled(bundled));
    }
    let path = Path::new(plugin);
    if path.is_file() || path.components().count() > 1 || path.extension().is_some() {
        return Ok(PluginSource::File { path: path.to_owned(), sha256: None });
    }
    let known = known(config)?;
    match known.iter().find(|(name, _)| name == plugin) {
        Some((_, source)) => Ok(source.clone()),
        None => {
            let names: Vec<String> = known.iter().map(|(name, _)| format!("`{name}`")).collect();
            Err(Failure::usage(format!(
                "there is no plugin and no file `{plugin}`\n  hint: there are {}",
                names.join(", ")
            )))
        }
    }
}

async fn load(runtime: &Runtime, source: PluginSource) -> Result<Shown, Failure> {
    let plugin = runtime.load(&source).await.map_err(|error| Failure::failed(error.to_string()))?;
    let needs = plugin.needs().into_iter().map(|need| need.grant().to_owned()).collect();
    Ok(Shown {
        name: plugin.name,
        version: plugin.version,
        contract: plugin.contract,
        sha256: plugin.sha256,
        file: plugin.file,
        exports: plugin.exports.iter().map(|interface| interface.name()).collect(),
        imports: plugin.imports,
        options: plugin.options.map(|options| options.into_iter().collect()),
        needs,
    })
}

fn print(shown: &Shown) -> Result<(), Failure> {
    let list = |names: &[String]| match names {
        [] => "nothing".to_owned(),
        names => names.join("\n         "),
    };
    let exports: Vec<String> = shown.exports.iter().map(|name| (*name).to_owned()).collect();
    let options = shown.options.as_deref().map_or_else(|| "it does not say".to_owned(), list);
    output::line(&format!("plugin   {} {}", shown.name, shown.version.as_deref().unwrap_or("(no version)")))?;
    output::line(&format!("built    for the contract salt:returner {}", shown.contract))?;
    output::line(&format!("sha256   {}", shown.sha256))?;
    output::line(&format!("exports  {}", list(&exports)))?;
    output::line(&format!("imports  {}", list(&shown.imports)))?;
    output::line(&format!("options  {options}"))?;
    output::line(&format!("needs    {}", list(&shown.needs)))
}
