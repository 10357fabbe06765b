//! The scenarios: what is set up, what goes wrong, and what must be true at the end.

mod deadlock;
mod disk;
mod ferret;
mod packet;
mod soak;
mod storm;
mod table;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use returner_servers::{Host, new_jid};
use serde_json::Value;

use crate::clients::Counters;
use crate::items::{Content, Item};
use crate::ledger::Ledger;
use crate::plan::Fault;
use crate::report::Summary;
use crate::targets::Targets;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// Clients send while everything fails that can, by a plan.
    Storm,
    /// A table is dropped, and created again.
    TableDropped,
    /// `max_allowed_packet` is too small for some returns.
    SmallPacket,
    /// Another session's transaction and the host's wait for each other.
    Deadlock,
    /// A server that speaks MongoDB's protocol refuses keys, and is killed meanwhile.
    RefusedKeys,
    /// The disk is full of what somebody else has written.
    FullDisk,
    /// The disk is full of what waits for a database that is away.
    FullOfBacklog,
    /// The disk can be read only.
    ReadOnlyDisk,
    /// A flush fails, and there is no room to write the journal anew.
    FailedFlush,
    /// Nothing fails, and nothing grows.
    Soak,
}

/// How a run is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where all random numbers come from.
    pub seed: u64,
    /// How long a storm or a soak goes on.
    pub duration: Duration,
    /// What fails in a storm.
    pub faults: BTreeSet<Fault>,
    /// How many clients send.
    pub clients: usize,
}

impl Options {
    /// All faults, and so many clients as two processors can serve.
    #[must_use]
    pub fn of(seed: u64, duration: Duration) -> Self {
        Self { seed, duration, faults: Fault::all(), clients: 4 }
    }
}

/// Runs a scenario. It wants a runtime with threads.
///
/// Boxed, so that its code is generated here and not once more by each caller, which
/// takes a minute.
///
/// # Panics
///
/// If a promise is broken: the message says which, and where logs and data are.
pub fn run(scenario: Scenario, options: &Options) -> Pin<Box<dyn Future<Output = Summary> + '_>> {
    match scenario {
        Scenario::Storm => Box::pin(storm::run(options)),
        Scenario::TableDropped => Box::pin(table::run()),
        Scenario::SmallPacket => Box::pin(packet::run()),
        Scenario::Deadlock => Box::pin(deadlock::run()),
        Scenario::RefusedKeys => Box::pin(ferret::run(options)),
        Scenario::FullDisk => Box::pin(disk::full()),
        Scenario::FullOfBacklog => Box::pin(disk::backlog()),
        Scenario::ReadOnlyDisk => Box::pin(disk::read_only()),
        Scenario::FailedFlush => Box::pin(disk::failed_flush()),
        Scenario::Soak => Box::pin(soak::run(options)),
    }
}

/// A sender for scenarios that say what is sent when.
#[derive(Debug, Default)]
struct Sender {
    ledger: Arc<Ledger>,
    counters: Counters,
}

impl Sender {
    /// Returns of one job, of these lengths.
    fn items(lengths: impl IntoIterator<Item = usize>) -> Vec<Item> {
        // Beyond those of the clients.
        static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
        let jid = new_jid();
        let item = |(place, length)| Item {
            jid: jid.clone(),
            minion: format!("minion{place}"),
            content: Content { number: NEXT.fetch_add(1, Ordering::Relaxed), length, is_poison: false },
        };
        lengths.into_iter().enumerate().map(item).collect()
    }

    /// Sends them in one request and gives the status; notes them if they were taken.
    async fn send(&self, host: &Host, items: &[Item], targets: Targets) -> u16 {
        self.ledger.send(items, targets);
        let body: Value = items.iter().map(Item::as_json).collect();
        let answer = host.post(&format!("/v1/returns?returner={targets}"), &body).await;
        match answer.status {
            202 => self.ledger.acknowledge(items, targets),
            503 => assert!(
                answer.headers.contains_key("retry-after"),
                "a refusal without Retry-After: {}",
                answer.text
            ),
            status => panic!("the host answered {status} to good returns: {}", answer.text),
        }
        answer.status
    }

    /// Sends what must be taken.
    async fn must_send(&self, host: &Host, items: &[Item], targets: Targets) {
        assert_eq!(self.send(host, items, targets).await, 202, "good returns are taken");
    }
}
