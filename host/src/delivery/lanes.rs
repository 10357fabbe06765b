//! All lanes of one snapshot: those that the configuration declares, and those that
//! single returns ask for by Salt's `ret_config` and `ret_kwargs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::RwLock;
use tokio::sync::Mutex;

use super::lane::Lane;
use super::returner::Returner;
use crate::config::{ConnectionSettings, PluginSource, ReturnerSettings, Settings, VariantError};
use crate::connections::{Connection, OpenError};
use crate::items::{Item, Kind, Route};
use crate::journal::{Journal, JournalError, LaneId};
use crate::plugins::{Grants, Interface, LoadError, Plugin, Runtime};
use crate::telemetry::Metrics;

/// The most lanes that returns may ask for beyond the declared ones: each has
/// connections of its own.
const MOST_VARIANTS: usize = 64;

pub(crate) struct Lanes {
    settings: Arc<Settings>,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    plugins: BTreeMap<String, Arc<Plugin>>,
    connections: BTreeMap<String, Arc<Connection>>,
    lanes: RwLock<BTreeMap<String, Arc<Lane>>>,
    routes: RwLock<HashMap<(String, Route), Arc<Lane>>>,
    /// Lanes of the journal that had items when the host started, and that nothing in the
    /// configuration makes.
    unclaimed: RwLock<Vec<(String, LaneId)>>,
    /// Held while a lane is made, so that none is made twice.
    making: Mutex<()>,
}

