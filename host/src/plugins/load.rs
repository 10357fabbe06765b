//! Loading: from the bytes of a component to a plugin that can be instantiated.

mod error;
mod looked;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use returner_engine::{Cache, CacheError, EPOCH};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, EngineWeak};

use super::capabilities;
use super::compile::{CompileError, Compiler};
use super::contract::{self, Exports, SPOKEN, Version};
use super::file;
use super::guests::{Excess, Guests};
use super::instance::Instance;
use super::parts::Parts;
use super::pulse::PULSE;
use super::state::{Grants, GuestState};
use super::words;
use crate::config::{Bundled, PluginSource};

pub(crate) use error::LoadError;
use looked::{Looked, look};

/// The bytes of a component from which on compiling it takes long enough to say so.
const SLOW: usize = 1 << 20;

/// The most options that a plugin may say it knows.
const MOST_OPTIONS: usize = 100;

/// The engine and what it links: one for the whole host.
pub(crate) struct Runtime {
    engine: Engine,
    linker: Linker<GuestState>,
    /// Where all guests run.
    guests: Arc<Guests>,
    /// The versions of the contract that it links, oldest first.
    spoken: &'static [Version],
    cache: Cache,
    compiler: Compiler,
    /// One at a time compiles what is configured, and one what is only tried: whoever tries
    /// what takes long keeps nobody from a reload.
    files: Mutex<()>,
    trials: Mutex<()>,
}

/// A component that was checked.
pub(crate) struct Plugin {
    /// What it says of itself, or else the name of its file.
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    /// The options that it knows, if it says.
    pub(crate) options: Option<BTreeSet<String>>,
    /// SHA-256 of the component in hexadecimal.
    pub(crate) sha256: String,
    /// None for a bundled one.
    pub(crate) file: Option<PathBuf>,
    pub(crate) exports: BTreeSet<Interface>,
    /// The version of the contract that it was built for.
    pub(crate) contract: &'static str,
    /// The interfaces that it imports, with their versions.
    pub(crate) imports: Vec<String>,
    pub(super) pre: InstancePre<GuestState>,
    /// What an instance takes beside its memories and tables.
    pub(super) parts: Parts,
    pub(super) guests: Arc<Guests>,
    /// What its calls take of the processors beyond the ordinary, in all of its instances.
    pub(super) excess: Arc<Excess>,
    /// How its exports are called.
    pub(super) calls: Box<dyn Exports>,
}

/// What a component may export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Interface {
    About,
    Lifecycle,
    Returns,
    Loads,
    Events,
    JobCache,
}

impl Runtime {
    /// Makes the engine; `compiled` is the directory for compiled plugins.
    pub(crate) fn new(compiled: &Path) -> Result<Self, LoadError> {
        Self::speaking(&SPOKEN, compiled)
    }

    /// As [`new`](Self::new), with these versions of the contract.
    pub(super) fn speaking(spoken: &'static [Version], compiled: &Path) -> Result<Self, LoadError> {
        let engine = returner_engine::engine().map_err(LoadError::Engine)?;
        let linker = linker(&engine, spoken).map_err(LoadError::Engine)?;
        keep_time(engine.weak());
        let guests = Arc::new(Guests::new().map_err(LoadError::Threads)?);
        let (cache, compiler) = (Cache::open(compiled)?, Compiler::new());
        Ok(Self {
            engine,
            linker,
            guests,
            spoken,
            cache,
            compiler,
            files: Mutex::default(),
            trials: Mutex::default(),
        })
    }

    /// Loads what a returner's settings name.
    pub(crate) async fn load(&self, source: &PluginSource) -> Result<Plugin, LoadError> {
        match source {
            PluginSource::Bundled(bundled) => self.load_bundled(*bundled).await,
            PluginSource::File { path, sha256 } => self.load_file(path, sha256.as_deref()).await,
        }
    }

    async fn load_bundled(&self, bundled: Bundled) -> Result<Plugin, LoadError> {
        let plugin = match bundled {
            Bundled::Mysql => returner_embedded::MYSQL,
            Bundled::Mongo => returner_embedded::MONGO,
            Bundled::Redis => returner_embedded::REDIS,
            Bundled::Sqlite3 => returner_embedded::SQLITE,
        };
        let component = plugin.load(&self.engine).map_err(LoadError::Engine)?;
        let (what, bytes) = (plugin.name, plugin.component);
        self.check(what, None, hex::encode(Sha256::digest(bytes)), look(what, bytes)?, &component).await
    }

