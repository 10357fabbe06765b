//! `returner send`: returns from a file to a running host.
//!
//! Lines go in parts, each acknowledged before the next. A part that is too large is
//! halved; a bad line is named by its number and left out. So what is good arrives, and
//! whatever ends it, what was accepted is said. A part whose answer did not come is sent again:
//! the host knows returns and loads again, also those of jobs without an id ([`own_jobs`]), and
//! events not.

mod input;
mod own_jobs;
mod part;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::client::{Client, NoAnswer};
use super::problem::Problem;
use super::{Failure, HostArgs, output};
use crate::items::{self, Malformed};

use input::Input;
use own_jobs::OwnJobs;
use part::{Part, bytes, halve};

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
    /// What the file holds; events whose acknowledgement is lost on its way are sent again, and
    /// stand twice
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
    /// With `--wait`, the returners that are to store some of it yet, and those that rejected some.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    waiting: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    rejected: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Refused {
    /// From 1; in a JSON array, the item's place from 1.
    line: usize,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    accepted: usize,
    duplicates: usize,
    #[serde(default)]
    waiting: Vec<String>,
    #[serde(default)]
    rejected: Vec<String>,
}

impl Send {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = Client::new(&self.host)?;
        let mut input = Input::open(&self.file).await?;
        let mut sending = Sending::new(&self, &client, input.size());
        let ended = sending.all(&mut input).await;
        let sent = sending.end();
        if self.host.json {
            output::json(&sent)?;
        } else if ended.is_ok() || sent.has_something() {
            output::line(&format!(
                "{} accepted, {} duplicates, {} refused",
                sent.accepted,
                sent.duplicates,
                sent.refused.len()
            ))?;
        }
        let refused: Vec<String> = sent.refused.iter().map(|refused| refused.named(sent.unit)).collect();
        match ended {
            Ok(()) if refused.is_empty() => sent.stored(),
            Ok(()) => {
                if let Err(unstored) = sent.stored() {
                    output::complain(&unstored.to_string());
                }
                Err(Failure::refused(refused.join("\n")))
            }
            Err(failure) => {
                refused.iter().for_each(|refused| output::complain(refused));
                Err(failure)
            }
        }
    }
}

impl Sent {
    /// Whether the host, or this command, has decided about any of it.
    fn has_something(&self) -> bool {
        self.accepted + self.duplicates + self.refused.len() > 0
    }

    /// An error where `--wait` did not see all of it stored.
    fn stored(&self) -> Result<(), Failure> {
        if self.waiting.is_empty() && self.rejected.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "all of it is accepted, and not all is stored:{}{}\n  hint: `returner status` says who is behind, \
             `returner dead list` what was rejected",
            named(" waits for", &self.waiting),
            named(" rejected by", &self.rejected),
        )))
    }
}

impl Refused {
    fn named(&self, unit: &str) -> String {
        let hint = self.hint.iter().map(|hint| format!("\n  hint: {hint}"));
        format!("error: {unit} {}: {}{}", self.line, self.reason, hint.collect::<String>())
    }
}

/// A file on its way.
struct Sending<'a> {
    command: &'a Send,
    client: &'a Client,
    bar: ProgressBar,
    sent: Sent,
    /// What comes next, and its bytes.
    part: Part,
    bytes: usize,
    /// The most bytes of a part; less than [`BYTES`] once the host found one too large.
    most: usize,
    own_jobs: OwnJobs,
}

impl<'a> Sending<'a> {
    fn new(command: &'a Send, client: &'a Client, size: Option<u64>) -> Self {
        let sent = Sent { unit: "line", ..Sent::default() };
        let bar = progress(size);
        let own_jobs = OwnJobs::default();
        Self { command, client, bar, sent, part: Part::new(), bytes: 0, most: BYTES, own_jobs }
    }

