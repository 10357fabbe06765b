//! From what was received to items in the journal.
//!
//! Promises: loads are taken in before returns that were received with them or after them;
//! nothing that was received is given up while the journal refuses, for however long; what
//! one message lacks hinders no other. Where the host stops while the journal refuses, what
//! is given up is said, and the gap that follows begins before it ([`Taker::run`]).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::message::{Rules, Sorter};
use super::receive::Held;
use super::trimmed::{Incomplete, Trimmed};
use super::{MARGIN, SaltEvents};
use crate::delivery::RouteError;
use crate::intake::Refused;
use crate::intake::now;
use crate::items::{Item, Kind, Return, parse};

/// The most messages that are taken in at once, and their bytes.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;

/// How often the moment is kept up to which all was taken in.
const NOTE: Duration = Duration::from_secs(2);

/// The longest wait before the journal is asked again.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// The body of a message, and its part of the room for what waits.
pub(super) struct Message {
    pub(super) body: Bytes,
    pub(super) room: OwnedSemaphorePermit,
    /// A moment before it arrived, in milliseconds since 1970-01-01 UTC.
    pub(super) at: u64,
}

/// Which returners get what is taken in.
#[derive(Clone, Copy)]
enum Whom<'a> {
    Configured,
    /// Those of them that have not had this return whole.
    Lacking(&'a Return),
}

pub(super) struct Taker {
    pub(super) events: Arc<SaltEvents>,
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) sorter: Sorter,
    pub(super) trimmed: Trimmed,
    pub(super) held: Arc<Held>,
    pub(super) stop: CancellationToken,
    /// The oldest moment of what was given up.
    pub(super) given_up: Option<u64>,
}

