//! `returner send`: returns from a file to a running host.
//!
//! Lines go in parts, each acknowledged before the next. A part that is refused is
//! sent line by line as far as the host names which are bad, so that what is good
//! arrives and what is bad is named by its line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::client::{Client, NoAnswer, Problem};
use super::{Failure, HostArgs, output};
use crate::items;

/// The most lines and bytes of one request.
const LINES: usize = 1000;
const BYTES: usize = 4 << 20;

/// How long to go on trying where the host does not answer, or has no room.
const PATIENCE: Duration = Duration::from_secs(300);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Send {
    /// A file of NDJSON or a JSON array; `-` is stdin
    #[arg(default_value = "-")]
    file: PathBuf,
    /// What the file holds
    #[arg(long, value_enum, default_value_t = What::Returns)]
    what: What,
    /// Send to this returner (or several, by commas), not to those that the
    /// configuration names
    #[arg(long, value_name = "NAME")]
    returner: Option<String>,
    /// Answer only when the returners have stored it
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Returns,
    Loads,
    Events,
}

#[derive(Debug, Default, Serialize)]
struct Sent {
    /// What the file has: `line`s, or the `item`s of an array.
    #[serde(skip)]
    unit: &'static str,
    accepted: usize,
    duplicates: usize,
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    /// From 1; in a JSON array, the item's place from 1.
    line: usize,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    accepted: usize,
    duplicates: usize,
    stored: Option<bool>,
}

/// Items with the numbers of their lines.
type Part = Vec<(usize, String)>;

