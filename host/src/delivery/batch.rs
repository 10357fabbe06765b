//! Cutting a window of items into the calls that deliver it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::config::DeliverySettings;
use crate::items::{Item, Kind};
use crate::journal::{Entry, Seq};

/// One item on its way to one returner.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) entry: Arc<Entry>,
    /// How many times it was tried.
    pub(super) tries: u32,
    pub(super) redelivered: bool,
    /// It was held: its place is below the lane's cursor.
    pub(super) was_held: bool,
}

impl Task {
    pub(super) fn seq(&self) -> Seq {
        self.entry.seq
    }
}

/// Items of one kind for one call, in the order of acceptance.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) kind: Kind,
    pub(super) tasks: Vec<Task>,
}

/// The calls of a window: `first` one after the other, before `then`, in which each
/// worker has its own list.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) first: Vec<Batch>,
    pub(super) then: Vec<Vec<Batch>>,
}

impl Plan {
    /// Loads and minions first: what a return belongs to is there before it. Returns
    /// are dealt out by minion, so that no minion is with two workers; events are one
    /// worker's, because their order is theirs alone.
    pub(super) fn of(tasks: Vec<Task>, settings: &DeliverySettings) -> Self {
        let workers = settings.workers.max(1);
        let mut first: [Vec<Task>; 2] = Default::default();
        let mut returns = vec![Vec::new(); workers];
        let mut events = Vec::new();
        for task in tasks {
            match &task.entry.item {
                Item::Load(_) => first[0].push(task),
                Item::Minions(_) => first[1].push(task),
                Item::Return(item) => returns[worker_of(&item.minion, workers)].push(task),
                Item::Event(_) => events.push(task),
            }
        }
        let [loads, minions] = first;
        let mut then: Vec<Vec<Batch>> =
            returns.into_iter().map(|tasks| cut(Kind::Return, tasks, settings)).collect();
        then[workers - 1].extend(cut(Kind::Event, events, settings));
        let mut first = cut(Kind::Load, loads, settings);
        first.extend(cut(Kind::Minions, minions, settings));
        Plan { first, then }
    }
}

fn worker_of(minion: &str, workers: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    minion.hash(&mut hasher);
    (hasher.finish() % workers as u64) as usize
}

/// Batches within the bounds of number and bytes; a single item may be larger.
fn cut(kind: Kind, tasks: Vec<Task>, settings: &DeliverySettings) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut bytes = 0;
    for task in tasks {
        let size = task.entry.item.text().len();
        bytes += size;
        match batches.last_mut() {
            Some(batch) if batch.tasks.len() < settings.batch.max(1) && bytes <= settings.batch_bytes => {
                batch.tasks.push(task);
            }
            _ => {
                bytes = size;
                batches.push(Batch { kind, tasks: vec![task] });
            }
        }
    }
    batches
}
