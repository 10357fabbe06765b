//! `returner status`: how the returners and the journal are doing, and of one that is
//! not well since when, why, what comes next, and what to do.
//!
//! The text is for someone who was woken up by it; programs take `--json`, which is the
//! host's answer as it is.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::Client;
use super::output::{counted, duration, word};
use super::{Failure, HostArgs, output};

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Deserialize)]
struct Answer {
    returners: Vec<Returner>,
    orphaned: Vec<Orphaned>,
    configuration: Configuration,
    journal: Journal,
    /// None of a host that never followed Salt's event bus.
    #[serde(default)]
    salt_events: Option<SaltEvents>,
}

#[derive(Debug, Deserialize)]
struct SaltEvents {
    address: Option<String>,
    connected_since: Option<String>,
    hears: bool,
    error: Option<String>,
    trimmed: u64,
    gaps: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    from: String,
    until: String,
}

#[derive(Debug, Deserialize)]
struct Returner {
    name: String,
    depth: u64,
    state: String,
    oldest_ms: Option<u64>,
    stored: u64,
    retried: u64,
    dead: u64,
    failing: Option<Failing>,
    held: Option<Held>,
    last_error: Option<LastError>,
    went_back: Option<WentBack>,
}

#[derive(Debug, Deserialize)]
struct WentBack {
    from: String,
    to: String,
    stored: u64,
    rejected: u64,
    reason: String,
    at: String,
}

