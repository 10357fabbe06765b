//! `returner-faults --seed S --duration 10m`: the oracle, for as long as asked.
//!
//! Prints its seed first. Ends with 1 if a promise was broken: then it prints what, and
//! the seed once more, and keeps logs, journals and the servers' data.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use returner_faults::{Fault, Options, Scenario, run};
use returner_servers::program;

/// Faults while returns flow, and a look whether each that was acknowledged is stored.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Repeats a run; a random one if it is not given
    #[arg(long)]
    seed: Option<u64>,
    /// How long a storm or a soak goes on
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// What fails in a storm; everything if it is not given
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// How many clients send
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Which scenarios, one after the other
    #[arg(long, value_delimiter = ',', default_value = "storm")]
    scenario: Vec<Scenario>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let faults: BTreeSet<Fault> = match arguments.faults.is_empty() {
        true => Fault::all(),
        false => arguments.faults.into_iter().collect(),
    };
    let options = Options { seed, duration: arguments.duration, faults, clients: arguments.clients };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be had");
    for scenario in arguments.scenario {
        let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(scenario, &options))));
        match ran {
            Ok(summary) => println!("{scenario:?}: {summary}"),
            Err(_) => {
                println!("{scenario:?} FAILED; seed {seed}; logs are kept in {}", kept(seed).display());
                return ExitCode::from(1);
            }
        }
    }
    ExitCode::SUCCESS
}

/// Moves what the run left to where later ones do not remove it.
fn kept(seed: u64) -> PathBuf {
    let target =
        program().parent().and_then(|release| release.parent()).map(PathBuf::from).unwrap_or_default();
    let left = target.join("test-servers").join(std::process::id().to_string());
    let kept = target.join("faults").join(format!("seed-{seed}-{}", std::process::id()));
    let moved = std::fs::create_dir_all(target.join("faults")).and_then(|()| std::fs::rename(&left, &kept));
    if moved.is_ok() { kept } else { left }
}