    async fn all(&mut self, input: &mut Input) -> Result<(), Failure> {
        if input.is_array().await? {
            self.sent.unit = "item";
            let text = input.text().await?;
            let items = items::split(&text, usize::MAX).map_err(|error| {
                Failure::refused(format!("`{}` is not JSON: {error}", self.command.file.display()))
            })?;
            for (index, item) in items.into_iter().enumerate() {
                self.bar.inc(item.as_ref().map_or(0, |item| item.len() as u64));
                match item {
                    Ok(item) => self.add(index + 1, item).await?,
                    Err(malformed) => self.refuse(index + 1, &not_json(&malformed), None),
                }
            }
        } else {
            while let Some(line) = input.line().await? {
                self.bar.inc(line.bytes);
                match line.text {
                    Ok(text) if text.trim().is_empty() => {}
                    Ok(text) => self.add(line.number, text.trim_end()).await?,
                    Err(reason) => self.refuse(line.number, &reason, None),
                }
            }
        }
        self.flush().await
    }

    /// What came of it, in the order of the lines: those that nobody could read were refused
    /// before the lines before them were sent.
    fn end(mut self) -> Sent {
        self.bar.finish_and_clear();
        self.sent.refused.sort_by_key(|refused| refused.line);
        self.sent
    }

    /// What the host calls line 1 of an item is this line.
    fn refuse(&mut self, line: usize, reason: &str, hint: Option<String>) {
        let reason = reason.replace("at line 1, column", "at column");
        self.sent.refused.push(Refused { line, reason, hint });
    }

    /// One that does not fit with the others goes alone, and is no trouble to them.
    async fn add(&mut self, number: usize, item: &str) -> Result<(), Failure> {
        if self.bytes + item.len() > self.most {
            self.flush().await?;
        }
        let named = match self.command.what {
            What::Returns => self.own_jobs.name(number, item),
            What::Loads | What::Events => None,
        };
        let item = named.as_deref().unwrap_or(item);
        self.part.push((number, item.to_owned()));
        self.bytes += item.len() + 1;
        if self.part.len() >= LINES || self.bytes >= self.most { self.flush().await } else { Ok(()) }
    }