#[derive(Debug, Deserialize)]
struct Failing {
    since: String,
    for_ms: u64,
    tries: u32,
    next: String,
    next_try_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Held {
    items: u64,
    tries: u32,
    reason: String,
    next_try_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct LastError {
    message: String,
    ago_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Orphaned {
    name: String,
    depth: u64,
    dead: u64,
}

#[derive(Debug, Deserialize)]
struct Configuration {
    error: Option<Refused>,
}

/// A version of the configuration that is not taken.
#[derive(Debug, Deserialize)]
struct Refused {
    message: String,
    at: String,
}

#[derive(Debug, Deserialize)]
struct Journal {
    bytes: u64,
    limit: u64,
    refuses: Option<Refusal>,
    commits: Option<Commits>,
    asked_for: AskedFor,
}

/// What is kept for returners that returns asked for.
#[derive(Debug, Deserialize)]
struct AskedFor {
    refuses: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    reason: String,
    message: String,
}

#[derive(Debug, Deserialize)]
struct Commits {
    count: u64,
    median_ms: f64,
    slowest_ms: f64,
}

/// How an error begins that made a dead letter, and not an outage that is over.
const OF_A_LETTER: &str = "dead letter: ";

/// What the host says of a journal that dead letters fill.
const OF_DEAD_LETTERS: &str = "dead letters";

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
            let is_last =
                self.last_error.as_ref().is_some_and(|error| error.message.starts_with(OF_A_LETTER));
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
        let LastError { message, ago_ms } = self.last_error.as_ref()?;
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
    fn paragraph(&self) -> String {
        let mut text = match (&self.address, &self.connected_since) {
            (Some(address), Some(since)) if self.hears => {
                format!("Salt's event bus: following `{address}` since {since}")
            }
            (Some(address), Some(since)) => {
                format!(
                    "Salt's event bus: `{address}` answers since {since}, and nothing was heard of it yet"
                )
            }
            (Some(address), None) => {
                format!("Salt's event bus: `{address}` is NOT followed, it is tried again")
            }
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
                "\n  {returns} stored without what Salt leaves out of its bus: `returner salt doctor`"
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
        if let Some(Refusal { reason, message }) = &self.refuses {
            text += &format!("\n  error  {}", indented(message));
            let hint = match reason.as_str() {
                "full" if message.contains(OF_DEAD_LETTERS) => Some(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::AppendError;
    use serde_json::json;

    fn answer(returner: Value, journal: Value) -> Answer {
        let mut whole = json!({
            "name": "mysql", "state": "ready", "depth": 0, "oldest_ms": null, "stored": 5, "retried": 0, "dead": 0,
            "failing": null, "held": null, "last_error": null, "went_back": null,
        });
        let more = returner.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(more);
        let asked_for = json!({"bytes": 0, "limit": 1 << 17, "refuses": null});
        let mut queue = json!({"bytes": 8192, "limit": 1 << 20, "refuses": null, "commits": null, "asked_for": asked_for});
        queue.as_object_mut().unwrap().extend(journal.as_object().unwrap().clone());
        serde_json::from_value(
            json!({"returners": [whole], "orphaned": [], "configuration": {"error": null}, "journal": queue}),
        )
        .unwrap()
    }

    #[test]
    fn of_a_lane_that_is_well_there_is_the_table_only() {
        let answer = answer(json!({"last_error": {"message": "long ago", "ago_ms": 9}}), json!({}));
        assert_eq!(answer.returners[0].row(), ["mysql", "ready", "0", "-", "0", "5", "0", "0"]);
        assert_eq!(answer.paragraphs(), ["journal: taking in; 8.0 KiB of 1.0 MiB"]);
    }

    #[test]
    fn of_a_lane_that_fails_it_says_since_when_why_and_what_is_next() {
        let failing = json!({
            "since": "2026-02-14T09:30:12.000Z", "for_ms": 200_000, "tries": 17, "next": "store 500 returns",
            "next_try_ms": 12_000,
        });
        let returner = json!({
            "state": "retrying", "depth": 1200, "oldest_ms": 201_000, "failing": failing, "dead": 1,
            "last_error": {"message": "refused\nby the server", "ago_ms": 4000},
        });
        let answer = answer(returner, json!({}));
        assert_eq!(answer.returners[0].row()[..4], ["mysql", "retrying", "1200", "3m 21s"]);
        let text = "mysql: failing for 3m 20s (since 2026-02-14T09:30:12.000Z), 17 tries\n  \
                    error  refused\n         by the server (4.0s ago)\n  \
                    next   store 500 returns, in 12s at the latest\n  \
                    hint: nothing is lost, its items wait in the journal; it goes on by itself when what the \
                    error says is mended\n\
                    mysql: 1 item was rejected for good and kept as dead letters\n  \
                    hint: `returner dead list --returner mysql` says which and why; `returner dead replay \
                    --returner mysql` tries them again";
        assert_eq!(answer.paragraphs()[0], text);
    }

    #[test]
    fn of_dead_letters_it_tells_why_and_no_error_that_is_over() {
        let told = |message: &str| {
            let returner = json!({"dead": 1, "last_error": {"message": message, "ago_ms": 4000}});
            answer(returner, json!({})).paragraphs()[0].clone()
        };
        assert!(
            told("dead letter: test.ping: too long")
                .contains("  error  dead letter: test.ping: too long (4.0s ago)")
        );
        assert!(!told("the server was away").contains("error"));
    }

    #[test]
    fn of_held_items_it_tells_the_oldest() {
        let held = json!({"items": 3, "tries": 1, "reason": "too many", "next_try_ms": null});
        let answer = answer(json!({"held": held}), json!({}));
        let text = "mysql: 3 items wait to be tried again, each on its own\n  \
                    error  too many (the oldest, after 1 try)\n  next   the oldest, now";
        assert_eq!(answer.paragraphs()[0], text);
    }

    #[test]
    fn of_a_journal_that_refuses_it_says_why_and_what_to_do() {
        let refuses = json!({"reason": "full", "message": "the journal is full"});
        let commits = json!({"count": 256, "median_ms": 1.25, "slowest_ms": 30.0});
        let answer = answer(json!({}), json!({"refuses": refuses, "commits": commits}));
        let text = "journal: REFUSES everything; 8.0 KiB of 1.0 MiB; the newest 256 commits took 1.2ms, the slowest \
                    30.0ms\n  error  the journal is full\n  \
                    hint: bring the returner that is furthest behind up again, or raise `host.max_journal`";
        assert_eq!(answer.paragraphs(), [text]);
    }

    #[test]
    fn what_is_refused_for_the_quota_of_those_that_returns_asked_for_is_told() {
        let refuses = json!({"reason": "quota", "message": "it keeps too much\n  hint: remove it"});
        let asked_for = json!({"bytes": 2, "limit": 1, "refuses": refuses});
        let told = answer(json!({}), json!({"asked_for": asked_for})).paragraphs();
        let text = "journal: taking in; 8.0 KiB of 1.0 MiB\n  \
                    REFUSES what asks for a returner by `ret_kwargs`: it keeps too much\n  hint: remove it";
        assert_eq!(told, [text]);
    }

    #[test]
    fn of_a_journal_that_dead_letters_fill_it_says_how_to_be_rid_of_them() {
        let full = AppendError::Full { bytes: 2, limit: 1, behind: None };
        let refuses = json!({"reason": full.reason(), "message": full.to_string()});
        let told = answer(json!({}), json!({"refuses": refuses})).paragraphs().remove(0);
        assert!(told.contains("`returner dead list`") && told.contains("`returner dead drop`"), "{told}");
        assert!(!told.contains("furthest behind"), "{told}");
    }

    /// What is told to be typed can be typed.
    #[test]
    fn a_name_that_a_shell_would_not_take_is_quoted() {
        let failing = json!({"since": "", "for_ms": 1, "tries": 1, "next": "", "next_try_ms": null});
        let returner = json!({"name": r#"redis{"db":5}"#, "dead": 1, "failing": failing});
        let told = answer(returner, json!({})).paragraphs().remove(0);
        for command in ["lanes drop", "dead list --returner", "dead replay --returner"] {
            assert!(told.contains(&format!(r#"returner {command} 'redis{{"db":5}}'`"#)), "{command}: {told}");
        }
        let gone = Orphaned { name: "alternative.mysql".to_owned(), depth: 1, dead: 0 };
        assert!(gone.paragraph().contains("`returner lanes drop alternative.mysql`"));
        let gone = Orphaned { name: r#"redis{"db":5}"#.to_owned(), ..gone };
        assert!(gone.paragraph().contains(r#"`returner lanes drop 'redis{"db":5}'`"#));
    }
}
