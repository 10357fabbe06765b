//! `returner check`: does what loading does, and says everything that is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::scratch::Scratch;
use super::{ConfigArgs, Failure, output};
use crate::config::{Finding, Settings};
use crate::connections::Connection;
use crate::delivery::{BuildError, Lanes, Returner};
use crate::intake::knock;
use crate::web::{Access, hinted};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Also connect to the servers, and run each plugin's `setup`
    #[arg(long)]
    connect: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What came of it, for programs.
#[derive(Debug, Default, Serialize)]
struct Report {
    findings: Vec<Found>,
    files: Vec<String>,
    returners: Vec<Described>,
    /// With `--connect`, if the configuration is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<Answered>>,
}

/// One thing that is wrong, or that looks so.
#[derive(Debug, Serialize)]
struct Found {
    file: Option<String>,
    /// From 1; none where it is about the file as a whole.
    line: Option<usize>,
    message: String,
    hint: Option<String>,
    error: bool,
}

#[derive(Debug, Serialize)]
struct Described {
    returner: String,
    plugin: String,
    exports: Vec<&'static str>,
}

/// What a server answered: its version, or else why not.
#[derive(Debug, Serialize)]
struct Answered {
    connection: String,
    kind: &'static str,
    server: Option<String>,
    error: Option<String>,
    hint: Option<String>,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut report = Report::default();
        self.look(&mut report).await?;
        if self.json {
            output::json(&report)?;
        }
        report.end()
    }

    async fn look(&self, report: &mut Report) -> Result<(), Failure> {
        let loaded = match Settings::load(self.config.file().as_deref()) {
            Ok(loaded) => loaded,
            Err(errors) => {
                report.findings.extend(errors.findings.iter().map(|finding| Found::of(finding, true)));
                return Ok(());
            }
        };
        report.warn(loaded.warnings.iter().map(|finding| Found::of(finding, false)));
        let settings = Arc::new(loaded.settings);
        report.files = settings.files.iter().map(|file| file.display().to_string()).collect();
        let runtime = Scratch::new()?;
        let returners = match Lanes::check(&settings, &runtime).await {
            Ok(returners) => returners,
            Err(errors) => {
                report.findings.extend(errors.iter().map(|error| Found::of_build(error, &settings)));
                return Ok(());
            }
        };
        if let Err(error) = Access::new(&settings.host.access) {
            report.findings.push(Found::nowhere(&error.to_string(), true));
            return Ok(());
        }
        let warnings = returners.iter().flat_map(|returner| returner.warnings());
        report.warn(warnings.map(|warning| Found::nowhere(&warning, false)));
        report.returners = returners.iter().map(|returner| Described::of(returner)).collect();
        if !self.json {
            report.describe(&settings)?;
        }
        if self.connect { self.connect(&settings, &returners, report).await } else { Ok(()) }
    }

    /// Connects to each server once, and to Salt's event bus, then runs each `setup`; all errors
    /// are said.
    async fn connect(
        &self,
        settings: &Settings,
        returners: &[Arc<Returner>],
        report: &mut Report,
    ) -> Result<(), Failure> {
        let mut servers: BTreeMap<&str, &Arc<Connection>> = BTreeMap::new();
        for returner in returners {
            for (guest, connection) in &returner.grants.connections {
                let name = returner.settings.connections.get(guest).unwrap_or(guest);
                servers.insert(name, connection);
            }
        }
        let mut answered = Vec::new();
        for (name, connection) in servers {
            let answer = connection.check().await.map_err(|error| error.to_string());
            answered.push(Answered::new(name, connection.kind(), answer));
        }
        if let Some(events) = &settings.host.salt_events {
            let address = &events.address;
            let answer = knock(address).await.map(|()| address.to_string()).map_err(|error| {
                format!(
                    "`{address}`: {error}\n  hint: the master must run, and this user be allowed to open it"
                )
            });
            answered.push(Answered::new("host.salt_events", "bus", answer));
        }
        let rows: Vec<_> = answered.iter().filter_map(Answered::row).collect();
        if !self.json && !rows.is_empty() {
            output::line("")?;
            output::table(&["connection", "kind", "server"], rows)?;
        }
        report.findings.extend(answered.iter().filter_map(Answered::finding));
        let all_answered = answered.iter().all(|answer| answer.error.is_none());
        report.connections = Some(answered);
        if all_answered {
            for returner in returners {
                if let Err(error) = returner.set_up().await {
                    let (name, plugin) = (&returner.settings.name, returner.plugin.title());
                    let text = format!("setup of `{name}` ({plugin}): {error}{}", error.printed());
                    report.findings.push(Found::nowhere(&text, true));
                }
            }
        }
        Ok(())
    }
}

