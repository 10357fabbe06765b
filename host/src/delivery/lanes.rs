//! All lanes: those that the configuration declares, and those that single returns ask for
//! ([`super::variants`]); and which of them an item goes to.
//!
//! What the present version of the configuration made is a [`Snapshot`]. Another version
//! takes its place at once ([`super::reload`]), and takes over the lanes that stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::RwLock;

use super::build::{BuildError, Built, Connections, Running};
use super::crashes::Crashes;
use super::lane::Lane;
use super::loads::Loads;
use super::quota::Quota;
use super::returner::Returner;
use super::variants::{Asked, MOST_VARIANTS, Routes};
use crate::config::{Settings, Variant, VariantError};
use crate::connections::Connection;
use crate::items::{Item, Kind, Route};
use crate::journal::{Journal, JournalError, KeptLane};
use crate::plugins::{Interface, Plugin, Runtime};
use crate::telemetry::Metrics;

/// How long a connection may take to be closed.
const TO_CLOSE: Duration = Duration::from_secs(1);

pub(crate) struct Lanes {
    pub(super) runtime: Runtime,
    pub(super) journal: Arc<Journal>,
    pub(super) metrics: Arc<Metrics>,
    pub(crate) crashes: Arc<Crashes>,
    pub(crate) loads: Loads,
    pub(super) snapshot: ArcSwap<Snapshot>,
    /// Lanes whose last run was broken off: what it delivered is not known.
    pub(super) unclear: parking_lot::Mutex<BTreeSet<String>>,
    /// Held while a lane is made, so that none is made twice, and none for a snapshot that
    /// is being replaced.
    pub(super) making: tokio::sync::Mutex<()>,
    /// Held from the building of another version to its end: there is one at a time. Taken
    /// before `making`.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// Items wait for a lane that could not be begun because there were too many.
    pub(super) wanting: AtomicBool,
    /// What the lanes may keep that returns asked for.
    pub(super) quota: Quota,
}

/// What one version of the configuration made.
pub(super) struct Snapshot {
    pub(super) settings: Arc<Settings>,
    pub(super) plugins: BTreeMap<String, Arc<Plugin>>,
    pub(super) connections: Connections,
    pub(super) lanes: RwLock<BTreeMap<String, Arc<Lane>>>,
    /// Where what returns ask for leads.
    pub(super) routes: RwLock<Routes>,
    /// Of those lanes that they made, by name.
    pub(super) asked: RwLock<BTreeMap<String, Asked>>,
}

/// A lane that the journal keeps something for, and that has no returner.
pub(crate) struct Orphan {
    pub(crate) name: String,
    pub(crate) depth: u64,
    pub(crate) dead: u64,
}

/// Why what a lane has is not dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DropError {
    #[error("the returner `{0}` is in the configuration, and delivers what it has")]
    Runs(String),
    #[error("nothing is kept for a returner `{name}` that is gone")]
    Unknown { name: String, known: Vec<String> },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why an item cannot go to a returner that was named for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("there is no returner `{name}`")]
    Unknown { name: String, known: Vec<String> },
    #[error("the returner `{name}` stores no {}s: its plugin `{plugin}` does not export `{interface}`", kind.name())]
    Kind { name: String, kind: Kind, plugin: String, interface: Interface },
    #[error("no returner that stores {}s is configured for items that name none", kind.name())]
    Nobody { kind: Kind },
    #[error(transparent)]
    Variant(#[from] VariantError),
    #[error(
        "`ret_config` and `ret_kwargs` ask for more than {MOST_VARIANTS} returners beyond the configured ones at once"
    )]
    TooMany,
    #[error(transparent)]
    Build(#[from] Box<BuildError>),
}

impl Lanes {
    /// Loads the plugins, opens the connections and starts the lanes.
    ///
    /// A server that is away is no error: its lane waits. A plugin that cannot be
    /// loaded is.
    pub(crate) async fn start(
        settings: Arc<Settings>,
        runtime: Runtime,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
        crashes: Arc<Crashes>,
    ) -> Result<Self, Vec<BuildError>> {
        let quota = Quota::new(settings.host.max_journal);
        let built = Built::new(settings, &runtime, &Running::default()).await?;
        let mut started = BTreeMap::new();
        for (name, returner) in &built.returners {
            let metrics = metrics.lane(name);
            let lane = Lane::start(Arc::clone(returner), &journal, metrics, &crashes, false).await;
            started.insert(name.clone(), lane.map_err(|error| vec![error.into()])?);
        }
        let lanes = Self {
            runtime,
            journal,
            metrics,
            crashes,
            loads: Loads::default(),
            snapshot: ArcSwap::from_pointee(Snapshot::new(built, started)),
            unclear: parking_lot::Mutex::default(),
            making: tokio::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            wanting: AtomicBool::new(false),
            quota,
        };
        lanes.resume().await.map_err(|error| vec![error.into()])?;
        Ok(lanes)
    }

