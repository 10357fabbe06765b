//! A new version of the configuration in the place of the one that runs.
//!
//! # Invariants
//! - Until [`Lanes::change_over`], nothing that runs is touched; it changes all or, where the
//!   journal fails, nothing.
//! - A lane has one run at a time: one that gets another returner lets the calls under way
//!   end first, and one that is gone has stopped before it can come back.
//! - A returner that would be the same again goes on as it is: instances, connections, lane.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::MutexGuard;

use super::build::{BuildError, Built, Running, make};
use super::lane::Lane;
use super::lanes::{Lanes, Snapshot};
use super::returner::Returner;
use crate::config::{Difference, Settings};
use crate::items::Failure;
use crate::plugins::CallError;

/// A version that could take the place of the one that runs. No other is made meanwhile; only what
/// single returns ask for may be added to what runs.
pub(crate) struct Prepared<'l> {
    built: Built,
    running: Running,
    again: bool,
    pub(crate) differences: Vec<Difference>,
    _changing: MutexGuard<'l, ()>,
}

impl Lanes {
    /// Builds what a new version asks for, beside what runs. A plugin that gave its place back
    /// is tried `again`, or only if something about its returner changed since.
    pub(crate) async fn prepare(
        &self,
        settings: Arc<Settings>,
        again: bool,
    ) -> Result<Prepared<'_>, Vec<BuildError>> {
        let changing = self.changing.lock().await;
        let snapshot = self.snapshot.load_full();
        let lanes = snapshot.lanes.read().clone();
        let failed = lanes.iter().filter(|_| !again);
        let failed = failed.filter_map(|(name, lane)| Some((name.clone(), lane.failed()?))).collect();
        let returners = lanes.into_iter().map(|(name, lane)| (name, lane.returner())).collect();
        let running = Running { connections: snapshot.connections.clone(), returners, failed };
        let built = Built::new(settings, &self.runtime, &running).await?;
        let mut differences = snapshot.settings.differences(&built.settings);
        differences.extend(other_plugins(&running, &built));
        Ok(Prepared { built, running, again, differences, _changing: changing })
    }

    /// Forgets which plugins gave their place back, where what runs is what is asked for now.
    pub(crate) fn forget_failed(&self, prepared: &Prepared<'_>) {
        let snapshot = self.snapshot.load();
        let lanes = snapshot.lanes.read();
        for (name, returner) in &prepared.built.returners {
            let Some(lane) = lanes.get(name) else { continue };
            if Arc::ptr_eq(&lane.returner(), returner) && !prepared.built.spared.contains(name) {
                lane.forget_failed();
            }
        }
    }

    /// Puts it in the place of what runs. Calls under way end first, those of returners that
    /// are gone within the bound.
    pub(crate) async fn change_over(
        &self,
        prepared: Prepared<'_>,
        within: Duration,
    ) -> Result<(), BuildError> {
        let making = self.making.lock().await;
        let old = self.snapshot.load_full();
        let mut lanes = BTreeMap::new();
        let mut changed: Vec<(Arc<Lane>, Arc<Returner>)> = Vec::new();
        let mut begun = Vec::new();
        for (name, returner) in &prepared.built.returners {
            let known = old.lanes.read().get(name).cloned();
            let lane = match known {
                Some(lane) => {
                    changed.push((Arc::clone(&lane), Arc::clone(returner)));
                    lane
                }
                None => {
                    let lane = match self.begin(Arc::clone(returner)).await {
                        Ok(lane) => lane,
                        Err(error) => {
                            self.end(&begun, within).await;
                            return Err(error.into());
                        }
                    };
                    begun.push(Arc::clone(&lane));
                    lane
                }
            };
            lanes.insert(name.clone(), lane);
        }
        let snapshot = Snapshot::new(prepared.built, lanes);
        let variants = snapshot.take_variants(&old, prepared.again);
        for (lane, returner) in changed.into_iter().chain(variants) {
            lane.change(returner);
        }
        let gone: Vec<Arc<Lane>> = {
            let (before, after) = (old.lanes.read(), snapshot.lanes.read());
            before
                .iter()
                .filter(|(name, _)| !after.contains_key(*name))
                .map(|(_, lane)| Arc::clone(lane))
                .collect()
        };
        self.snapshot.store(Arc::new(snapshot));
        self.end(&gone, within).await;
        drop(making);
        // What an earlier version could not take, this one perhaps can. It runs already: that
        // these are not found is no reason to call it refused.
        if let Err(error) = self.resume().await {
            tracing::warn!(%error, "items that were kept are not looked for until the next reload");
        }
        Ok(())
    }
}