    async fn load_file(&self, path: &Path, pinned: Option<&str>) -> Result<Plugin, LoadError> {
        let (file, what) = (path.to_owned(), path.display().to_string());
        let look = {
            let what = what.clone();
            move || file::read(&file).map(|bytes| Looked::at(&what, bytes))
        };
        let looked = spawn_blocking(look).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let looked = looked.map_err(|error| LoadError::Read { path: path.to_owned(), error })?;
        if let Some(pinned) = pinned.filter(|pinned| *pinned != looked.sha256) {
            let (path, pinned) = (path.to_owned(), pinned.to_owned());
            return Err(LoadError::Digest { path, found: looked.sha256, pinned });
        }
        let _turn = self.files.lock().await;
        self.compile(what, Some(path), looked).await
    }

    /// Loads a component that is in no file.
    pub(crate) async fn load_bytes(&self, what: &str, bytes: Vec<u8>) -> Result<Plugin, LoadError> {
        let what = what.to_owned();
        let look = {
            let what = what.clone();
            move || Looked::at(&what, bytes)
        };
        let looked = match spawn_blocking(look).await {
            Ok(looked) => looked,
            Err(panicked) => return Err(LoadError::Damaged { what, reason: panicked.to_string() }),
        };
        let _turn = self.trials.lock().await;
        self.compile(what, None, looked).await
    }

    async fn compile(&self, what: String, file: Option<&Path>, looked: Looked) -> Result<Plugin, LoadError> {
        let Looked { bytes, sha256, parts } = looked;
        let parts = parts?;
        let (engine, cache, compiler) = (self.engine.clone(), self.cache.clone(), self.compiler.clone());
        let given_up = CancellationToken::new();
        let (plugin, until) = (what.clone(), given_up.clone());
        let load = move || {
            cache.load(&engine, &bytes, |bytes| {
                if bytes.len() > SLOW {
                    tracing::info!("compiling `{plugin}`, which takes some seconds the first time");
                }
                compiler.compile(bytes, &until).map_err(CacheOrCompile::Compile)
            })
        };
        // Whoever waits for it may go away.
        let _waiting = given_up.drop_guard();
        let component = match spawn_blocking(load).await {
            Ok(Ok(component)) => component,
            Ok(Err(CacheOrCompile::Compile(CompileError::Damaged(reason)))) => {
                let reason = words::line(&reason);
                return Err(LoadError::Damaged { what, reason });
            }
            Ok(Err(CacheOrCompile::Compile(error))) => return Err(LoadError::Compile { what, error }),
            Ok(Err(CacheOrCompile::Cache(error))) => return Err(error.into()),
            Err(panicked) => return Err(LoadError::Damaged { what, reason: panicked.to_string() }),
        };
        self.check(&what, file, sha256, parts, &component).await
    }

    /// What a component exports and imports, and what it says of itself.
    async fn check(
        &self,
        what: &str,
        file: Option<&Path>,
        sha256: String,
        parts: Parts,
        component: &Component,
    ) -> Result<Plugin, LoadError> {
        let types = component.component_type();
        // Whatever a stranger's file says is shown to somebody.
        let exported: Vec<String> = types.exports(&self.engine).map(|(name, _)| words::line(name)).collect();
        let imported: Vec<String> = types
            .imports(&self.engine)
            .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
            .map(|(name, _)| words::line(name))
            .collect();
        let versions = exported.iter().chain(&imported).filter_map(|name| contract::version_in(name));
        let is_other = |number: &&str| self.spoken.iter().all(|version| version.number != *number);
        if let Some(found) = versions.into_iter().find(is_other) {
            let (what, found) = (what.to_owned(), found.to_owned());
            return Err(LoadError::OtherContract { what, found, spoken: self.numbers() });
        }
        let exports_returns = |version: &&Version| exported.contains(&version.export(Interface::Returns));
        let Some(version) = self.spoken.iter().rfind(exports_returns) else {
            return Err(LoadError::NoReturns { what: what.to_owned(), exports: exported });
        };
        let exports: BTreeSet<Interface> = Interface::ALL
            .into_iter()
            .filter(|interface| exported.contains(&version.export(*interface)))
            .collect();
        let pre = self.link(what, component, &imported)?;
        let contract = |error: wasmtime::Error| LoadError::Contract {
            what: what.to_owned(),
            reason: words::line(&error.root_cause().to_string()),
        };
        let calls = version.find(&pre, &exports).map_err(contract)?;
        let stem = file.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
        let mut plugin = Plugin {
            name: stem.unwrap_or_else(|| what.to_owned()),
            version: None,
            options: None,
            sha256,
            file: file.map(Path::to_owned),
            exports,
            contract: version.number,
            imports: imported,
            pre,
            parts,
            guests: Arc::clone(&self.guests),
            excess: Arc::default(),
            calls,
        };
        if plugin.exports.contains(&Interface::About) {
            plugin = describe(what, plugin).await?;
        }
        Ok(plugin)
    }