/// Why a returner cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the returner `{returner}`: {error}")]
    Plugin { returner: String, error: LoadError },
    #[error("the returner `{returner}`: {error}")]
    Connection { returner: String, error: OpenError },
    #[error(
        "the returner `{returner}` has the option `{option}`, which `{plugin}` does not know\n  hint: {hint}"
    )]
    Option { returner: String, option: String, plugin: String, hint: String },
    #[error(
        "`{key}: {returner}` needs a plugin that exports `{interface}`, and `{plugin}` does not\n  hint: name another \
         returner, or add the interface to the plugin (world `full-returner`)"
    )]
    Interface { key: &'static str, returner: String, plugin: String, interface: Interface },
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
        "`ret_config` and `ret_kwargs` ask for more than {MOST_VARIANTS} returners beyond the configured ones"
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
        runtime: &Runtime,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Vec<BuildError>> {
        let (built, errors) = Self::build(&settings, runtime).await;
        if !errors.is_empty() {
            return Err(errors);
        }
        let lanes = Self {
            settings,
            journal,
            metrics,
            plugins: built.plugins,
            connections: built.connections,
            lanes: RwLock::default(),
            routes: RwLock::default(),
            unclaimed: RwLock::default(),
            making: Mutex::default(),
        };
        for returner in built.returners {
            let metrics = lanes.metrics.lane(&returner.name);
            let lane = Lane::start(returner, &lanes.journal, metrics).await;
            let lane = lane.map_err(|error| vec![error.into()])?;
            lanes.lanes.write().insert(lane.returner.name.clone(), lane);
        }
        lanes.resume().await.map_err(|error| vec![error.into()])?;
        Ok(lanes)
    }

    /// Does all of [`start`](Self::start) that has no effect: what `returner check`
    /// does. Gives the returners, or everything that is wrong.
    pub(crate) async fn check(
        settings: &Settings,
        runtime: &Runtime,
    ) -> Result<Vec<Returner>, Vec<BuildError>> {
        let (built, errors) = Self::build(settings, runtime).await;
        if errors.is_empty() { Ok(built.returners) } else { Err(errors) }
    }

    async fn build(settings: &Settings, runtime: &Runtime) -> (Built, Vec<BuildError>) {
        let mut built = Built::default();
        let mut errors = Vec::new();
        let mut loaded: Vec<(PluginSource, Arc<Plugin>)> = Vec::new();
        for returner in settings.returners.values() {
            let known = loaded.iter().find(|(source, _)| *source == returner.plugin);
            let plugin = match known {
                Some((_, plugin)) => Arc::clone(plugin),
                None => match runtime.load(&returner.plugin).await {
                    Ok(plugin) => Arc::new(plugin),
                    Err(error) => {
                        errors.push(BuildError::Plugin { returner: returner.name.clone(), error });
                        continue;
                    }
                },
            };
            loaded.push((returner.plugin.clone(), Arc::clone(&plugin)));
            built.plugins.insert(returner.name.clone(), Arc::clone(&plugin));
            match make(returner, plugin, &settings.connections, &mut built.connections) {
                Ok(returner) => built.returners.push(returner),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(built.missing_interfaces(settings));
        (built, errors)
    }

    /// Starts the lanes that have something pending and are not declared: those that
    /// earlier returns asked for. A name that cannot be made again keeps its items.
    async fn resume(&self) -> Result<(), JournalError> {
        for name in self.journal.pending_lanes().await? {
            if self.lanes.read().contains_key(&name) {
                continue;
            }
            let state = self.journal.lane(&name).await?;
            let mut entries = self.journal.next(state.id, state.cursor, 1, 0).await?.entries;
            if let Some(held) = state.held.first() {
                entries = self.journal.entries(state.id, vec![held.seq], 0).await?;
            }
            let base = name.split('{').next().unwrap_or(&name);
            let base = base.rsplit('.').next().unwrap_or(base);
            let route = match entries.first().map(|entry| &entry.item) {
                Some(Item::Return(item)) => item.route.clone(),
                _ => Route::default(),
            };
            match self.variant(base, &route).await {
                Ok(lane) if lane.returner.name == name => {}
                _ => {
                    tracing::warn!(
                        lane = name,
                        items = self.journal.depth(state.id),
                        "nothing in the configuration takes the items of this lane; they are kept"
                    );
                    self.unclaimed.write().push((name, state.id));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn all(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().values().cloned().collect()
    }

    /// The lanes that have items and no returner, and how many.
    pub(crate) fn unclaimed(&self) -> Vec<(String, u64)> {
        let lanes = self.lanes.read();
        let unclaimed = self.unclaimed.read();
        let unclaimed = unclaimed.iter().filter(|(name, _)| !lanes.contains_key(name));
        unclaimed.map(|(name, id)| (name.clone(), self.journal.depth(*id))).collect()
    }

    /// The lane of a returner by its name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Lane>, RouteError> {
        let lanes = self.lanes.read();
        lanes.get(name).cloned().ok_or_else(|| RouteError::Unknown {
            name: name.to_owned(),
            known: lanes.keys().cloned().collect(),
        })
    }

    /// The lanes that an item goes to: of the returners that are named for it, or else
    /// of those that the configuration has for its kind.
    pub(crate) async fn route(
        &self,
        item: &Item,
        named: Option<&[String]>,
    ) -> Result<Vec<Arc<Lane>>, RouteError> {
        let kind = item.kind();
        let names = match (named, kind) {
            (Some(names), _) => names,
            (None, Kind::Event) if !self.settings.event_return.is_empty() => &self.settings.event_return,
            (None, _) => &self.settings.return_to,
        };
        let plain = Route::default();
        let route = match item {
            Item::Return(item) => &item.route,
            _ => &plain,
        };
        let mut lanes: Vec<Arc<Lane>> = Vec::with_capacity(names.len());
        for name in names {
            let lane = self.variant(name, route).await?;
            if lane.returner.stores(kind) {
                if !lanes.iter().any(|known| known.id() == lane.id()) {
                    lanes.push(lane);
                }
            } else if named.is_some() {
                let plugin = lane.returner.plugin.title();
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

    /// The lane of a returner under a return's `ret_config` and `ret_kwargs`.
    async fn variant(&self, name: &str, route: &Route) -> Result<Arc<Lane>, RouteError> {
        let plain = self.get(name);
        if *route == Route::default() || plain.is_err() {
            return plain;
        }
        let key = (name.to_owned(), route.clone());
        if let Some(lane) = self.routes.read().get(&key) {
            return Ok(Arc::clone(lane));
        }
        let _making = self.making.lock().await;
        let overrides = route.overrides.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let variant = self.settings.variant(name, route.profile.as_deref(), overrides.as_ref())?;
        let known = self.lanes.read().get(&variant.settings.name).cloned();
        let lane = match known {
            Some(lane) => lane,
            None => self.add(name, variant.settings, &variant.connections).await?,
        };
        if self.routes.read().len() < MOST_VARIANTS * MOST_VARIANTS {
            self.routes.write().insert(key, Arc::clone(&lane));
        }
        Ok(lane)
    }

    async fn add(
        &self,
        base: &str,
        settings: ReturnerSettings,
        connections: &BTreeMap<String, ConnectionSettings>,
    ) -> Result<Arc<Lane>, RouteError> {
        if self.lanes.read().len() >= self.settings.returners.len() + MOST_VARIANTS {
            return Err(RouteError::TooMany);
        }
        let build = |error| RouteError::Build(Box::new(error));
        let Some(plugin) = self.plugins.get(base) else {
            return Err(RouteError::Unknown {
                name: base.to_owned(),
                known: self.plugins.keys().cloned().collect(),
            });
        };
        let mut opened = self.connections.clone();
        let returner = make(&settings, Arc::clone(plugin), connections, &mut opened).map_err(build)?;
        let metrics = self.metrics.lane(&returner.name);
        let lane = Lane::start(returner, &self.journal, metrics).await;
        let lane = lane.map_err(|error| build(error.into()))?;
        self.lanes.write().insert(settings.name, Arc::clone(&lane));
        Ok(lane)
    }

    /// Stops all lanes at once, waits for them, and closes the connections. Says
    /// whether every call ended within the time.
    pub(crate) async fn stop(&self, within: Duration) -> bool {
        let lanes = self.all();
        let ended = join_all(lanes.iter().map(|lane| lane.stop(within))).await;
        for lane in &lanes {
            for connection in lane.returner.grants.connections.values() {
                let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
            }
        }
        ended.into_iter().all(|ended| ended)
    }
}

#[derive(Default)]
struct Built {
    plugins: BTreeMap<String, Arc<Plugin>>,
    connections: BTreeMap<String, Arc<Connection>>,
    returners: Vec<Returner>,
}

impl Built {
    /// What the configuration uses a returner for and its plugin does not export.
    fn missing_interfaces(&self, settings: &Settings) -> Vec<BuildError> {
        let cache = std::iter::once(("master_job_cache", &settings.job_cache, Interface::JobCache));
        let events = settings.event_return.iter().map(|name| ("event_return", name, Interface::Events));
        let explicit = settings.master_job_cache_is_set.then_some(cache).into_iter().flatten();
        let missing = |(key, name, interface): (&'static str, &String, Interface)| {
            let plugin = self.plugins.get(name).filter(|plugin| !plugin.exports.contains(&interface))?;
            Some(BuildError::Interface { key, returner: name.clone(), plugin: plugin.title(), interface })
        };
        explicit.chain(events).filter_map(missing).collect()
    }
}

/// A returner of its settings and its plugin; opens those of its connections that are
/// not open yet.
fn make(
    settings: &ReturnerSettings,
    plugin: Arc<Plugin>,
    declared: &BTreeMap<String, ConnectionSettings>,
    opened: &mut BTreeMap<String, Arc<Connection>>,
) -> Result<Returner, BuildError> {
    check_options(settings, &plugin)?;
    let mut connections = BTreeMap::new();
    for (guest, host) in &settings.connections {
        let connection = match (opened.get(host), declared.get(host)) {
            (Some(connection), _) => Arc::clone(connection),
            (None, Some(declared)) => {
                let connection = Connection::open(host, declared, settings.limits.host_call);
                let failed = |error| BuildError::Connection { returner: settings.name.clone(), error };
                let connection = Arc::new(connection.map_err(failed)?);
                opened.insert(host.clone(), Arc::clone(&connection));
                connection
            }
            // The configuration has seen to it that it is declared.
            (None, None) => continue,
        };
        connections.insert(guest.clone(), connection);
    }
    let grants = Grants {
        returner: settings.name.clone(),
        options: settings.options.clone(),
        connections,
        limits: settings.limits.clone(),
    };
    let (delivery, connections) = (settings.delivery.clone(), settings.connections.clone());
    Ok(Returner::new(settings.name.clone(), plugin, grants, delivery, connections))
}

/// A plugin that says which options it knows is given no others.
fn check_options(settings: &ReturnerSettings, plugin: &Plugin) -> Result<(), BuildError> {
    let Some(known) = &plugin.options else { return Ok(()) };
    let Some(option) = settings.options.keys().find(|option| !known.contains(*option)) else { return Ok(()) };
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, option).total_cmp(&strsim::jaro_winkler(b, option)));
    let hint = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "it knows no options".to_owned(),
    };
    let returner = settings.name.clone();
    Err(BuildError::Option { returner, option: option.clone(), plugin: plugin.title(), hint })
}
