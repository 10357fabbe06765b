//! From one version of the configuration to returners that could run.
//!
//! Promises: nothing that runs is touched. What runs already and would be made the same
//! again is taken over as it is: connections by their settings, returners by theirs, their
//! plugin's content and their connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::returner::Returner;
use crate::config::{ConnectionSettings, Place, PluginSource, ReturnerSettings, Settings};
use crate::connections::{CheckError, Connection, OpenError, TimeBounds};
use crate::journal::JournalError;
use crate::plugins::{CallError, Grants, Interface, LoadError, Plugin, Runtime};

/// Why a returner cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the returner `{returner}`: {error}")]
    Plugin { returner: String, error: LoadError, place: Option<Box<Place>> },
    #[error("the returner `{returner}`: {error}")]
    Connection { returner: String, error: OpenError },
    #[error(
        "the returner `{returner}` has the option `{option}`, which `{plugin}` does not know\n  hint: {hint}"
    )]
    Option { returner: String, option: String, plugin: String, hint: String, place: Option<Box<Place>> },
    #[error(
        "`{key}: {returner}` needs a plugin that exports `{interface}`, and `{plugin}` does not\n  hint: name another \
         returner, or add the interface to the plugin (world `full-returner`)"
    )]
    Interface { key: &'static str, returner: String, plugin: String, interface: Interface },
    #[error(
        "the connection `{name}`: {error}\n  hint: its server must answer before the host changes over to it"
    )]
    Connect { name: String, error: CheckError },
    #[error(
        "setup of `{returner}` ({plugin}): {error}{}\n  hint: it must go through before the host changes over to it: mend the plugin, or \
         what it asks of its server",
        error.printed()
    )]
    SetUp { returner: String, plugin: String, error: CallError },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl BuildError {
    /// The line of the configuration that it is about, as far as it is one.
    pub(crate) fn place<'s>(&'s self, settings: &'s Settings) -> Option<&'s Place> {
        let places = &settings.places;
        match self {
            Self::Plugin { place, .. } | Self::Option { place, .. } => place.as_deref(),
            Self::Connection { error, .. } => places.of_name(error.connection()),
            Self::Connect { name, .. } => places.of_name(name),
            Self::SetUp { returner, .. } => {
                settings.plugin_places.get(returner).or_else(|| places.of_name(returner))
            }
            Self::Interface { key, .. } => places.first(&[key]),
            Self::Journal(_) => None,
        }
    }
}

/// A connection, and what it was made of.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) connection: Arc<Connection>,
    settings: ConnectionSettings,
    bounds: TimeBounds,
}

/// Connections by the host's names, and the returners that use them: each has its own, so that
/// one that holds all of its connections holds nobody else up.
pub(super) type Connections = BTreeMap<(String, String), Open>;

/// Returners that could run.
pub(super) struct Built {
    pub(super) settings: Arc<Settings>,
    pub(super) plugins: BTreeMap<String, Arc<Plugin>>,
    pub(super) connections: Connections,
    pub(super) returners: BTreeMap<String, Arc<Returner>>,
    /// Those for which what runs stays, since what is asked for has failed.
    pub(super) spared: BTreeSet<String>,
}

/// What runs, and may be taken over.
#[derive(Default)]
pub(super) struct Running {
    pub(super) connections: Connections,
    pub(super) returners: BTreeMap<String, Arc<Returner>>,
    /// Those that were too bad, and gave their place back to what runs: not to be tried again.
    pub(super) failed: BTreeMap<String, Arc<Returner>>,
}

impl Running {
    /// Whether somebody uses the same server in the same way.
    pub(super) fn uses(&self, open: &Open) -> bool {
        self.connections.values().any(|old| old.settings == open.settings)
    }
}

