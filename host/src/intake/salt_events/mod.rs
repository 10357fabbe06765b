//! Salt's event bus: what a master publishes to whoever listens on its socket
//! (`master_event_pub.ipc`). Nobody is asked, nothing is acknowledged, nothing is told again.
//!
//! Invariants:
//! - Receiving ([`receive`]) waits for nothing but room in memory: the master cuts off who does
//!   not read for a minute (`publish_drain_timeout`). Storing is somebody else's work ([`take`]).
//! - What may have been missed is known as a gap ([`gaps`]) before anything newer is taken in.
//!   No gap begins late: what was received and is not in the journal belongs to it.

mod frame;
mod gaps;
mod message;
mod receive;
mod take;
mod trimmed;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, block_in_place};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::message::{Rules, Sorter};
use self::receive::{Held, Lost, Receiver};
use self::take::Taker;
use self::trimmed::Trimmed;
use super::{Intake, now};
use crate::config::{Address, SaltEventsSettings};
use crate::telemetry::SaltEventsMetrics;

pub(crate) use gaps::{Gap, Gaps};
pub(crate) use receive::knock;

/// By how much a moment that is kept is earlier than what is known, in milliseconds: clocks of
/// two processes are read at two times.
const MARGIN: u64 = 2000;

/// The event bus, followed or not, as long as the host runs.
pub(crate) struct SaltEvents {
    intake: Arc<Intake>,
    pub(crate) gaps: Gaps,
    metrics: SaltEventsMetrics,
    link: Mutex<Option<BusLink>>,
}

/// How following it is going.
#[derive(Debug, Clone)]
pub(crate) struct BusLink {
    pub(crate) address: String,
    /// Since when the host listens, in milliseconds since 1970-01-01 UTC; nothing while it does
    /// not.
    pub(crate) connected: Option<u64>,
    /// A message has come since then. Until one has, what listens may be the wrong place, and
    /// whatever was said may have been missed.
    pub(crate) hears: bool,
    /// Why it does not.
    pub(crate) error: Option<String>,
}

/// A bus that is followed.
pub(crate) struct Following {
    address: Address,
    rules: Arc<ArcSwap<Rules>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    pub(crate) fn is_at(&self, address: &Address) -> bool {
        self.address == *address
    }

    /// What is made of messages from now on: listening goes on.
    pub(crate) fn change(&self, settings: &SaltEventsSettings, master: &str) {
        self.rules.store(Arc::new(Rules::new(settings, master)));
    }

    /// Listens no more, and takes in what was received if the journal does within a bound: a disk
    /// that hangs says neither yes nor no.
    pub(crate) async fn stop(self, within: Duration) {
        self.stop.cancel();
        let task = AbortOnDropHandle::new(self.task);
        if tokio::time::timeout(within, task).await.is_err() {
            tracing::error!(
                "the journal did not take what was heard of Salt's event bus within {within:?}; `returner salt backfill` \
                 brings what is missing"
            );
        }
    }
}

impl SaltEvents {
    pub(crate) fn new(intake: Arc<Intake>, gaps: Gaps, metrics: SaltEventsMetrics) -> Self {
        Self { intake, gaps, metrics, link: Mutex::default() }
    }

    /// Nothing where the configuration names no bus.
    pub(crate) fn link(&self) -> Option<BusLink> {
        self.link.lock().clone()
    }

    /// How many returns were stored, since the start, that lack something.
    pub(crate) fn trimmed(&self) -> u64 {
        self.metrics.trimmed_so_far()
    }

    /// Nothing is followed from now on.
    pub(crate) fn rest(&self) {
        *self.link.lock() = None;
        self.metrics.connected(false);
    }

    /// Follows a bus; `master` is Salt's id of the master. One bus at a time.
    pub(crate) fn follow(self: &Arc<Self>, settings: &SaltEventsSettings, master: &str) -> Following {
        let (stop, held) = (CancellationToken::new(), Arc::new(Held::default()));
        let rules = Arc::new(ArcSwap::from_pointee(Rules::new(settings, master)));
        let (sender, received) = mpsc::unbounded_channel();
        let taker = Taker {
            events: Arc::clone(self),
            rules: Arc::clone(&rules),
            sorter: Sorter::default(),
            trimmed: Trimmed::default(),
            held: Arc::clone(&held),
            stop: stop.clone(),
            given_up: None,
        };
        let address = settings.address.clone();
        let receiver = Receiver::new(Arc::clone(self), address.clone(), sender, Arc::clone(&held));
        let (events, stopped) = (Arc::clone(self), stop.clone());
        let task = tokio::spawn(async move {
            let taking = tokio::spawn(taker.run(received));
            tokio::select! {
                () = receiver.run() => {}
                () = stopped.cancelled() => {}
            }
            let ended = now();
            // The sender is gone with the receiver: taking ends with what was received.
            let given_up = taking.await.unwrap_or(Some(0));
            if events.hears() && given_up != Some(0) {
                let through = [held.since(), given_up].into_iter().flatten().fold(ended, u64::min);
                events.note(through.saturating_sub(MARGIN));
            }
        });
        Following { address, rules, stop, task }
    }

    /// From when on nothing was heard, where that is so now; in milliseconds since 1970-01-01
    /// UTC.
    pub(crate) fn missing_since(&self) -> Option<u64> {
        if self.hears() { None } else { self.gaps.through() }
    }

    fn hears(&self) -> bool {
        self.link.lock().as_ref().is_some_and(|link| link.hears)
    }

    fn stands(&self, address: &Address, connected: Option<u64>, error: Option<String>) {
        *self.link.lock() = Some(BusLink { address: address.to_string(), connected, hears: false, error });
    }

    fn begins(&self, address: &Address) {
        self.stands(address, None, None);
    }

    /// All that was heard until then is in the journal.
    fn note(&self, through: u64) {
        block_in_place(|| self.gaps.taken_in(through));
    }

    fn connected(&self, address: &Address) {
        let since = now();
        self.stands(address, Some(since), None);
        block_in_place(|| self.gaps.listens(since));
        self.metrics.connected(true);
        tracing::info!("following Salt's event bus at `{address}`");
    }

    /// The first message of a connection has come.
    fn heard(&self) {
        let connected = self.link.lock().as_mut().and_then(|link| {
            link.hears = true;
            link.connected
        });
        let gap = block_in_place(|| self.gaps.heard(connected));
        if let Some(gap) = gap {
            self.metrics.missed();
            let missed = Duration::from_millis(gap.until - gap.from);
            tracing::warn!(
                "nothing was heard of Salt's events for {}: `returner salt backfill` fills in what the master has of it",
                humantime::format_duration(missed)
            );
        }
    }

    fn lost(&self, address: &Address, lost: &Lost) {
        self.metrics.connected(false);
        let error = lost.to_string();
        // Once, and not at each try.
        let before = self.link.lock().as_ref().and_then(|link| link.error.clone());
        let is_new = before.as_ref() != Some(&error);
        self.stands(address, None, Some(error));
        if is_new {
            tracing::warn!("Salt's event bus at `{address}`: {lost}; it is tried again");
        }
    }
}