impl Report {
    fn warn(&mut self, warnings: impl Iterator<Item = Found>) {
        for warning in warnings {
            output::complain(&warning.to_string());
            self.findings.push(warning);
        }
    }

    fn describe(&self, settings: &Settings) -> Result<(), Failure> {
        let source = match &self.files[..] {
            [] => "no file: the defaults".to_owned(),
            files => files.join(", "),
        };
        output::line(&format!("configuration  {source}"))?;
        output::line(&format!("returns go to  {}", settings.return_to.join(", ")))?;
        let can = |name: &str| {
            let described = self.returners.iter().find(|described| described.returner == name);
            described.is_some_and(|described| described.exports.contains(&"job-cache"))
        };
        let answers = settings.answers(can).unwrap_or("nobody: no plugin of `return` exports `job-cache`");
        output::line(&format!("questions to   {answers}\n"))?;
        let rows = self.returners.iter().map(|described| {
            vec![described.returner.clone(), described.plugin.clone(), described.exports.join(" ")]
        });
        output::table(&["returner", "plugin", "exports"], rows.collect())
    }

    /// What is wrong with the configuration is another exit code than a server that is away.
    fn end(self) -> Result<(), Failure> {
        let errors = self.findings.iter().filter(|found| found.error);
        let errors: Vec<String> = errors.map(ToString::to_string).collect();
        match (&errors[..], &self.connections) {
            ([], _) => Ok(()),
            (_, None) => Err(Failure::usage(errors.join("\n"))),
            (_, Some(_)) => Err(Failure::failed(errors.join("\n"))),
        }
    }
}

impl Found {
    fn of(finding: &Finding, error: bool) -> Self {
        let place = finding.place.as_ref();
        Self {
            file: place.map(|place| place.file.display().to_string()),
            line: place.map(|place| place.line).filter(|line| *line > 0),
            message: finding.message.clone(),
            hint: finding.hint.clone(),
            error,
        }
    }

    fn of_build(error: &BuildError, settings: &Settings) -> Self {
        let (message, hint) = hinted(&error.to_string());
        let place = error.place(settings).cloned();
        Self::of(&Finding { place, message, hint }, true)
    }

    /// Of what is wrong in no one line; the text may end with a hint.
    fn nowhere(text: &str, error: bool) -> Self {
        let (message, hint) = hinted(text);
        Self { file: None, line: None, message, hint, error }
    }
}

/// As everything that is wrong is printed.
impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.error { "error: " } else { "warning: " })?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(out, "{file}:{line}: ")?,
            (Some(file), None) => write!(out, "{file}: ")?,
            (None, _) => {}
        }
        out.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Described {
    fn of(returner: &Returner) -> Self {
        let exports = returner.plugin.exports.iter().map(|interface| interface.name());
        Self {
            returner: returner.settings.name.clone(),
            plugin: returner.plugin.title(),
            exports: exports.collect(),
        }
    }
}

impl Answered {
    fn new(name: &str, kind: &'static str, answer: Result<String, String>) -> Self {
        let (server, (error, hint)) = match answer {
            Ok(version) => (Some(version), (None, None)),
            Err(text) => {
                let (error, hint) = hinted(&text);
                let usual = || {
                    format!(
                        "does the server run, and do the keys of `{name}` say where it is and who asks? A running \
                         host keeps what it takes until then"
                    )
                };
                (None, (Some(error), Some(hint.unwrap_or_else(usual))))
            }
        };
        Self { connection: name.to_owned(), kind, server, error, hint }
    }

    fn row(&self) -> Option<Vec<String>> {
        Some(vec![self.connection.clone(), self.kind.to_owned(), self.server.clone()?])
    }

    fn finding(&self) -> Option<Found> {
        let message = format!("the connection `{}`: {}", self.connection, self.error.as_ref()?);
        Some(Found { hint: self.hint.clone(), ..Found::nowhere(&message, true) })
    }
}
