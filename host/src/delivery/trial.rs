//! A plugin that is not in the configuration, on the last items of a returner, beside the
//! one that is: `returner plugins trial`.
//!
//! Both run as trials ([`plugins::Noted`](crate::plugins)): with the returner's grants, and
//! without a trace. So what differs is the plugins and not the stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lanes::{Lanes, RouteError};
use super::returner::Returner;
use crate::items::{Failure, Refusal};
use crate::journal::Entry;
use crate::plugins::{CallError, Delivery, Grants, Instance, LoadError, Noted, Notes, Plugin, Stop};

/// The most differences of one kind that are told.
const TOLD: usize = 20;

/// Why there is no trial.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("`{0}` has settled nothing since the host started, so there is nothing to try it on")]
    Nothing(String),
}

/// What two plugins did with the same items.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) items: usize,
    pub(crate) present: Tried,
    pub(crate) other: Tried,
    /// They were given to both as items that come again.
    pub(crate) redelivered: bool,
    /// Items of which something else came: the item, what the present one and the other did.
    pub(crate) outcomes: Vec<(String, String, String)>,
    /// How many there are, told or not.
    pub(crate) differing: usize,
    /// What only one of them asked for.
    pub(crate) only_present: Vec<String>,
    pub(crate) only_other: Vec<String>,
    /// Calls that both made, and with other values.
    pub(crate) other_values: usize,
}

/// What one of them did.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    pub(crate) plugin: String,
    pub(crate) stored: usize,
    pub(crate) refused: usize,
    /// Calls that failed as a whole, or in which it was stopped.
    pub(crate) failed: usize,
    pub(crate) took: Duration,
    /// The memory of its instance at the end, in bytes.
    pub(crate) memory: u64,
    outcomes: Vec<String>,
    noted: Vec<Noted>,
}

impl Lanes {
    /// Runs a component on the last items of a returner, at most so many.
    pub(crate) async fn trial(
        &self,
        name: &str,
        component: Vec<u8>,
        last: usize,
    ) -> Result<Comparison, TrialError> {
        let lane = self.get(name)?;
        let returner = lane.returner();
        let entries: Vec<Arc<Entry>> =
            lane.recent(last).into_iter().filter(|entry| returner.stores(entry.item.kind())).collect();
        if entries.is_empty() {
            return Err(TrialError::Nothing(name.to_owned()));
        }
        let other = Arc::new(self.runtime.load_bytes("the component", component).await?);
        // What it stored is there: a table that takes each once refuses it as new.
        let mut present = tried(&returner, &returner.plugin, &entries, false).await;
        let redelivered = present.stored == 0 && present.failed > 0;
        if redelivered {
            present = tried(&returner, &returner.plugin, &entries, true).await;
        }
        let other = tried(&returner, &other, &entries, redelivered).await;
        Ok(Comparison { redelivered, ..compare(&entries, present, other) })
    }
}

/// Batches as the lane makes them, but of one kind each and one after the other; and as the
/// lane does, one that fails as a whole is halved, so that the item which does it is told.
async fn tried(
    returner: &Returner,
    plugin: &Arc<Plugin>,
    entries: &[Arc<Entry>],
    redelivered: bool,
) -> Tried {
    let notes = Arc::new(Notes::default());
    let grants = Arc::new(returner.grants.for_trial(Arc::clone(&notes)));
    let mut tried = Tried { plugin: plugin.title(), ..Tried::default() };
    let mut instance = None;
    let most = returner.settings.delivery.batch.max(1);
    let kinds = entries.chunk_by(|one, next| one.item.kind() == next.item.kind());
    // The next one last.
    let mut batches: Vec<&[Arc<Entry>]> = kinds.flat_map(|batch| batch.chunks(most)).collect();
    batches.reverse();
    while let Some(batch) = batches.pop() {
        let begun = Instant::now();
        let result = call(&mut instance, plugin, &grants, batch, redelivered).await;
        tried.took += begun.elapsed();
        let noted = notes.take();
        if let Some(running) = &instance {
            tried.memory = tried.memory.max(running.memory() as u64);
            if batch.len() > 1 && is_told_apart(&result) {
                let (first, second) = batch.split_at(batch.len() / 2);
                batches.extend([second, first]);
                tried.failed += 1;
                notes.give_back(noted);
                continue;
            }
            tried.noted.extend(noted);
        }
        tried.note(batch.len(), result);
    }
    tried
}

