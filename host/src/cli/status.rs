//! `returner status`: how the returners and the journal are doing, and of one that is
//! not well since when, why, what comes next, and what to do.
//!
//! The text is for someone who was woken up by it; programs take `--json`, which is the
//! host's answer as it is.

mod answer;
#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use super::client::Client;
use super::output::{counted, duration, word};
use super::{Failure, HostArgs, output};
use answer::{
    Answer, Commits, Failing, Held, Journal, LastError, Orphaned, Refusal, Returner, SaltEvents, WentBack,
};

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    host: HostArgs,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let answer: Value = Client::new(&self.host)?.get("/v1/returners", &[]).await?;
        if self.host.json {
            return output::json(&answer);
        }
        let answer: Answer = serde_json::from_value(answer).map_err(|error| {
            Failure::failed(format!(
                "the host's answer is not understood: {error}\n  hint: it is of another version than this command"
            ))
        })?;
        output::table(
            &["returner", "state", "behind", "oldest", "held", "stored", "retried", "dead"],
            answer.returners.iter().map(Returner::row).collect(),
        )?;
        for paragraph in answer.paragraphs() {
            output::line(&format!("\n{paragraph}"))?;
        }
        Ok(())
    }
}

impl Answer {
    /// What the table does not tell.
    fn paragraphs(&self) -> Vec<String> {
        let mut paragraphs: Vec<String> = self.returners.iter().filter_map(Returner::paragraph).collect();
        paragraphs.extend(self.orphaned.iter().map(Orphaned::paragraph));
        if let Some(error) = &self.configuration.error {
            paragraphs.push(format!(
                "the configuration was refused at {}, and the one before it runs on:\n{}",
                error.at, error.message
            ));
        }
        paragraphs.extend(self.salt_events.as_ref().map(SaltEvents::paragraph));
        paragraphs.push(self.journal.paragraph());
        paragraphs
    }
}

impl Returner {
    fn row(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.state.clone(),
            self.depth.to_string(),
            self.oldest_ms.map_or_else(|| "-".to_owned(), duration),
            self.held.as_ref().map_or(0, |held| held.items).to_string(),
            self.stored.to_string(),
            self.retried.to_string(),
            self.dead.to_string(),
        ]
    }

    /// None if it is well.
    fn paragraph(&self) -> Option<String> {
        let mut lines = Vec::new();
        if let Some(Failing { since, for_ms, tries, next, next_try_ms }) = &self.failing {
            let (lasted, tries) = (duration(*for_ms), counted(u64::from(*tries), "try", "tries"));
            lines.push(format!("failing for {lasted} (since {since}), {tries}"));
            lines.extend(self.error());
            lines.push(format!("  next   {next}, {}", when(*next_try_ms)));
            let name = word(&self.name);
            let ends = match name.contains('{') {
                true => {
                    format!("; returns asked for it by `ret_kwargs`: `returner lanes drop {name}` ends it")
                }
                false => String::new(),
            };
            lines.push(format!(
                "  hint: nothing is lost, its items wait in the journal; it goes on by itself when what the error says is \
                 mended{ends}"
            ));
        }
        if let Some(Held { items, tries, reason, next_try_ms }) = &self.held {
            let tries = counted(u64::from(*tries), "try", "tries");
            let items = counted(*items, "item waits", "items wait");
            lines.push(format!("{items} to be tried again, each on its own"));
            lines.push(format!("  error  {} (the oldest, after {tries})", indented(reason)));
            lines.push(format!("  next   the oldest, {}", when(*next_try_ms)));
        }
        if let Some(WentBack { from, to, stored, rejected, reason, at }) = &self.went_back {
            lines.push(format!("went back from `{from}` to `{to}` at {at}"));
            lines.push(format!(
                "  error  it stored {stored} and rejected {rejected}, the last: {}",
                indented(reason)
            ));
            lines.push("  hint: nothing is lost; `returner reload` tries the new one again".to_owned());
        }
        if self.dead > 0 {
            let letters = counted(self.dead, "item was", "items were");
            lines.push(format!("{letters} rejected for good and kept as dead letters"));
            let is_last = self.last_error.as_ref().is_some_and(|error| error.of_dead_letter);
            // Said above already.
            lines.extend(self.error().filter(|_| is_last && self.failing.is_none()));
            let name = word(&self.name);
            lines.push(format!(
                "  hint: `returner dead list --returner {name}` says which and why; `returner dead replay \
                 --returner {name}` tries them again"
            ));
        }
        let (first, rest) = lines.split_first()?;
        let rest = rest.iter().map(|line| match line.starts_with(' ') {
            true => format!("\n{line}"),
            false => format!("\n{}: {line}", self.name),
        });
        Some(format!("{}: {first}{}", self.name, rest.collect::<String>()))
    }

    fn error(&self) -> Option<String> {
        let LastError { message, ago_ms, .. } = self.last_error.as_ref()?;
        Some(format!("  error  {} ({} ago)", indented(message), duration(*ago_ms)))
    }
}

