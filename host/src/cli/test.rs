//! `returner plugins test`: the conformance kit on one plugin.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::bench::{BenchArgs, Granted, expect_options};
use super::scratch::Scratch;
use super::{ConfigArgs, Failure, output, plugins};
use crate::conformance::{Checked, Kit, Verdict};

#[derive(Debug, Args)]
pub(super) struct Test {
    /// The component, or a bundled plugin's name
    plugin: String,
    /// SQL for tables that the plugin does not create itself, for each store that has none
    #[arg(long, value_name = "SQL")]
    prepare: Vec<String>,
    /// How many calls the check of its memory makes
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    calls: usize,
    /// What it sends by sockets of its own is real: allow that, to a receiver that is for tests
    #[arg(long)]
    real_sockets: bool,
    /// The JSON that its requests by HTTP are answered with, and status 200; without it, `{}`. They
    /// go nowhere
    #[arg(long, value_name = "FILE")]
    http_answer: Option<PathBuf>,
    /// Write the report as JUnit's XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    bench: BenchArgs,
}

impl Test {
    pub(super) async fn run(self, config: &ConfigArgs, json: bool) -> Result<(), Failure> {
        let source = plugins::source(&self.plugin, config)?;
        let Granted { settings, connections } = self.bench.granted(&source)?;
        if !settings.allow_connect.is_empty() && !self.real_sockets {
            let peers = settings.allow_connect.join(", ");
            return Err(Failure::usage(format!(
                "it may open sockets of its own to {peers}, and what it sends there is real, thousands of times\n  hint: \
                 `--real-sockets` says that what listens there is for tests"
            )));
        }
        let runtime = Scratch::new()?;
        let plugin = runtime.load(&source).await.map_err(|error| Failure::failed(error.to_string()))?;
        expect_options(&settings, &plugin)?;
        if !json {
            output::line(&plugin.title())?;
        }
        let http_answer = self.http_answer.as_deref().map_or_else(|| Ok(b"{}".to_vec()), read_answer)?;
        let (plugin, prepare, calls) = (Arc::new(plugin), self.prepare, self.calls);
        let kit = Kit { plugin, settings, connections, prepare, calls, http_answer };
        let told = |checked: &Checked| {
            if !json {
                let _ = print(checked);
            }
        };
        let report = kit.run(told).await.map_err(Failure::usage)?;
        if json {
            output::json(&report)?;
        }
        if let Some(path) = &self.junit {
            let written = report.junit().map_err(|error| error.to_string());
            let written = written.and_then(|xml| fs::write(path, xml).map_err(|error| error.to_string()));
            written
                .map_err(|error| Failure::failed(format!("cannot write `{}`: {error}", path.display())))?;
        }
        if !report.seen {
            output::complain(
                "warning: no check could see anything of what it stores\n  hint: \
                 one that loses everything would pass, too; grant what it needs: `--connection`, `--allow-http`, \
                 `--option`",
            );
        }
        match report.failed() {
            0 => Ok(()),
            failed => {
                let failed = output::counted(failed as u64, "check", "checks");
                Err(Failure::failed(format!("`{}` fails {failed}", report.plugin)))
            }
        }
    }
}

fn read_answer(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", path.display())))
}

fn print(Checked { name, about, verdict, took }: &Checked) -> Result<(), Failure> {
    let took = format!("{:.1}s", took.as_secs_f64());
    match verdict {
        Verdict::Held => output::line(&format!("ok         {name:<16}  {about} ({took})")),
        Verdict::NotTried(why) => output::line(&format!("not tried  {name:<16}  {why}")),
        Verdict::Failed(wrong) => {
            output::line(&format!("FAILED     {name:<16}  {about}"))?;
            wrong.iter().try_for_each(|wrong| output::line(&format!("  {wrong}")))
        }
    }
}