    /// Does all of [`start`](Self::start) that has no effect: what `returner check`
    /// does. Gives the returners, or everything that is wrong.
    pub(crate) async fn check(
        settings: &Arc<Settings>,
        runtime: &Runtime,
    ) -> Result<Vec<Arc<Returner>>, Vec<BuildError>> {
        let built = Built::new(Arc::clone(settings), runtime, &Running::default()).await?;
        Ok(built.returners.into_values().collect())
    }

    /// Starts the lanes that have something pending and are not declared: those that
    /// earlier returns asked for. A name that cannot be made again keeps its items.
    pub(super) async fn resume(&self) -> Result<(), JournalError> {
        self.wanting.store(false, Ordering::Relaxed);
        for kept in self.journal.kept_lanes().await? {
            let name = kept.name;
            if kept.pending == 0 || self.snapshot.load().lanes.read().contains_key(&name) {
                continue;
            }
            let state = self.journal.lane(&name).await?;
            let mut entries = self.journal.next(state.id, state.cursor, 1, 0).await?.entries;
            if let Some(held) = state.held.first() {
                entries = self.journal.entries(state.id, vec![held.seq], 0).await?;
            }
            let route = match entries.first().map(|entry| &entry.item) {
                Some(Item::Return(item)) => item.route.clone(),
                _ => Route::default(),
            };
            let begun = self.begin_variant(&name, &route).await;
            if !begun && self.wanting.load(Ordering::Relaxed) {
                tracing::info!(
                    lane = name,
                    "waits until one of the lanes that returns asked for has nothing to do"
                );
            } else if !begun {
                tracing::warn!(
                    lane = name,
                    items = self.journal.depth(state.id),
                    "nothing in the configuration takes the items of this lane; they are kept"
                );
            }
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.snapshot.load().settings)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Lane>> {
        self.snapshot.load().lanes.read().values().cloned().collect()
    }

    /// The lanes that the journal keeps something for, and that have no returner.
    pub(crate) async fn orphans(&self) -> Result<Vec<Orphan>, JournalError> {
        let kept = self.journal.kept_lanes().await?;
        let mut orphans = Vec::new();
        for KeptLane { name, id, .. } in kept {
            // Only of these: a returner that runs knows its own, and may have many.
            if !self.snapshot.load().lanes.read().contains_key(&name) {
                let (depth, dead) = (self.journal.depth(id), self.journal.dead_count(id).await?);
                orphans.push(Orphan { name, depth, dead });
            }
        }
        Ok(orphans)
    }

    /// Removes the items that are kept for a returner that is gone; says how many that were.
    /// It cannot come back meanwhile. Its dead letters are another matter:
    /// [`DeadLetters`](super::DeadLetters).
    /// One that a return asked for by `ret_config` or `ret_kwargs` is ended for it.
    pub(crate) async fn drop_orphan(&self, name: &str) -> Result<u64, DropError> {
        let _making = self.making.lock().await;
        let snapshot = self.snapshot.load_full();
        match snapshot.get(name) {
            Ok(_) if snapshot.settings.returners.contains_key(name) => {
                return Err(DropError::Runs(name.to_owned()));
            }
            Ok(lane) => self.end_variant(&snapshot, &lane).await,
            Err(_) => {
                let known: Vec<String> =
                    self.orphans().await?.into_iter().map(|orphan| orphan.name).collect();
                if !known.iter().any(|known| known == name) {
                    return Err(DropError::Unknown { name: name.to_owned(), known });
                }
            }
        }
        let lane = self.journal.lane(name).await?;
        let dropped = self.journal.abandon(&lane).await?;
        tracing::warn!(lane = name, items = dropped, "what was kept for this returner was dropped as asked");
        Ok(dropped)
    }

    /// Who answers questions that name nobody, or is told that it cannot.
    pub(crate) fn job_cache<'s>(&self, settings: &'s Settings) -> &'s str {
        let can = |name: &str| {
            self.get(name).is_ok_and(|lane| lane.returner().plugin.exports.contains(&Interface::JobCache))
        };
        settings.answers(can).unwrap_or(&settings.job_cache)
    }

    /// The lane of a returner by its name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Lane>, RouteError> {
        self.snapshot.load().get(name)
    }

    /// The lanes that an item goes to: of the returners that are named for it, or else
    /// of those that the configuration has for its kind. What only a version of the configuration
    /// lacks that was replaced meanwhile is looked for in the next one.
    pub(crate) async fn route(
        &self,
        item: &Item,
        named: Option<&[String]>,
    ) -> Result<Vec<Arc<Lane>>, RouteError> {
        loop {
            let snapshot = self.snapshot.load_full();
            let routed = self.route_by(&snapshot.settings, item, named).await;
            if routed.is_ok() || Arc::ptr_eq(&snapshot, &self.snapshot.load()) {
                return routed;
            }
        }
    }

    async fn route_by(
        &self,
        settings: &Settings,
        item: &Item,
        named: Option<&[String]>,
    ) -> Result<Vec<Arc<Lane>>, RouteError> {
        let kind = item.kind();
        let names = match (named, kind) {
            (Some(names), _) => names,
            (None, Kind::Event) if !settings.event_return.is_empty() => &settings.event_return,
            (None, _) => &settings.return_to,
        };
        let plain = Route::default();
        let route = match item {
            Item::Return(item) => &item.route,
            _ => &plain,
        };
        let mut lanes: Vec<Arc<Lane>> = Vec::with_capacity(names.len());
        for name in names {
            let lane = self.variant(name, route).await?;
            let returner = lane.returner();
            if returner.stores(kind) {
                if !lanes.iter().any(|known| known.id() == lane.id()) {
                    lanes.push(lane);
                }
            } else if named.is_some() {
                let plugin = returner.plugin.title();
                return Err(RouteError::Kind {
                    name: name.clone(),
                    kind,
                    plugin,
                    interface: Returner::interface(kind),
                });
            }
        }
        if lanes.is_empty() { Err(RouteError::Nobody { kind }) } else { Ok(lanes) }
    }

    /// Starts a lane that no run of is left of.
    pub(super) async fn begin(&self, returner: Arc<Returner>) -> Result<Arc<Lane>, JournalError> {
        let name = returner.settings.name.clone();
        let unclear = self.unclear.lock().contains(&name);
        Lane::start(returner, &self.journal, self.metrics.lane(&name), &self.crashes, unclear).await
    }

    /// Lets the calls of these lanes end, for so long at most.
    pub(super) async fn end(&self, lanes: &[Arc<Lane>], within: Duration) {
        let ended = join_all(lanes.iter().map(|lane| lane.stop(within))).await;
        let broken = lanes.iter().zip(ended).filter(|(_, ended)| !ended);
        self.unclear.lock().extend(broken.map(|(lane, _)| lane.name().to_owned()));
    }

    /// Stops all lanes at once, waits for them, and closes the connections. Says
    /// whether every call ended within the time.
    pub(crate) async fn stop(&self, within: Duration) -> bool {
        let lanes = self.all();
        self.end(&lanes, within).await;
        for lane in &lanes {
            close(lane.returner().grants.connections.values()).await;
        }
        self.unclear.lock().is_empty()
    }
}

/// Says farewell to the servers; one that does not answer is not waited for.
pub(super) async fn close(connections: impl Iterator<Item = &Arc<Connection>>) {
    for connection in connections {
        let _ = tokio::time::timeout(TO_CLOSE, connection.close()).await;
    }
}

impl Snapshot {
    pub(super) fn new(built: Built, lanes: BTreeMap<String, Arc<Lane>>) -> Self {
        Self {
            settings: built.settings,
            plugins: built.plugins,
            connections: built.connections,
            lanes: RwLock::new(lanes),
            routes: RwLock::default(),
            asked: RwLock::default(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Result<Arc<Lane>, RouteError> {
        let lanes = self.lanes.read();
        lanes.get(name).cloned().ok_or_else(|| RouteError::Unknown {
            name: name.to_owned(),
            known: lanes.keys().cloned().collect(),
        })
    }

    /// A returner as a return asks for it.
    pub(super) fn variant(&self, name: &str, route: &Route) -> Result<Variant, VariantError> {
        let overrides = route.overrides.as_deref().and_then(|text| serde_json::from_str(text).ok());
        self.settings.variant(name, route.profile.as_deref(), overrides.as_ref())
    }
}
