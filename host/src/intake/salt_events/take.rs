//! From what was received to items in the journal.
//!
//! Promises: loads are taken in before returns that were received with them or after them;
//! nothing that was received is given up while the journal refuses, for however long; what
//! one message lacks hinders no other. A return that Salt trimmed waits for the whole one
//! ([`Trimmed`]), and is left out where that came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::SaltEvents;
use super::gaps::now;
use super::message::{Sorted, Sorter};
use crate::intake::Refused;
use crate::items::{Item, Key, Kind, parse};

/// The most messages of one request to the journal.
const BATCH: usize = 4096;

/// How often the moment is kept up to which all was taken in.
const NOTE: Duration = Duration::from_secs(2);

/// The longest wait before the journal is asked again.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// The body of a message, and its part of the room for what waits.
pub(super) struct Message {
    pub(super) body: Bytes,
    pub(super) room: OwnedSemaphorePermit,
    /// When it was received, in milliseconds since 1970-01-01 UTC.
    pub(super) at: u64,
}

pub(super) struct Taker {
    pub(super) events: Arc<SaltEvents>,
    pub(super) sorter: Sorter,
    pub(super) trimmed: Trimmed,
    pub(super) stop: CancellationToken,
}

impl Taker {
    /// Until whoever receives is gone and all that it received is taken in; when the host
    /// stops, what the journal refuses is left.
    pub(super) async fn run(mut self, mut received: mpsc::UnboundedReceiver<Message>) {
        let mut tick = interval(NOTE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages: Vec<Message> = Vec::new();
        let mut noted = Instant::now();
        loop {
            let received_now = tokio::select! {
                biased;
                count = received.recv_many(&mut messages, BATCH) => Some(count),
                _ = tick.tick() => None,
            };
            if received_now == Some(0) {
                break;
            }
            let newest = messages.last().map(|message| message.at);
            let batch = self.sort(messages.drain(..));
            self.take(batch).await;
            // Messages come in order: what was received before these was taken in before them.
            let through = newest.or_else(|| received.is_empty().then(now));
            if let Some(through) = through.filter(|_| noted.elapsed() >= NOTE) {
                self.note(through);
                noted = Instant::now();
            }
        }
        let rest = self.trimmed.end();
        self.events.metrics.trimmed(rest.len());
        self.take(Batch { returns: rest, ..Batch::default() }).await;
        if self.events.is_connected() {
            self.events.gaps.taken_in(now());
        }
    }

    /// Keeps the moment up to which all was taken in: a little earlier than that, for what the
    /// system has received and not handed over, and before what waits in memory.
    fn note(&self, through: u64) {
        if self.events.is_connected() {
            let through = through.saturating_sub(NOTE.as_millis() as u64);
            let through = self.trimmed.oldest().map_or(through, |oldest| through.min(oldest));
            tokio::task::block_in_place(|| self.events.gaps.taken_in(through));
        }
    }

    fn sort(&mut self, messages: impl Iterator<Item = Message>) -> Batch {
        let mut batch = Batch::default();
        for Message { body, room, at } in messages {
            match self.sorter.sort(&body) {
                Ok(Some(sorted)) if sorted.trimmed => self.trimmed.wait(sorted, at),
                Ok(Some(sorted)) => batch.add(sorted),
                Ok(None) => self.events.metrics.unwanted(1),
                Err(error) => {
                    self.events.metrics.bad(1);
                    tracing::warn!("a message of Salt's event bus cannot be read: {error}");
                }
            }
            batch.room.push(room);
        }
        let intake = &self.events.intake;
        let (due, replaced) = self.trimmed.due(|identity| intake.has_whole(identity));
        self.events.metrics.trimmed(due.len());
        self.events.metrics.replaced(replaced);
        batch.returns.extend(due);
        batch
    }

    async fn take(&self, batch: Batch) {
        let Batch { loads, returns, events, room } = batch;
        self.take_all(Kind::Load, loads).await;
        self.take_all(Kind::Return, returns).await;
        self.take_all(Kind::Event, events).await;
        drop(room);
    }

    /// Takes in all that the journal can take.
    async fn take_all(&self, kind: Kind, mut texts: Vec<String>) {
        let mut wait = Duration::from_millis(50);
        while !texts.is_empty() {
            let body = Bytes::from(texts.join("\n"));
            match self.events.intake.take(kind, body, None).await {
                Ok(_) => return self.events.metrics.taken(kind, texts.len()),
                Err(Refused::Items { items, .. }) => {
                    for bad in items.iter().rev() {
                        tracing::warn!(
                            "a {} of Salt's event bus cannot be taken: {}",
                            kind.name(),
                            bad.reason
                        );
                        self.events.metrics.bad(1);
                        texts.remove(bad.index);
                    }
                }
                // Nobody stores these.
                Err(Refused::Route(_)) => return self.events.metrics.unwanted(texts.len()),
                Err(refused) => {
                    tracing::warn!(
                        "{} of Salt's event bus wait{}: {refused}",
                        kind.counted(texts.len()),
                        if texts.len() == 1 { "s" } else { "" },
                    );
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = self.stop.cancelled() => return,
                    }
                    wait = (wait * 2).min(MOST_WAIT);
                }
            }
        }
    }
}

/// What was received at once, by kind.
#[derive(Default)]
struct Batch {
    loads: Vec<String>,
    returns: Vec<String>,
    events: Vec<String>,
    room: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    fn add(&mut self, sorted: Sorted) {
        match sorted.kind {
            Kind::Load => self.loads.push(sorted.text),
            Kind::Return => self.returns.push(sorted.text),
            Kind::Event | Kind::Minions => self.events.push(sorted.text),
        }
    }
}

/// Returns that lack something, which a minion's own module sends whole: usually a moment
/// later, because a minion answers its master first.
pub(super) struct Trimmed {
    wait: Duration,
    waiting: VecDeque<Incomplete>,
}

struct Incomplete {
    /// In milliseconds since 1970-01-01 UTC.
    at: u64,
    until: Instant,
    /// None of a return that cannot be read: it is named where it is taken in.
    identity: Option<Key>,
    text: String,
}

impl Trimmed {
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, waiting: VecDeque::new() }
    }

    fn wait(&mut self, sorted: Sorted, at: u64) {
        let identity = match parse(Kind::Return, &sorted.text, String::new) {
            Ok(Item::Return(answer)) => Some(answer.identity()),
            _ => None,
        };
        let until = Instant::now() + self.wait;
        self.waiting.push_back(Incomplete { at, until, identity, text: sorted.text });
    }

    /// When the first one was received.
    fn oldest(&self) -> Option<u64> {
        self.waiting.front().map(|incomplete| incomplete.at)
    }

    /// Those that have waited long enough and whose whole return did not come; and how many
    /// have waited, and it did.
    fn due(&mut self, has_whole: impl Fn(Key) -> bool) -> (Vec<String>, usize) {
        let (mut due, mut replaced) = (Vec::new(), 0);
        while self.waiting.front().is_some_and(|incomplete| incomplete.until <= Instant::now())
            && let Some(Incomplete { identity, text, .. }) = self.waiting.pop_front()
        {
            match identity.is_some_and(&has_whole) {
                true => replaced += 1,
                false => due.push(text),
            }
        }
        (due, replaced)
    }

    /// All of them, when the host does not listen any longer.
    fn end(&mut self) -> Vec<String> {
        self.waiting.drain(..).map(|incomplete| incomplete.text).collect()
    }
}
