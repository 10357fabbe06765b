//! Intake: bytes to items in the journal.
//!
//! Invariants:
//! - A request is taken whole or not at all.
//! - [`Intake::take`] answers ok only when the items are on disk.
//!
//! It knows nothing of HTTP; whoever brings bytes calls it.

mod job_ids;
mod salt_events;
mod whole;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use crate::delivery::{Lane, Lanes, RouteError, published};
use crate::items::{self, Item, Key, Kind, Route};
use crate::journal::{AppendError, Journal, JournalError, LaneId, NewItem, Seq, SetAside};
use crate::telemetry::IntakeMetrics;

use job_ids::JobIds;
use whole::Whole;

pub(crate) use salt_events::{Following, Gap, Gaps, SaltEvents, knock};

/// The most bad items that an answer names.
const MOST_NAMED: usize = 100;

/// The most items of a request: it is one transaction, and others wait for its end.
pub(crate) const MOST_ITEMS: usize = 100_000;

/// Bodies from this size on are read on a thread where they hold nobody up, in bytes.
const LARGE: usize = 256 << 10;

pub(crate) struct Intake {
    lanes: Arc<Lanes>,
    journal: Arc<Journal>,
    metrics: IntakeMetrics,
    job_ids: Arc<JobIds>,
    whole: Whole,
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
    #[error("there are {0} items in it, more than {MOST_ITEMS}")]
    TooMany(usize),
    /// The first of them are named.
    #[error("{bad} of {of} items cannot be taken; nothing was{}", first_named(*bad))]
    Items { items: Vec<BadItem>, bad: usize, of: usize },
    #[error(transparent)]
    Route(#[from] RouteError),
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
            Refused::TooMany(_) => "too-many",
            Refused::Items { .. } => "invalid",
            Refused::Route(_) => "route",
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

/// The items of a request, read.
struct Read {
    items: Vec<Item>,
    assigned: Vec<(usize, Arc<str>)>,
}

impl Intake {
    pub(crate) fn new(lanes: Arc<Lanes>, journal: Arc<Journal>, metrics: IntakeMetrics) -> Self {
        Self { lanes, journal, metrics, job_ids: Arc::default(), whole: Whole::default() }
    }

    /// Takes the items of a body: one JSON object, an array of them, or one a line.
    /// `named` are the returners that the request names.
    pub(crate) async fn take(
        &self,
        kind: Kind,
        body: bytes::Bytes,
        named: Option<&[String]>,
    ) -> Result<Receipt, Refused> {
        let taken = self.read_and_append(kind, body, named).await;
        self.count(kind, &taken);
        taken
    }

    async fn read_and_append(
        &self,
        kind: Kind,
        body: bytes::Bytes,
        named: Option<&[String]>,
    ) -> Result<Receipt, Refused> {
        let job_ids = Arc::clone(&self.job_ids);
        let read = match body.len() {
            0..LARGE => read(kind, &body, &job_ids)?,
            _ => tokio::task::spawn_blocking(move || read(kind, &body, &job_ids))
                .await
                .map_err(|error| Refused::Malformed(format!("reading it failed: {error}")))??,
        };
        self.append(read, named).await
    }

    /// The returners that such a return goes to and that have not had a large one of the same
    /// minion to the same job lately.
    async fn without_whole(&self, answer: &items::Return) -> Result<Vec<String>, RouteError> {
        let lanes = self.lanes.route(&Item::Return(answer.clone()), None).await?;
        let identity = answer.identity();
        let lacking = lanes.iter().filter(|lane| !self.whole.has(identity, lane.id()));
        Ok(lacking.map(|lane| lane.name().to_owned()).collect())
    }

    /// Takes minions of a job that became known after its load; `body` is a JSON array
    /// of their ids.
    pub(crate) async fn take_minions(
        &self,
        jid: &str,
        body: &[u8],
        named: Option<&[String]>,
    ) -> Result<Receipt, Refused> {
        let taken = match read_minions(jid, body) {
            Ok(read) => self.append(read, named).await,
            Err(refused) => Err(refused),
        };
        self.count(Kind::Minions, &taken);
        taken
    }

    fn count(&self, kind: Kind, taken: &Result<Receipt, Refused>) {
        match taken {
            Ok(receipt) => self.metrics.accepted(kind, receipt.accepted, receipt.duplicates),
            Err(refused) => self.metrics.refused(refused.reason()),
        }
    }

    async fn append(&self, read: Read, named: Option<&[String]>) -> Result<Receipt, Refused> {
        let accepted_at = now();
        let mut router = Router { lanes: &self.lanes, named, known: HashMap::new(), used: Vec::new() };
        let accepted = read.items.len();
        let mut new = Vec::with_capacity(accepted);
        let (mut large, mut loads) = (Vec::new(), Vec::new());
        let mut bad = Bad::of(accepted);
        for (index, item) in read.items.into_iter().enumerate() {
            let lanes = match router.route(&item).await {
                Ok(lanes) => lanes,
                // It is about this item, and others may be bad, too.
                Err(RouteError::Variant(error)) => {
                    bad.add(index, error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            large.extend(whole::large(&item).map(|identity| (identity, Arc::clone(&lanes))));
            loads.extend(published(&item).map(|load| (load, Arc::clone(&lanes))));
            let dedupe = item.dedupe_key();
            if let Item::Return(answer) = &item
                && answer.assigned
                && let Some(load) = router.load_of(answer).await
            {
                new.push(NewItem {
                    item: Item::Load(load.0),
                    accepted: accepted_at,
                    lanes: load.1,
                    dedupe: None,
                });
            }
            let item = match item {
                Item::Event(event) => Item::Event(event.with_master(&self.lanes.settings().host.id)),
                other => other,
            };
            new.push(NewItem { item, accepted: accepted_at, lanes, dedupe });
        }
        bad.refuse()?;
        let lanes = router.used;
        let appended = self.journal.append(new).await?;
        self.lanes.resume_where_ended(&lanes).await;
        self.whole.note(large);
        self.lanes.loads.note(loads);
        Ok(Receipt {
            accepted: accepted - appended.duplicates,
            duplicates: appended.duplicates,
            assigned: read.assigned,
            lanes,
            seqs: appended.first..=appended.through,
            repeated: appended.repeated.into_iter().collect(),
        })
    }
}

/// Where the items of one request go; those with the same route share the answer.
struct Router<'a> {
    lanes: &'a Lanes,
    named: Option<&'a [String]>,
    known: HashMap<Route, Arc<[LaneId]>>,
    used: Vec<Arc<Lane>>,
}

impl Router<'_> {
    async fn route(&mut self, item: &Item) -> Result<Arc<[LaneId]>, RouteError> {
        let plain = Route::default();
        let route = match item {
            Item::Return(item) => &item.route,
            _ => &plain,
        };
        if let Some(known) = self.known.get(route) {
            return Ok(Arc::clone(known));
        }
        let lanes = self.lanes.route(item, self.named).await?;
        let ids: BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id()).collect();
        for lane in lanes {
            if !self.used.iter().any(|known| known.id() == lane.id()) {
                self.used.push(lane);
            }
        }
        let ids: Arc<[LaneId]> = ids.into_iter().collect();
        self.known.insert(route.clone(), Arc::clone(&ids));
        Ok(ids)
    }

    /// Salt's own returners save a load for a return whose job id they made: it is the
    /// return itself. Only where a returner stores loads.
    async fn load_of(&self, answer: &items::Return) -> Option<(items::Load, Arc<[LaneId]>)> {
        let load = answer.as_load()?;
        let item = Item::Load(load.clone());
        let mut lanes = Vec::new();
        match self.named {
            None => lanes.extend(self.lanes.route(&item, None).await.into_iter().flatten()),
            // One that stores no loads is no hindrance to the others.
            Some(names) => {
                for name in names {
                    let one = self.lanes.route(&item, Some(std::slice::from_ref(name))).await;
                    lanes.extend(one.into_iter().flatten());
                }
            }
        }
        let ids: BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id()).collect();
        (!ids.is_empty()).then(|| (load, ids.into_iter().collect()))
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

fn text(body: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(body)
        .map_err(|error| Refused::Malformed(format!("it is not UTF-8 at byte {}", error.valid_up_to())))
}

/// Cuts a body into its items, and says which of them cannot be read.
fn split(body: &[u8]) -> Result<Vec<Result<&str, String>>, Refused> {
    let not_json = |malformed: items::Malformed| format!("it is not JSON: {malformed}");
    let texts = items::split(text(body)?).map_err(|malformed| Refused::Malformed(not_json(malformed)))?;
    match texts.len() {
        0 => Err(Refused::Empty),
        1..=MOST_ITEMS => Ok(texts.into_iter().map(|text| text.map_err(not_json)).collect()),
        more => Err(Refused::TooMany(more)),
    }
}

fn read_minions(jid: &str, body: &[u8]) -> Result<Read, Refused> {
    let texts = split(body)?;
    let mut minions = Vec::new();
    let mut bad = Bad::of(texts.len());
    for (index, text) in texts.into_iter().enumerate() {
        match text.and_then(|text| items::minion_ids(text).map_err(|invalid| invalid.0)) {
            Ok(more) => minions.extend(more),
            Err(reason) => bad.add(index, reason),
        }
    }
    bad.refuse()?;
    if minions.is_empty() {
        return Err(Refused::Empty);
    }
    let invalid = |invalid: items::Invalid| Refused::Malformed(invalid.0);
    let item = items::parse_minions(jid, &minions).map_err(invalid)?;
    Ok(Read { items: vec![item], assigned: Vec::new() })
}

fn read(kind: Kind, body: &[u8], job_ids: &JobIds) -> Result<Read, Refused> {
    let texts = split(body)?;
    let mut items = Vec::with_capacity(texts.len());
    let mut bad = Bad::of(texts.len());
    let mut assigned = Vec::new();
    for (index, text) in texts.into_iter().enumerate() {
        let parsed =
            text.and_then(|text| items::parse(kind, text, || job_ids.next()).map_err(|invalid| invalid.0));
        match parsed {
            Ok(item) => {
                if let Item::Return(item) = &item
                    && item.assigned
                {
                    assigned.push((index, Arc::clone(&item.jid)));
                }
                items.push(item);
            }
            Err(reason) => bad.add(index, reason),
        }
    }
    bad.refuse()?;
    Ok(Read { items, assigned })
}

/// The items of a request that cannot be taken.
struct Bad {
    /// The first of them.
    items: Vec<BadItem>,
    count: usize,
    of: usize,
}

impl Bad {
    fn of(items: usize) -> Self {
        Self { items: Vec::new(), count: 0, of: items }
    }

    fn add(&mut self, index: usize, reason: String) {
        self.count += 1;
        if self.items.len() < MOST_NAMED {
            self.items.push(BadItem { index, reason });
        }
    }

    fn refuse(self) -> Result<(), Refused> {
        match self.count {
            0 => Ok(()),
            bad => Err(Refused::Items { items: self.items, bad, of: self.of }),
        }
    }
}

/// Milliseconds since 1970-01-01 UTC.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
