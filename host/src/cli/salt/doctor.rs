//! `returner salt doctor`: what keeps this minion or master from storing through the host,
//! each with the command that mends it.
//!
//! It reads Salt's own configuration, looks at the modules and at the spool in Salt's cache, and
//! talks to the host as the modules do. It changes nothing.

mod host;
mod modules;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::super::output::counted;
use super::super::{Failure, output};
use crate::config::SaltOptions;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The configuration of the minion or master; without it `/etc/salt/minion`, or else
    /// `/etc/salt/master`
    #[arg(long, value_name = "FILE")]
    salt_config: Option<PathBuf>,
    /// It is a master's, where the file's name does not say so
    #[arg(long)]
    master: bool,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    ok: bool,
    what: String,
    /// The command that mends it, or would better it.
    hint: Option<String>,
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = self.salt_config.clone().unwrap_or_else(usual);
        if !path.exists() {
            let message = format!("there is no `{}`", path.display());
            let hint = "`--salt-config FILE` names the configuration of the minion or master";
            return Err(Failure::usage(format!("{message}\n  hint: {hint}")));
        }
        let options = SaltOptions::load(&path).map_err(|errors| Failure::usage(errors.to_string()))?;
        let is_master = self.master || path.file_stem().is_some_and(|stem| stem == "master");
        let mut visit = Visit { options, is_master, findings: Vec::new() };
        visit.ok(format!("this looks at the {} of `{}`", visit.role(), path.display()));
        let known = visit.host().await;
        visit.names(known.as_ref());
        visit.modules(known.as_ref());
        visit.spools();
        visit.unread_keys();
        let Visit { findings, .. } = visit;
        if self.json {
            output::json(&findings)?;
        } else {
            for finding in &findings {
                output::line(&finding.to_string())?;
            }
        }
        match findings.iter().filter(|finding| !finding.ok).count() {
            0 => Ok(()),
            wrong => Err(Failure::failed(format!("{} to mend", counted(wrong as u64, "thing", "things")))),
        }
    }
}

fn usual() -> PathBuf {
    let minion = PathBuf::from("/etc/salt/minion");
    if minion.exists() { minion } else { PathBuf::from("/etc/salt/master") }
}

/// A minion or master that is looked at.
struct Visit {
    options: SaltOptions,
    is_master: bool,
    findings: Vec<Finding>,
}

impl Visit {
    fn ok(&mut self, what: impl Into<String>) {
        self.findings.push(Finding { ok: true, what: what.into(), hint: None });
    }

    /// What works, and could be better.
    fn note(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(Finding { ok: true, what: what.into(), hint: Some(hint.into()) });
    }

    fn wrong(&mut self, what: impl Into<String>, hint: impl Into<String>) {
        self.findings.push(Finding { ok: false, what: what.into(), hint: Some(hint.into()) });
    }

    fn role(&self) -> &'static str {
        if self.is_master { "master" } else { "minion" }
    }

    fn unread_keys(&mut self) {
        for keys in std::mem::take(&mut self.options.unread) {
            let what = format!("`{keys}.*` stands in Salt's file, which the modules do not read");
            let hint =
                "the host's configuration says where a returner stores, and has the profiles of `ret_config`";
            self.note(what, hint);
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match (self.ok, &self.hint) {
            (true, None) => "ok   ",
            (true, Some(_)) => "note ",
            (false, _) => "WRONG",
        };
        write!(f, "{word}  {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}