/// Whether one of the items alone may be why the call failed.
fn is_told_apart(result: &Result<Vec<Refusal>, CallError>) -> bool {
    match result {
        Err(CallError::Stopped(trap)) => trap.stop != Stop::HostTime,
        Err(CallError::Failed(Failure::Reject(_))) => true,
        _ => false,
    }
}

async fn call(
    instance: &mut Option<Instance>,
    plugin: &Arc<Plugin>,
    grants: &Arc<Grants>,
    batch: &[Arc<Entry>],
    redelivered: bool,
) -> Result<Vec<Refusal>, CallError> {
    let running = match instance.take().filter(|instance| !instance.is_broken()) {
        Some(running) => instance.insert(running),
        None => instance.insert(Instance::new(plugin, grants).await?),
    };
    let deliveries: Vec<Delivery> = batch
        .iter()
        .map(|entry| Delivery { given: Arc::clone(entry) as _, accepted: entry.accepted, redelivered })
        .collect();
    running.store(batch[0].item.kind(), deliveries).await
}

impl Tried {
    /// How many calls of the host it made.
    pub(crate) fn calls(&self) -> usize {
        self.noted.len()
    }

    fn note(&mut self, items: usize, result: Result<Vec<Refusal>, CallError>) {
        match result {
            Ok(refusals) => {
                self.refused += refusals.len();
                self.stored += items - refusals.len();
                let mut outcomes = vec!["stored".to_owned(); items];
                for Refusal { index, failure } in refusals {
                    let word = match failure {
                        Failure::Reject(_) => "rejected",
                        Failure::Retry { .. } => "to be tried again",
                    };
                    // The instance has checked the indices.
                    if let Some(outcome) = outcomes.get_mut(index) {
                        *outcome = format!("{word}: {}", failure.message());
                    }
                }
                self.outcomes.extend(outcomes);
            }
            Err(error) => {
                self.failed += 1;
                let word = if matches!(error, CallError::Stopped(_)) { "stopped" } else { "failed" };
                self.outcomes.extend(vec![format!("{word}: {error}"); items]);
            }
        }
    }
}

fn compare(entries: &[Arc<Entry>], mut present: Tried, mut other: Tried) -> Comparison {
    let outcomes = std::mem::take(&mut present.outcomes).into_iter().zip(std::mem::take(&mut other.outcomes));
    let differing: Vec<_> = entries.iter().zip(outcomes).filter(|(_, (one, other))| one != other).collect();
    let told = differing.iter().take(TOLD);
    let told = told.map(|(entry, (one, other))| (entry.item.title(), one.clone(), other.clone())).collect();
    let (ours, theirs) = (by_what(&present.noted), by_what(&other.noted));
    let only = |one: &Calls<'_>, other: &Calls<'_>| -> Vec<String> {
        let only = one.keys().filter(|what| !other.contains_key(**what));
        only.take(TOLD).map(|what| (*what).to_owned()).collect()
    };
    let both = ours.iter().filter_map(|(what, digests)| Some((digests, theirs.get(what)?)));
    Comparison {
        items: entries.len(),
        redelivered: false,
        differing: differing.len(),
        outcomes: told,
        only_present: only(&ours, &theirs),
        only_other: only(&theirs, &ours),
        other_values: both.filter(|(ours, theirs)| ours != theirs).count(),
        present,
        other,
    }
}

type Calls<'n> = BTreeMap<&'n str, BTreeSet<[u8; 32]>>;

fn by_what(noted: &[Noted]) -> Calls<'_> {
    let mut calls = Calls::new();
    for Noted { what, digest } in noted {
        calls.entry(what).or_default().insert(*digest);
    }
    calls
}