    fn numbers(&self) -> Vec<&'static str> {
        self.spoken.iter().map(|version| version.number).collect()
    }

    fn link(
        &self,
        what: &str,
        component: &Component,
        imported: &[String],
    ) -> Result<InstancePre<GuestState>, LoadError> {
        self.linker.instantiate_pre(component).map_err(|error| {
            // The error names one import; the message is to name all of them.
            let reason = format!("{error:#}");
            let missing: Vec<String> =
                imported.iter().filter(|name| reason.contains(name.as_str())).cloned().collect();
            match missing.is_empty() {
                true => LoadError::Contract { what: what.to_owned(), reason: words::line(&reason) },
                false => LoadError::Import { what: what.to_owned(), missing, spoken: self.numbers() },
            }
        })
    }
}

/// Why a component did not come out of the cache.
enum CacheOrCompile {
    Cache(CacheError),
    Compile(CompileError),
}

impl From<CacheError> for CacheOrCompile {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// Asks a plugin what it is, in an instance that is granted nothing.
async fn describe(what: &str, plugin: Plugin) -> Result<Plugin, LoadError> {
    let plugin = Arc::new(plugin);
    let failed = |error| LoadError::About { what: what.to_owned(), error };
    let mut instance = Instance::new(&plugin, &Arc::new(Grants::nothing(what))).await.map_err(failed)?;
    let about = instance.describe().await.map_err(failed)?;
    drop(instance);
    let mut plugin = Arc::into_inner(plugin).ok_or_else(|| LoadError::Contract {
        what: what.to_owned(),
        reason: "its instance is still in use".to_owned(),
    })?;
    // One that leaves a word out goes by what it has without it: its file, its digest.
    let said = |text: &str| Some(words::short(text)).filter(|text| !text.trim().is_empty());
    plugin.name = said(&about.name).unwrap_or(plugin.name);
    plugin.version = said(&about.version);
    let options = about.options.iter().take(MOST_OPTIONS);
    plugin.options = Some(options.map(|option| words::short(option)).collect());
    Ok(plugin)
}

impl Plugin {
    /// For messages: `mysql 0.1.0`.
    pub(crate) fn title(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.name).trim().to_owned(),
            None => format!("{} (sha256 {})", self.name, &self.sha256[..12.min(self.sha256.len())]),
        }
    }
}

impl Interface {
    pub(crate) const ALL: [Interface; 6] = [
        Interface::About,
        Interface::Lifecycle,
        Interface::Returns,
        Interface::Loads,
        Interface::Events,
        Interface::JobCache,
    ];

    /// As in the contract.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Interface::About => "about",
            Interface::Lifecycle => "lifecycle",
            Interface::Returns => "returns",
            Interface::Loads => "loads",
            Interface::Events => "events",
            Interface::JobCache => "job-cache",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything a guest can import. Linking grants nothing: each call asks the grants.
fn linker(engine: &Engine, spoken: &[Version]) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    capabilities::sockets::link(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    capabilities::wasi_http::link(&mut linker)?;
    spoken.iter().try_for_each(|version| version.link(&mut linker))?;
    Ok(linker)
}

/// Moves the epoch on for as long as the engine lives.
fn keep_time(engine: EngineWeak) {
    let ticking = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            PULSE.beat();
            drop(engine);
            std::thread::sleep(EPOCH);
        }
    });
    if let Err(error) = ticking {
        tracing::error!(%error, "no thread for the clock of plugins; their processor time is not bounded");
    }
}