impl Orphaned {
    fn paragraph(&self) -> String {
        let Self { name, depth, dead } = self;
        let kept = [(depth, "item", "items"), (dead, "dead letter", "dead letters")];
        let kept = kept.into_iter().filter(|(count, ..)| **count > 0);
        let kept: Vec<String> = kept.map(|(count, one, more)| counted(*count, one, more)).collect();
        let kept = kept.join(", ");
        let quoted = word(name);
        // Of a lane that returns asked for by their `ret_kwargs`.
        if name.contains('{') && *depth == 0 {
            return format!(
                "{name}: at rest; kept for it: {kept}\n  hint: `returner dead replay --returner {quoted}` tries them \
                 again; `returner lanes drop {quoted}` removes all of it for good"
            );
        }
        format!(
            "{name}: orphaned: it is not in the configuration; kept for it: {kept}\n  hint: items are delivered when a \
             returner of that name is declared again; `returner lanes drop {quoted}` removes all of it for good"
        )
    }
}

impl SaltEvents {
    /// From when on, where something was heard before: how long that is says the first message.
    fn missing(&self) -> String {
        // Beyond the year 9999 there is no such text.
        let moment = |millis: u64| UNIX_EPOCH + Duration::from_millis(millis.min(253_402_300_799_000));
        let since = self.missing_since_ms.map(|millis| humantime::format_rfc3339_seconds(moment(millis)));
        since.map_or_else(String::new, |since| {
            format!(
                " (nor since {since})\n  hint: `returner salt backfill` sends what the master has by then; the gap is \
                 known with the next message"
            )
        })
    }

    fn paragraph(&self) -> String {
        let mut text = match (&self.address, &self.connected_since) {
            (Some(address), Some(since)) if self.hears => {
                format!("Salt's event bus: following `{address}` since {since}")
            }
            (Some(address), Some(since)) => {
                format!(
                    "Salt's event bus: `{address}` answers since {since}, and nothing was heard of it yet{}",
                    self.missing()
                )
            }
            (Some(address), None) => {
                format!("Salt's event bus: `{address}` is NOT followed, it is tried again")
            }
            (None, _) if self.gaps.is_empty() => "Salt's event bus: not followed".to_owned(),
            (None, _) => "Salt's event bus: not followed any more".to_owned(),
        };
        text.extend(self.error.as_ref().map(|error| format!("\n  error  {}", indented(error))));
        if let (Some(first), Some(last)) = (self.gaps.first(), self.gaps.last()) {
            let gaps = counted(self.gaps.len() as u64, "gap", "gaps");
            text += &format!(
                "\n  {gaps} between {} and {} in which nothing was heard\n  hint: `returner salt backfill` fills in \
                 what the master has of it",
                first.from, last.until
            );
        }
        if self.trimmed > 0 {
            let returns = counted(self.trimmed, "return", "returns");
            text += &format!(
                "\n  {returns} stored without what Salt leaves out of its bus and of its job cache: `returner salt doctor`"
            );
        }
        text
    }
}

impl Journal {
    fn paragraph(&self) -> String {
        let (bytes, limit) = (bytesize::ByteSize(self.bytes), bytesize::ByteSize(self.limit));
        let takes = if self.refuses.is_none() { "taking in" } else { "REFUSES everything" };
        let mut text = format!("journal: {takes}; {bytes} of {limit}");
        if let Some(Commits { count, median_ms, slowest_ms }) = &self.commits {
            let newest = if *count == 1 { "commit".to_owned() } else { format!("{count} commits") };
            text += &format!("; the newest {newest} took {median_ms:.1}ms, the slowest {slowest_ms:.1}ms");
        }
        if let Some(Refusal { reason, message, behind }) = &self.refuses {
            text += &format!("\n  error  {}", indented(message));
            let hint = match reason.as_str() {
                "full" if behind.is_none() => Some(
                    "`returner dead replay` and `returner dead drop` make room, or raise `host.max_journal`",
                ),
                "full" => {
                    Some("bring the returner that is furthest behind up again, or raise `host.max_journal`")
                }
                "disk" | "slow" => Some(
                    "look at the disk of `host.data`; the host goes on by itself when it can write again",
                ),
                _ => None,
            };
            text.extend(hint.map(|hint| format!("\n  hint: {hint}")));
        }
        if let Some(Refusal { message, .. }) = &self.asked_for.refuses {
            text += &format!("\n  REFUSES what asks for a returner by `ret_kwargs`: {message}");
        }
        text
    }
}

/// A wait may end early, when a server answers again.
fn when(next_try_ms: Option<u64>) -> String {
    next_try_ms.map_or_else(|| "now".to_owned(), |millis| format!("in {} at the latest", duration(millis)))
}

/// Text that begins behind a label, its further lines below its first.
fn indented(text: &str) -> String {
    text.replace('\n', "\n         ")
}