impl Built {
    /// Loads the plugins and opens the connections; gives everything that is wrong. A server
    /// that is away is nothing wrong.
    pub(super) async fn new(
        settings: Arc<Settings>,
        runtime: &Runtime,
        running: &Running,
    ) -> Result<Self, Vec<BuildError>> {
        let mut built = Self {
            settings: Arc::clone(&settings),
            plugins: BTreeMap::new(),
            connections: Connections::new(),
            returners: BTreeMap::new(),
            spared: BTreeSet::new(),
        };
        let mut errors = Vec::new();
        let mut loaded: Vec<(PluginSource, Arc<Plugin>)> = Vec::new();
        for returner in settings.returners.values() {
            let known = loaded.iter().find(|(source, _)| *source == returner.plugin);
            let plugin = match known {
                Some((_, plugin)) => Arc::clone(plugin),
                None => match runtime.load(&returner.plugin).await {
                    Ok(plugin) => Arc::new(plugin),
                    Err(error) => {
                        let place = settings.plugin_places.get(&returner.name).cloned().map(Box::new);
                        errors.push(BuildError::Plugin { returner: returner.name.clone(), error, place });
                        continue;
                    }
                },
            };
            loaded.push((returner.plugin.clone(), Arc::clone(&plugin)));
            built.plugins.insert(returner.name.clone(), Arc::clone(&plugin));
            let (declared, known) = (&settings.connections, &running.connections);
            let made = make(returner, plugin, declared, &mut built.connections, known);
            match made {
                Ok(returner) => {
                    let name = &returner.settings.name;
                    let failed = running.failed.get(name).is_some_and(|failed| failed.is_same(&returner));
                    if failed {
                        built.spared.insert(name.clone());
                    }
                    let old = running.returners.get(name);
                    let same = old.filter(|old| failed || old.is_same(&returner)).cloned();
                    let returner = same.unwrap_or_else(|| Arc::new(returner));
                    built.returners.insert(returner.settings.name.clone(), returner);
                }
                Err(mut error) => {
                    if let BuildError::Option { place, .. } = &mut error {
                        *place = settings.plugin_places.get(&returner.name).cloned().map(Box::new);
                    }
                    errors.push(error);
                }
            }
        }
        errors.extend(built.missing_interfaces());
        if errors.is_empty() { Ok(built) } else { Err(errors) }
    }

    /// What the configuration uses a returner for and its plugin does not export.
    fn missing_interfaces(&self) -> Vec<BuildError> {
        let settings = &self.settings;
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

/// A returner of its settings and its plugin. Its connections are those of `opened`, or of
/// `known` where they were made of the same, or else new ones.
pub(super) fn make(
    settings: &ReturnerSettings,
    plugin: Arc<Plugin>,
    declared: &BTreeMap<String, ConnectionSettings>,
    opened: &mut Connections,
    known: &Connections,
) -> Result<Returner, BuildError> {
    check_options(settings, &plugin)?;
    let bounds = TimeBounds::of(&settings.limits);
    let failed = |error| BuildError::Connection { returner: settings.name.clone(), error };
    let mut open = Connections::new();
    let mut granted = BTreeMap::new();
    for (guest, host) in &settings.connections {
        // The configuration has seen to it that it is declared.
        let Some(declared) = declared.get(host) else { continue };
        let key = (host.clone(), settings.name.clone());
        let one = match opened.get(&key) {
            Some(open) => open.clone(),
            None => {
                let same = |open: &&Open| open.settings == *declared && open.bounds == bounds;
                let known = known.get(&key).filter(same);
                let open =
                    known.cloned().map_or_else(|| Open::new(host, declared, bounds).map_err(failed), Ok)?;
                opened.insert(key.clone(), open.clone());
                open
            }
        };
        granted.insert(guest.clone(), Arc::clone(&one.connection));
        open.insert(key, one);
    }
    let grants = Grants::of(settings, granted).map_err(failed)?;
    Ok(Returner::new(settings.clone(), plugin, grants, open))
}

impl Open {
    fn new(name: &str, settings: &ConnectionSettings, bounds: TimeBounds) -> Result<Self, OpenError> {
        let connection = Arc::new(Connection::open(name, settings, bounds)?);
        Ok(Self { connection, settings: settings.clone(), bounds })
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.connection, &other.connection)
    }
}

/// A plugin that says which options it knows is given no others.
pub(crate) fn check_options(settings: &ReturnerSettings, plugin: &Plugin) -> Result<(), BuildError> {
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
    Err(BuildError::Option { returner, option: option.clone(), plugin: plugin.title(), hint, place: None })
}