impl Prepared<'_> {
    /// Connects to the servers that are new and, if asked to, runs `setup` of each returner
    /// that is. A server that what runs uses, too, may be away: it is no worse afterwards.
    pub(crate) async fn try_out(&self, set_up: bool) -> Result<(), Vec<BuildError>> {
        let mut errors = Vec::new();
        for ((name, _), open) in &self.built.connections {
            if !self.running.uses(open)
                && let Err(error) = open.connection.check().await
            {
                errors.push(BuildError::Connect { name: name.clone(), error });
            }
        }
        if !errors.is_empty() || !set_up {
            return if errors.is_empty() { Ok(()) } else { Err(errors) };
        }
        for (name, returner) in &self.built.returners {
            if self.running.returners.get(name).is_some_and(|old| Arc::ptr_eq(old, returner)) {
                continue;
            }
            let known = returner.open.values().all(|open| self.running.uses(open));
            match returner.set_up().await {
                Err(CallError::Failed(Failure::Retry { message, .. })) if known => {
                    tracing::warn!(returner = name, "its setup is tried again by its lane: {message}");
                }
                Err(error) => {
                    let plugin = returner.plugin.title();
                    errors.push(BuildError::SetUp { returner: name.clone(), plugin, error });
                }
                Ok(()) => {}
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

impl Snapshot {
    /// What earlier returns asked for by `ret_config` and `ret_kwargs`, as this version has
    /// it. What it has no longer is left out.
    fn take_variants(&self, old: &Snapshot, again: bool) -> Vec<(Arc<Lane>, Arc<Returner>)> {
        let mut changed = Vec::new();
        for (name, asked) in old.asked.read().iter() {
            let Ok(lane) = old.get(name) else { continue };
            let variant = self.settings.variant(&asked.base, None, Some(asked.options.kwargs()));
            let Ok(variant) = variant else { continue };
            // Also where it is declared now: that one has the name already.
            if variant.settings.name != *name || self.lanes.read().contains_key(name) {
                continue;
            }
            let Some(plugin) = self.plugins.get(&variant.base) else { continue };
            let known = lane.returner();
            let mut opened = self.connections.clone();
            let made =
                make(&variant.settings, Arc::clone(plugin), &variant.connections, &mut opened, &known.open);
            let Ok(returner) = made else { continue };
            let failed = lane.failed().is_some_and(|failed| !again && failed.is_same(&returner));
            if !failed && !known.is_same(&returner) {
                changed.push((Arc::clone(&lane), Arc::new(returner)));
            }
            self.lanes.write().insert(name.clone(), lane);
            self.asked.write().insert(name.clone(), asked.clone());
        }
        changed
    }
}

/// Plugins with another content under the same name.
fn other_plugins(running: &Running, built: &Built) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, new) in &built.returners {
        let Some(old) = running.returners.get(name) else { continue };
        if old.settings.plugin == new.settings.plugin && old.plugin.sha256 != new.plugin.sha256 {
            // The title of one without a version has its digest.
            let shown = |returner: &Returner| match &returner.plugin.version {
                Some(_) => format!("{} (SHA-256 {})", returner.plugin.title(), &returner.plugin.sha256[..12]),
                None => returner.plugin.title(),
            };
            let change = format!("its plugin's file was {}, becomes {}", shown(old), shown(new));
            found.push(Difference::of_returner(name, change));
        }
    }
    found
}
