//! `returner plugins trial`: another plugin on the last items of a returner, beside the one
//! that it has.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::{ConfigArgs, Failure, Reach, output};
use crate::plugins::read_file;

/// How much of a statement is shown, in characters.
const MOST: usize = 200;

#[derive(Debug, Args)]
pub(super) struct Trial {
    /// The returner
    name: String,
    /// The component to try in its place; its `setup` is not run
    file: PathBuf,
    /// On so many of its last items
    #[arg(long, value_name = "N", default_value_t = 1000)]
    last: usize,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    items: u64,
    redelivered: bool,
    present: Side,
    other: Side,
    differing: u64,
    outcomes: Vec<Outcome>,
    only_present: Vec<String>,
    only_other: Vec<String>,
    other_values: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Side {
    plugin: String,
    stored: u64,
    refused: u64,
    failed: u64,
    calls: u64,
    took_ms: f64,
    memory: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    item: String,
    present: String,
    other: String,
}

impl Trial {
    pub(super) async fn run(self, config: &ConfigArgs, json: bool) -> Result<(), Failure> {
        let component = read_file(&self.file)
            .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", self.file.display())))?;
        let last = self.last.to_string();
        let query = [("returner", self.name.as_str()), ("last", &last)];
        let answer = Client::of(config, &self.reach)?.post("/v1/trials", &query, component).await;
        let answer: Answer = answer.map_err(Failure::from)?;
        if json { output::json(&answer) } else { print(&answer) }
    }
}

fn print(answer: &Answer) -> Result<(), Failure> {
    let row = |name: &str, value: &dyn Fn(&Side) -> String| {
        vec![name.to_owned(), value(&answer.present), value(&answer.other)]
    };
    output::table(
        &["", "runs now", "tried"],
        vec![
            row("plugin", &|side| side.plugin.clone()),
            row("stored", &|side| side.stored.to_string()),
            row("refused", &|side| side.refused.to_string()),
            row("calls that failed", &|side| side.failed.to_string()),
            row("calls of the host", &|side| side.calls.to_string()),
            row("took", &|side| format!("{:.1}ms", side.took_ms)),
            row("memory", &|side| bytesize::ByteSize(side.memory).to_string()),
        ],
    )?;
    output::line("")?;
    for Outcome { item, present, other } in &answer.outcomes {
        output::line(&format!("{item}\n  runs now  {present}\n  tried     {other}"))?;
    }
    for (who, only) in
        [("the one that runs", &answer.only_present), ("the one that is tried", &answer.only_other)]
    {
        for what in only {
            output::line(&format!("only {who}: {}", short(what)))?;
        }
    }
    if answer.redelivered {
        output::line(
            "the one that runs refuses these as new, since it has stored them: both had them come again",
        )?;
    }
    let items = output::counted(answer.items, "item", "items");
    let differing = output::counted(answer.differing, "item", "items");
    output::line(&match (answer.differing, answer.other_values) {
        (0, 0) if answer.present.stored == 0 && answer.other.stored == 0 => {
            format!("of {items} neither stored any, so this says nothing of the one that is tried")
        }
        (0, 0) if answer.only_present.is_empty() && answer.only_other.is_empty() => {
            format!("on {items} both did the same; nothing was written")
        }
        (_, values) => {
            let values = output::counted(values, "call", "calls");
            format!(
                "on {items}: something else came of {differing}, {values} with other values; nothing was written"
            )
        }
    })
}

/// The begin of a statement, which may have thousands of rows.
fn short(what: &str) -> String {
    match what.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &what[..end]),
        None => what.to_owned(),
    }
}
