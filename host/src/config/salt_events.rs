//! Salt's event bus: `host.salt_events` and what says which of it is wanted.

use std::path::PathBuf;
use std::time::Duration;

use super::error::{Finding, Findings};
use super::section::{Found, Section};
use super::settings::Address;

/// How long a return that Salt trimmed waits for the whole one: 3007.15 lets a minion's
/// returners wait for 30 seconds.
const TRIMMED_WAIT: Duration = Duration::from_secs(60);

/// The bus of a master that the host follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SaltEventsSettings {
    pub(crate) address: Address,
    /// Which events are stored that are no loads and returns.
    pub(crate) tags: Tags,
    /// How long a return that lacks something waits for the whole one of the minion's module.
    pub(crate) trimmed_wait: Duration,
}

/// Patterns of events' tags; those with `!` before them leave out what the others take.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tags {
    written: Vec<String>,
    take: Vec<glob::Pattern>,
    leave: Vec<glob::Pattern>,
}

impl Tags {
    fn add(&mut self, written: &str) -> Result<(), glob::PatternError> {
        let (patterns, text) = match written.strip_prefix('!') {
            Some(text) => (&mut self.leave, text),
            None => (&mut self.take, written),
        };
        patterns.push(glob::Pattern::new(text)?);
        self.written.push(written.to_owned());
        Ok(())
    }

    /// Whether an event with this tag is wanted: all are that none of the patterns leaves
    /// out, where none says what to take.
    pub(crate) fn let_through(&self, tag: &str) -> bool {
        let has = |patterns: &[glob::Pattern]| patterns.iter().any(|pattern| pattern.matches(tag));
        (self.take.is_empty() || has(&self.take)) && !has(&self.leave)
    }

    /// As they are written.
    pub(crate) fn written(&self) -> String {
        self.written.join(", ")
    }

    /// # Panics
    ///
    /// If one is no pattern.
    #[cfg(test)]
    pub(crate) fn of(written: &[&str]) -> Self {
        let mut tags = Self::default();
        written.iter().for_each(|text| tags.add(text).expect("a pattern"));
        tags
    }
}

/// The keys beside `salt_events`, which mean nothing without it.
const BESIDE: [&str; 2] = ["salt_event_tags", "salt_trimmed_wait"];

pub(super) fn read(host: &Section<'_>, findings: &mut Findings) -> Option<SaltEventsSettings> {
    let tags = host.get("salt_event_tags", tags, findings).unwrap_or_default();
    let day = Duration::ZERO..=Duration::from_secs(24 * 3600);
    let trimmed_wait = host.get("salt_trimmed_wait", |found| found.duration(day), findings);
    let Some(address) = host.get("salt_events", address, findings) else {
        for key in BESIDE.into_iter().filter(|key| host.has(key) && !host.has("salt_events")) {
            if let Some(found) = host.find(key, findings) {
                findings.warning(found.wrong("is of no use without `host.salt_events`").hint(HINT));
            }
        }
        return None;
    };
    Some(SaltEventsSettings { address, tags, trimmed_wait: trimmed_wait.unwrap_or(TRIMMED_WAIT) })
}

const HINT: &str = "`host.salt_events: /var/run/salt/master/master_event_pub.ipc`, or \
                    `tcp://127.0.0.1:4512` where the master has `ipc_mode: tcp`";

fn address(found: &Found<'_>) -> Result<Address, Finding> {
    let text = found.text()?;
    let wrong = || found.wrong(format!("is `{text}`, expected the master's socket")).hint(HINT);
    if let Some(place) = text.strip_prefix("tcp://") {
        let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        return match port.parse() {
            Ok(port) if !host.is_empty() => Ok(Address::Tcp { host: host.to_owned(), port }),
            _ => Err(wrong()),
        };
    }
    if text.starts_with('/') { Ok(Address::Unix(PathBuf::from(text))) } else { Err(wrong()) }
}

fn tags(found: &Found<'_>) -> Result<Tags, Finding> {
    let mut tags = Tags::default();
    for (place, text) in found.texts()? {
        tags.add(&text).map_err(|error| {
            Finding::new(&place, format!("`host.salt_event_tags` has `{text}`, which is no pattern: {error}"))
        })?;
    }
    Ok(tags)
}