    /// Sends the part until it is taken; what is bad in it is named and left out.
    async fn flush(&mut self) -> Result<(), Failure> {
        self.bytes = 0;
        let mut parts = vec![std::mem::take(&mut self.part)];
        let mut patience = Patience::default();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.post(&part).await {
                Ok(answer) => {
                    self.taken(answer);
                    patience = Patience::default();
                }
                Err(NoAnswer::Refused(problem)) if !problem.may_pass() => {
                    parts.extend(self.refused(part, problem)?);
                }
                // The same request may be taken later.
                Err(error) => {
                    patience.wait(error, &self.bar).await?;
                    parts.push(part);
                }
            }
        }
        Ok(())
    }

    async fn post(&self, part: &Part) -> Result<Answer, NoAnswer> {
        let Send { returner, wait, what, .. } = self.command;
        let mut query: Vec<_> = returner.iter().map(|name| ("returner", name.as_str())).collect();
        let path = match what {
            What::Returns => {
                self.own_jobs.post_loads(self.client, returner.as_deref(), part).await?;
                "/v1/returns"
            }
            What::Loads => "/v1/loads",
            What::Events => "/v1/events",
        };
        // Who is not done in time is not waited for again: it is all on disk.
        if *wait && self.sent.waiting.is_empty() {
            query.push(("wait", "stored"));
        }
        let body = part.iter().map(|(_, item)| item.as_str()).collect::<Vec<_>>().join("\n");
        self.client.post(path, &query, body.into_bytes()).await
    }

    /// What is not stored is said at the end: what comes after it has done nothing wrong.
    fn taken(&mut self, answer: Answer) {
        self.sent.accepted += answer.accepted;
        self.sent.duplicates += answer.duplicates;
        self.sent.waiting.extend(answer.waiting);
        self.sent.rejected.extend(answer.rejected);
        self.bar.set_message(format!("{} accepted", self.sent.accepted));
    }

    /// What is left to send of a part that was refused, the next one last; an error where
    /// that is for the request and not for what is in it.
    fn refused(&mut self, mut part: Part, problem: Problem) -> Result<Vec<Part>, Failure> {
        let before = part.len();
        match problem.status {
            StatusCode::PAYLOAD_TOO_LARGE => return Ok(self.too_large(part, &problem)),
            StatusCode::BAD_REQUEST if self.cut(&mut part) => return Ok(vec![part]),
            StatusCode::BAD_REQUEST => self.take_out(&mut part, &problem),
            _ => {}
        }
        if part.len() == before { Err(NoAnswer::Refused(problem).into()) } else { Ok(vec![part]) }
    }

    /// Halves it. One that is too large alone is refused: the host's own hint, to send less
    /// at once, is none for it.
    fn too_large(&mut self, mut part: Part, problem: &Problem) -> Vec<Part> {
        if let [(line, item)] = &part[..] {
            let size = ByteSize(item.len() as u64);
            let hint = format!("this {} alone has {size}: raise `host.max_body`", self.sent.unit);
            self.refuse(*line, &problem.detail, Some(hint));
            return Vec::new();
        }
        self.most = self.most.min(bytes(&part) / 2);
        let second = halve(&mut part);
        vec![second, part]
    }

    /// Cuts each line into items as the host does all of them together, and refuses what is
    /// none; gives whether that changed anything. If not, the places that the host names are
    /// those of the part: a line that is malformed may take the next ones with it.
    fn cut(&mut self, part: &mut Part) -> bool {
        let before = (part.len(), self.sent.refused.len());
        for (line, text) in std::mem::take(part) {
            // At the beginning of a body it would be all of the body.
            if text.trim_start().starts_with('[') {
                self.refuse(line, "it is a list, expected an object", None);
                continue;
            }
            for item in items::split(&text, usize::MAX).unwrap_or_else(|malformed| vec![Err(malformed)]) {
                match item {
                    Ok(item) => part.push((line, item.to_owned())),
                    Err(malformed) => self.refuse(line, &not_json(&malformed), None),
                }
            }
        }
        before != (part.len(), self.sent.refused.len())
    }

    /// Moves the items that the host named from the part to the refused.
    fn take_out(&mut self, part: &mut Part, problem: &Problem) {
        let mut bad = problem.items.iter().peekable();
        for (index, (line, item)) in std::mem::take(part).into_iter().enumerate() {
            match bad.next_if(|bad| bad.index == index) {
                Some(bad) => self.refuse(line, &bad.reason, bad.hint.clone()),
                None => part.push((line, item)),
            }
        }
    }
}

fn not_json(malformed: &Malformed) -> String {
    format!("it is not JSON: {malformed}")
}

/// How much longer a request is made again, and when.
struct Patience {
    left: Duration,
    wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: PATIENCE, wait: Duration::from_millis(100) }
    }
}

impl Patience {
    /// Waits until the next try, or fails if there is none.
    async fn wait(&mut self, error: NoAnswer, bar: &ProgressBar) -> Result<(), Failure> {
        if self.left.is_zero() {
            return Err(error.into());
        }
        if self.left == PATIENCE {
            let most = humantime::format_duration(PATIENCE);
            let text = format!("{}; trying again, for {most} at most", Failure::from(error));
            bar.suspend(|| output::complain(&text));
        }
        self.left = self.left.saturating_sub(self.wait);
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Ok(())
    }
}

/// For a file: what comes by a pipe has no end that is known.
fn progress(size: Option<u64>) -> ProgressBar {
    let Some(size) = size.filter(|_| std::io::stderr().is_terminal()) else {
        return ProgressBar::hidden();
    };
    let style = ProgressStyle::with_template(
        "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {msg}, {eta} left",
    );
    ProgressBar::new(size).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Returners, after what is said of them.
fn named(what: &str, returners: &BTreeSet<String>) -> String {
    if returners.is_empty() {
        return String::new();
    }
    let returners: Vec<String> = returners.iter().map(|name| format!("`{name}`")).collect();
    format!("{what} {}", returners.join(", "))
}