impl Taker {
    /// Until whoever receives is gone and all that it received is taken in, or given up
    /// because the host stops: gives the moment from which on that is so.
    pub(super) async fn run(mut self, mut received: mpsc::UnboundedReceiver<Message>) -> Option<u64> {
        let mut tick = interval(NOTE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut noted = Instant::now();
        loop {
            let first = tokio::select! {
                biased;
                first = received.recv() => match first {
                    Some(first) => Some(first),
                    None => break,
                },
                _ = tick.tick() => None,
            };
            let messages = gather(first, &mut received);
            let newest = messages.last().map(|message| message.at);
            let batch = tokio::task::block_in_place(|| self.sort(messages));
            self.take(batch).await;
            self.take_trimmed(false).await;
            // Messages come in order: what was received before these was taken in before them.
            let idle = || received.is_empty().then(|| self.held.since().unwrap_or_else(now));
            if let Some(through) = newest.or_else(idle).filter(|_| noted.elapsed() >= NOTE) {
                self.note(through);
                noted = Instant::now();
            }
        }
        self.take_trimmed(true).await;
        self.given_up
    }

    /// Keeps the moment up to which all was taken in, but for what waits in memory.
    fn note(&self, through: u64) {
        if self.events.hears() && self.given_up.is_none() {
            let through = self.trimmed.oldest().map_or(through, |oldest| through.min(oldest));
            self.events.note(through.saturating_sub(MARGIN));
        }
    }

    fn sort(&mut self, messages: Vec<Message>) -> Batch {
        let rules = self.rules.load();
        let mut batch = Batch::default();
        for Message { body, room, at } in messages {
            batch.since = Some(batch.since.map_or(at, |since| since.min(at)));
            batch.room.push(room);
            match self.sorter.sort(&rules, &body) {
                Ok(Some(sorted)) if sorted.trimmed => self.trimmed.wait(sorted, at, rules.trimmed_wait),
                Ok(Some(sorted)) => batch.of(sorted.kind).push(sorted.text),
                Ok(None) => self.events.metrics.unwanted(1),
                Err(error) => {
                    self.events.metrics.bad(1);
                    tracing::warn!("a message of Salt's event bus cannot be read: {error}");
                }
            }
        }
        batch
    }

    async fn take(&mut self, batch: Batch) {
        let Batch { loads, returns, events, room, since } = batch;
        for (kind, texts) in [(Kind::Load, loads), (Kind::Return, returns), (Kind::Event, events)] {
            self.take_all(kind, texts, Whom::Configured, since).await;
        }
        drop(room);
    }

    /// Trimmed returns whose time is over go to those returners that have not had the whole.
    async fn take_trimmed(&mut self, all: bool) {
        let due = if all { self.trimmed.end() } else { self.trimmed.due() };
        for Incomplete { at, text, .. } in due {
            let answer = match parse(Kind::Return, &text, String::new) {
                Ok(Item::Return(answer)) => Some(answer),
                // It is named where it is taken in.
                _ => None,
            };
            let whom = answer.as_ref().map_or(Whom::Configured, Whom::Lacking);
            self.take_all(Kind::Return, vec![text], whom, Some(at)).await;
        }
    }

    /// Takes in all that the journal can take.
    async fn take_all(&mut self, kind: Kind, mut texts: Vec<String>, whom: Whom<'_>, since: Option<u64>) {
        let mut wait = Duration::from_millis(50);
        let mut said = false;
        while !texts.is_empty() {
            // Anew for each try: meanwhile the configuration changes, and whole ones come.
            let lacking = self.lacking(whom).await;
            if lacking.as_ref().is_some_and(Vec::is_empty) {
                return self.events.metrics.replaced(texts.len());
            }
            let body = Bytes::from(texts.join("\n"));
            let refused = match self.events.intake.take(kind, body, lacking.clone()).await {
                Ok(_) => return self.taken(kind, texts.len(), whom),
                Err(refused) => refused,
            };
            match refused {
                Refused::Items { items, .. } => {
                    for bad in items.iter().rev() {
                        let text = texts.remove(bad.index);
                        self.events.metrics.bad(1);
                        tracing::warn!(
                            "{} of Salt's event bus cannot be taken: {}",
                            title(kind, &text),
                            bad.reason
                        );
                    }
                }
                // The configuration changed just now.
                Refused::Route(RouteError::Unknown { .. } | RouteError::Kind { .. }) if lacking.is_some() => {
                }
                // Nobody stores these.
                Refused::Route(_) => return self.events.metrics.unwanted(texts.len()),
                error @ (Refused::Quota(_) | Refused::Journal(_)) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(
                            "what Salt's event bus says waits ({}): {error}",
                            kind.counted(texts.len())
                        );
                    }
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.stop.cancelled() => return self.give_up(kind, texts.len(), since),
                    }
                    wait = (wait * 2).min(MOST_WAIT);
                }
                Refused::Malformed(_) | Refused::Empty | Refused::TooMany | Refused::TooManyMinions => {
                    tracing::error!(
                        "{} of Salt's event bus are given up: {refused}",
                        kind.counted(texts.len())
                    );
                    return self.events.metrics.bad(texts.len());
                }
            }
        }
    }

    /// The names of the returners that get it, where not all that are configured do.
    async fn lacking(&self, whom: Whom<'_>) -> Option<Vec<String>> {
        match whom {
            Whom::Configured => None,
            // That nobody stores it is told where it is taken in.
            Whom::Lacking(answer) => self.events.intake.without_whole(answer).await.ok(),
        }
    }

    fn taken(&self, kind: Kind, count: usize, whom: Whom<'_>) {
        self.events.metrics.taken(kind, count);
        if let Whom::Lacking(_) = whom {
            self.events.metrics.trimmed(count);
        }
    }

    fn give_up(&mut self, kind: Kind, count: usize, since: Option<u64>) {
        tracing::warn!(
            "{} of Salt's event bus are given up, because the journal takes nothing in and the host stops: after its next \
             start `returner salt backfill` fills them in",
            kind.counted(count)
        );
        let since = since.unwrap_or_else(now);
        self.given_up = Some(self.given_up.map_or(since, |before| before.min(since)));
    }
}

/// What was received at once, within bounds.
fn gather(first: Option<Message>, received: &mut mpsc::UnboundedReceiver<Message>) -> Vec<Message> {
    let mut messages: Vec<Message> = first.into_iter().collect();
    let mut bytes: usize = messages.iter().map(|message| message.body.len()).sum();
    while !messages.is_empty() && messages.len() < BATCH && bytes < BATCH_BYTES {
        let Ok(message) = received.try_recv() else { break };
        bytes += message.body.len();
        messages.push(message);
    }
    messages
}

/// Which one it is, for the log: never what was returned.
fn title(kind: Kind, text: &str) -> String {
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    let member = |name: &&str| Some(format!("`{name}` {}", members.get(*name)?));
    let names: Vec<String> = ["jid", "id", "fun", "tag"].iter().filter_map(member).collect();
    let mut title = format!("a {} ({})", kind.name(), names.join(", "));
    title.truncate(title.floor_char_boundary(300));
    title
}

/// What was received at once, by kind.
#[derive(Default)]
struct Batch {
    loads: Vec<String>,
    returns: Vec<String>,
    events: Vec<String>,
    room: Vec<OwnedSemaphorePermit>,
    /// The oldest moment of it.
    since: Option<u64>,
}

impl Batch {
    fn of(&mut self, kind: Kind) -> &mut Vec<String> {
        match kind {
            Kind::Load => &mut self.loads,
            Kind::Return => &mut self.returns,
            Kind::Event | Kind::Minions => &mut self.events,
        }
    }
}