impl Send {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        let mut input = open(&self.file).await?;
        let bar = progress(&self.file);
        let mut sent = Sent { unit: "line", ..Sent::default() };
        let mut number = 0;
        if first_byte(&mut input).await? == Some(b'[') {
            sent.unit = "item";
            let mut text = String::new();
            input.read_to_string(&mut text).await.map_err(|error| unreadable(&self.file, &error))?;
            let items = items::split(&text)
                .map_err(|error| Failure::refused(format!("{}: {error}", self.file.display())))?;
            let mut part = Part::new();
            for item in items {
                number += 1;
                part.push((number, item.to_owned()));
                if full(&part) {
                    self.send(&client, std::mem::take(&mut part), &mut sent, &bar).await?;
                }
            }
            self.send(&client, part, &mut sent, &bar).await?;
        } else {
            let mut part = Part::new();
            let mut lines = input.lines();
            while let Some(line) = lines.next_line().await.map_err(|error| unreadable(&self.file, &error))? {
                number += 1;
                if !line.trim().is_empty() {
                    part.push((number, line));
                }
                if full(&part) {
                    self.send(&client, std::mem::take(&mut part), &mut sent, &bar).await?;
                }
            }
            self.send(&client, part, &mut sent, &bar).await?;
        }
        bar.finish_and_clear();
        self.report(&sent)
    }

    fn report(&self, sent: &Sent) -> Result<(), Failure> {
        if self.host.json {
            output::json(sent)?;
        } else {
            output::line(&format!(
                "{} accepted, {} duplicates, {} refused",
                sent.accepted,
                sent.duplicates,
                sent.refused.len()
            ))?;
        }
        if sent.refused.is_empty() {
            return Ok(());
        }
        let lines = sent.refused.iter().map(|Refused { line, reason }| {
            let place = format!("{} {line}", sent.unit);
            format!("error: {place}: {}", reason.replace("at line 1, column", "at column"))
        });
        Err(Failure::refused(lines.collect::<Vec<_>>().join("\n")))
    }

    /// Sends a part until it is taken; what is bad in it is named and left out.
    async fn send(
        &self,
        client: &Client,
        mut part: Part,
        sent: &mut Sent,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let mut patience = PATIENCE;
        let mut wait = Duration::from_millis(100);
        while !part.is_empty() {
            match self.post(client, &part).await {
                Ok(answer) => {
                    sent.accepted += answer.accepted;
                    sent.duplicates += answer.duplicates;
                    bar.inc(part.len() as u64);
                    if answer.stored == Some(false) {
                        return Err(Failure::failed(format!(
                            "accepted up to {} {}, and not all of it is stored\n  hint: `returner status` says who \
                             is behind, `returner dead list` what was rejected",
                            sent.unit,
                            part.last().map_or(0, |(line, _)| *line)
                        )));
                    }
                    return Ok(());
                }
                Err(NoAnswer::Refused(problem))
                    if problem.items.is_empty() && problem.status.as_u16() == 400 && part.len() > 1 =>
                {
                    // The body could not even be cut into items: find the line.
                    for item in part {
                        Box::pin(self.send(client, vec![item], sent, bar)).await?;
                    }
                    return Ok(());
                }
                Err(NoAnswer::Refused(problem)) if problem.status.as_u16() == 400 => {
                    bar.inc(take_out(&mut part, problem, sent) as u64);
                }
                Err(NoAnswer::Refused(problem)) if problem.status.as_u16() != 503 => {
                    return Err(NoAnswer::Refused(problem).into());
                }
                Err(error) => {
                    if patience.is_zero() {
                        return Err(error.into());
                    }
                    if patience == PATIENCE {
                        let most = humantime::format_duration(PATIENCE);
                        bar.suspend(|| {
                            eprintln!("{}; trying again, for {most} at most", Failure::from(error))
                        });
                    }
                    patience = patience.saturating_sub(wait);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        Ok(())
    }

    async fn post(&self, client: &Client, part: &Part) -> Result<Answer, NoAnswer> {
        let path = match self.what {
            What::Returns => "/v1/returns",
            What::Loads => "/v1/loads",
            What::Events => "/v1/events",
        };
        let mut query: Vec<_> = self.returner.iter().map(|name| ("returner", name.as_str())).collect();
        if self.wait {
            query.push(("wait", "stored"));
        }
        let body = part.iter().map(|(_, item)| item.as_str()).collect::<Vec<_>>().join("\n");
        client.post(path, &query, body.into_bytes()).await
    }
}

/// Moves the items that the host named from the part to the refused; gives how many.
fn take_out(part: &mut Part, problem: Problem, sent: &mut Sent) -> usize {
    let before = part.len();
    if problem.items.is_empty() {
        let reason = problem.to_string();
        sent.refused.extend(part.drain(..).map(|(line, _)| Refused { line, reason: reason.clone() }));
    }
    let mut bad = problem.items.into_iter().peekable();
    let mut index = 0;
    part.retain(|(line, _)| {
        let named = bad.next_if(|bad| bad.index == index);
        index += 1;
        match named {
            Some(bad) => {
                sent.refused.push(Refused { line: *line, reason: bad.reason });
                false
            }
            None => true,
        }
    });
    before - part.len()
}

fn full(part: &Part) -> bool {
    part.len() >= LINES || part.iter().map(|(_, item)| item.len()).sum::<usize>() >= BYTES
}

async fn open(file: &Path) -> Result<Box<dyn AsyncBufRead + Unpin + std::marker::Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(tokio::io::stdin())));
    }
    let opened = tokio::fs::File::open(file).await;
    Ok(Box::new(BufReader::new(opened.map_err(|error| unreadable(file, &error))?)))
}

/// The first byte that is no white space, which stays unread.
async fn first_byte(input: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<u8>, Failure> {
    loop {
        let buffer = input.fill_buf().await.map_err(|error| unreadable(Path::new("-"), &error))?;
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let Some(first) = buffer.get(blank).copied() else {
            if buffer.is_empty() {
                return Ok(None);
            }
            input.consume(blank);
            continue;
        };
        return Ok(Some(first));
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot read `{}`: {error}", file.display()))
}

fn progress(file: &Path) -> ProgressBar {
    if !std::io::stderr().is_terminal() || file == Path::new("-") {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} sent, {per_sec}, {elapsed}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
