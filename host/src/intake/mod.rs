//! Intake: bytes to items in the journal.
//!
//! Invariants:
//! - A request is taken whole or not at all.
//! - [`Intake::take`] answers ok only when the items are on disk.
//! - What is taken is taken to its end, also when nobody waits for it any more: that the items are
//!   counted and known for what they are is not for the client to break off.
//!
//! It knows nothing of HTTP; whoever brings bytes calls it.

mod job_ids;
mod read;
mod router;
mod salt_events;
mod whole;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::delivery::{Lane, Lanes, QuotaError, RouteError, published};
use crate::items::{self, Item, Key, Kind};
use crate::journal::{AppendError, Journal, JournalError, LaneId, NewItem, Seq, SetAside};
use crate::telemetry::{IntakeMetrics, SaltEventsMetrics};

use read::{Bad, Read, read, read_minions};
use router::Router;
use whole::Whole;

pub(crate) use job_ids::JobIds;
pub(crate) use salt_events::{Following, Gap, Gaps, SaltEvents, knock};

/// The most bad items that an answer names.
const MOST_NAMED: usize = 100;

/// The most items of a request: it is one transaction, and others wait for its end.
pub(crate) const MOST_ITEMS: usize = 100_000;

/// The most minions of a request: they are one item.
const MOST_MINIONS: usize = 100_000;

/// Bodies from this size on are read on a thread where they hold nobody up, in bytes.
const LARGE: usize = 256 << 10;

/// The most of those that are read at once, in the order in which they came: what one becomes
/// in memory can be several times what it was.
const READ_AT_ONCE: usize = 4;

/// So many items of a request, and others have their turn.
const AT_A_STRETCH: usize = 256;

pub(crate) struct Intake {
    lanes: Arc<Lanes>,
    journal: Arc<Journal>,
    metrics: IntakeMetrics,
    job_ids: Arc<JobIds>,
    whole: Whole,
    salt: SaltEventsMetrics,
    reading: Arc<Semaphore>,
}

/// What was taken.
pub(crate) struct Receipt {
    pub(crate) accepted: usize,
    pub(crate) duplicates: usize,
    /// Returns that came with the job id `req`, by their place, and the one given.
    pub(crate) assigned: Vec<(usize, Arc<str>)>,
    lanes: Vec<Arc<Lane>>,
    seqs: RangeInclusive<Seq>,
    /// What its duplicates repeat.
    repeated: HashSet<Key>,
}

/// The names of returners that have not stored all of a request.
#[derive(Debug, Default)]
pub(crate) struct Unstored {
    /// They are to try it, or to try it again.
    pub(crate) waiting: Vec<String>,
    /// They have set aside what is in it as a dead letter.
    pub(crate) rejected: Vec<String>,
}

/// Why nothing of a request was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Malformed(String),
    #[error("there is no item in it")]
    Empty,
    #[error("there are more than {MOST_ITEMS} items in it")]
    TooMany,
    #[error("there are more than {MOST_MINIONS} minions in it")]
    TooManyMinions,
    /// The first of them are named.
    #[error("{bad} of {of} items cannot be taken; nothing was{}", first_named(*bad))]
    Items { items: Vec<BadItem>, bad: usize, of: usize },
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Quota(#[from] QuotaError),
    #[error(transparent)]
    Journal(#[from] AppendError),
}

fn first_named(bad: usize) -> String {
    if bad > MOST_NAMED { format!(". The first {MOST_NAMED} are named") } else { String::new() }
}

impl Refused {
    /// The reason in one word, for the metrics.
    fn reason(&self) -> &'static str {
        match self {
            Refused::Malformed(_) => "malformed",
            Refused::Empty => "empty",
            Refused::TooMany | Refused::TooManyMinions => "too-many",
            Refused::Items { .. } => "invalid",
            Refused::Route(_) => "route",
            Refused::Quota(_) => "quota",
            Refused::Journal(error) => error.reason(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct BadItem {
    /// The item's place in the request, from 0.
    pub(crate) index: usize,
    pub(crate) reason: String,
}

impl Intake {
    pub(crate) fn new(
        lanes: Arc<Lanes>,
        journal: Arc<Journal>,
        metrics: IntakeMetrics,
        salt: SaltEventsMetrics,
    ) -> Self {
        let reading = Arc::new(Semaphore::new(READ_AT_ONCE));
        Self { lanes, journal, metrics, job_ids: Arc::default(), whole: Whole::default(), salt, reading }
    }

    /// Takes the items of a body: one JSON object, an array of them, or one a line.
    /// `named` are the returners that the request names.
    pub(crate) async fn take(
        self: &Arc<Self>,
        kind: Kind,
        body: bytes::Bytes,
        named: Option<Vec<String>>,
    ) -> Result<Receipt, Refused> {
        let job_ids = Arc::clone(&self.job_ids);
        self.to_its_end(kind, body, named, move |body| read(kind, body, &job_ids)).await
    }

    async fn to_its_end(
        self: &Arc<Self>,
        kind: Kind,
        body: bytes::Bytes,
        named: Option<Vec<String>>,
        read: impl FnOnce(&[u8]) -> Result<Read, Refused> + Send + 'static,
    ) -> Result<Receipt, Refused> {
        let intake = Arc::clone(self);
        let taking = tokio::spawn(async move {
            let taken = match intake.read(body, read).await {
                Ok(read) => intake.append(read, named.as_deref()).await,
                Err(refused) => Err(refused),
            };
            intake.count(kind, &taken);
            taken
        });
        match taking.await {
            Ok(taken) => taken,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(AppendError::Stopped.into()),
        }
    }

    /// Reads a body, which is held until that has ended, also when nobody waits for it any more.
    async fn read(
        &self,
        body: bytes::Bytes,
        read: impl FnOnce(&[u8]) -> Result<Read, Refused> + Send + 'static,
    ) -> Result<Read, Refused> {
        if body.len() < LARGE {
            return read(&body);
        }
        let failed =
            |error: &dyn std::fmt::Display| Refused::Malformed(format!("reading it failed: {error}"));
        let turn = Arc::clone(&self.reading).acquire_owned().await.map_err(|error| failed(&error))?;
        let reading = tokio::task::spawn_blocking(move || {
            let read = read(&body);
            drop((body, turn));
            read
        });
        reading.await.map_err(|error| failed(&error))?
    }

    /// The returners that such a return goes to and that have not had a large one of the same
    /// minion to the same job lately.
    async fn without_whole(&self, answer: &items::Return) -> Result<Vec<String>, RouteError> {
        let lanes = self.lanes.route(&Item::Return(answer.clone()), None).await?;
        let identity = answer.identity();
        let lacking = lanes.iter().filter(|lane| !self.whole.has(identity, lane.id()));
        Ok(lacking.map(|lane| lane.name().to_owned()).collect())
    }

    /// Those of these lanes that have not had the whole of a return that lacks something.
    fn without_whole_of(&self, item: &Item, lanes: Arc<[LaneId]>) -> Arc<[LaneId]> {
        let Item::Return(answer) = item else { return lanes };
        let identity = answer.identity();
        lanes.iter().copied().filter(|lane| !self.whole.has(identity, *lane)).collect()
    }

    /// Takes minions of a job that became known after its load; `body` is a JSON array
    /// of their ids.
    pub(crate) async fn take_minions(
        self: &Arc<Self>,
        jid: &str,
        body: bytes::Bytes,
        named: Option<Vec<String>>,
    ) -> Result<Receipt, Refused> {
        let job = jid.to_owned();
        self.to_its_end(Kind::Minions, body, named, move |body| read_minions(&job, body)).await
    }

    fn count(&self, kind: Kind, taken: &Result<Receipt, Refused>) {
        match taken {
            Ok(receipt) => self.metrics.accepted(kind, receipt.accepted, receipt.duplicates),
            Err(refused) => self.metrics.refused(refused.reason()),
        }
    }

    async fn append(&self, read: Read, named: Option<&[String]>) -> Result<Receipt, Refused> {
        let accepted_at = now();
        let mut router = Router::new(&self.lanes, named);
        let accepted = read.items.len();
        let mut new = Vec::with_capacity(accepted);
        let (mut large, mut loads) = (Vec::new(), Vec::new());
        let mut bad = Bad::of(accepted);
        let Read { items, loads: mut own_loads, assigned, trimmed } = read;
        let mut replaced = 0;
        for (index, item) in items.into_iter().enumerate() {
            if index % AT_A_STRETCH == AT_A_STRETCH - 1 {
                tokio::task::yield_now().await;
            }
            let lanes = match router.route(&item).await {
                Ok(lanes) => lanes,
                // It is about this item, and others may be bad, too.
                Err(RouteError::Variant(error)) => {
                    bad.add(index, error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let lanes = match trimmed.contains(&index) {
                true => self.without_whole_of(&item, lanes),
                false => lanes,
            };
            if lanes.is_empty() {
                replaced += 1;
                continue;
            }
            large.extend(whole::large(&item).map(|identity| (identity, Arc::clone(&lanes))));
            loads.extend(published(&item).map(|load| (load, Arc::clone(&lanes))));
            let dedupe = item.dedupe_key();
            if let Some(load) = own_loads.remove(&index)
                && let Some(lanes) = router.lanes_of_loads(&load).await
            {
                new.push(NewItem { item: Item::Load(load), accepted: accepted_at, lanes, dedupe: None });
            }
            let item = match item {
                Item::Event(event) => Item::Event(event.with_master(&self.lanes.settings().host.id)),
                other => other,
            };
            new.push(NewItem { item, accepted: accepted_at, lanes, dedupe });
        }
        bad.refuse()?;
        let lanes = router.into_used();
        let admitted = self.lanes.admit(&lanes, &new).await?;
        let appended = self.journal.append(new).await?;
        drop(admitted);
        self.lanes.resume_where_ended(&lanes).await;
        self.whole.note(large);
        // Which of a request's items were copies, nobody knows any more.
        self.salt.trimmed(trimmed.len().saturating_sub(replaced + appended.duplicates));
        self.lanes.loads.note(loads);
        Ok(Receipt {
            accepted: accepted - appended.duplicates - replaced,
            duplicates: appended.duplicates + replaced,
            assigned,
            lanes,
            seqs: appended.first..=appended.through,
            repeated: appended.repeated.into_iter().collect(),
        })
    }
}

impl Receipt {
    /// Waits until every lane has passed the items, for so long at most; says which of them have
    /// not stored all. One of which that is not known by then counts as waiting.
    pub(crate) async fn stored(&self, within: Duration) -> Result<Unstored, JournalError> {
        let looks = self.lanes.iter().map(|lane| tokio::time::timeout(within, self.set_aside(lane)));
        let mut unstored = Unstored::default();
        for (lane, look) in self.lanes.iter().zip(join_all(looks).await) {
            let aside = match look {
                Ok(aside) => aside?,
                Err(_) => SetAside { held: true, rejected: false },
            };
            unstored.waiting.extend(aside.held.then(|| lane.name().to_owned()));
            unstored.rejected.extend(aside.rejected.then(|| lane.name().to_owned()));
        }
        Ok(unstored)
    }

    /// What a lane has not stored of it, when it has passed all of it.
    async fn set_aside(&self, lane: &Lane) -> Result<SetAside, JournalError> {
        lane.passed(*self.seqs.end()).await;
        lane.set_aside(self.seqs.clone(), &self.repeated).await
    }
}

/// Milliseconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
