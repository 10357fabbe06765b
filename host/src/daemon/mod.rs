//! The life of the host: read the settings, build, serve (and read the settings again when
//! they change), drain.

mod listening;
mod private;
mod reload;
mod serving;
mod watch;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigErrors, Place, Settings};
use crate::delivery::{BuildError, Crashes, DeadLetters, Lanes};
use crate::intake::{Gaps, Intake, SaltEvents};
use crate::job_cache::JobCache;
use crate::journal::{Bounds, Journal, OpenError};
use crate::plugins::{LoadError, Runtime};
use crate::telemetry::Metrics;
use crate::web::{self, Access, App, Gate, Receiving, Reloads};

pub(crate) use listening::noted;
use private::{PrivateError, make_private};
use reload::Reloader;
use serving::{BindError, Serving};
pub(crate) use watch::Watch;

/// The newest items that stay in memory for lanes that keep up, in bytes.
const TAIL: usize = 128 << 20;

/// Room on the disk that is kept for settling, in bytes: more than the journal's log grows
/// by between two checkpoints.
const RESERVE: u64 = 24 << 20;

/// How much of what is settled a transaction of the journal writes, in bytes: about what takes as long
/// as the flush.
const SHARE: usize = 256 << 10;

/// Why the host does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// One error a line or more.
    #[error("{0}")]
    Build(String),
    #[error(transparent)]
    Runtime(#[from] LoadError),
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error("{0}")]
    Serve(String),
    #[error(transparent)]
    Data(#[from] PrivateError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// One error a line or more, each with `error: ` and its place before it.
fn lines(errors: &[BuildError], settings: &Settings) -> String {
    let line = |error: &BuildError| at(error.place(settings), error);
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn at(place: Option<&Place>, error: &dyn std::fmt::Display) -> String {
    match place {
        Some(place) => format!("error: {place}: {error}"),
        None => format!("error: {error}"),
    }
}

/// Runs the host until it is told to stop.
pub(crate) async fn run(config: Option<&Path>) -> Result<(), DaemonError> {
    keep_memory_private();
    open_as_many_files_as_allowed();
    let loaded = Settings::load(config)?;
    let (watch, full) = (Watch::new(loaded.watched.seen().clone()), loaded.watched.full());
    let warned = reload::warn(&loaded, &BTreeSet::new());
    let mut signals = Signals::listen().map_err(DaemonError::Signals)?;
    let hangup = signal(SignalKind::hangup()).map_err(DaemonError::Signals)?;
    let settings = Arc::new(loaded.settings);
    let (orders, incoming) = mpsc::channel(1);
    let reloads = Arc::new(Reloads::new(reload::shown(&settings), orders));
    let host = Host::build(Arc::clone(&settings), Arc::clone(&reloads)).await?;
    let (router, gate) = (web::router(Arc::clone(&host.app)), Arc::clone(&host.app.gate));
    let mut serving = Serving::new(router, gate, Arc::clone(&host.app.salt_events), &settings.host.data);
    let refused = |error: BindError| DaemonError::Serve(at(error.place(&settings.places), &error));
    let bound = serving.bind(&settings.host).map_err(refused)?;
    serving.change(bound, &settings.host).await.map_err(refused)?;
    // Whoever started it may not read what it says.
    let _ = std::io::stdout().write_all(host.greeting(&serving.addresses()).as_bytes());
    let stop = CancellationToken::new();
    let reloader = Reloader {
        path: config.map(Path::to_owned),
        full,
        watch,
        lanes: Arc::clone(&host.lanes),
        reloads,
        metrics: Arc::clone(&host.app.metrics),
        serving,
        stop: stop.clone(),
        warned,
    };
    let reloads = tokio::spawn(reloader.run(incoming, hangup));
    tokio::select! {
        () = signals.stop() => {}
        () = host.lanes.begin_wanting() => {}
    }
    tracing::info!("stopping: no more is taken in; calls under way may end; the rest stays in the journal");
    stop.cancel();
    tokio::select! {
        () = host.drain(reloads) => tracing::info!("stopped"),
        // Whoever asks twice does not want to wait. What was acknowledged is on disk.
        () = signals.stop() => tracing::warn!("stopped at once"),
    }
    Ok(())
}

/// The parts of a running host.
struct Host {
    journal: Arc<Journal>,
    lanes: Arc<Lanes>,
    app: Arc<App>,
}

impl Host {
    async fn build(settings: Arc<Settings>, configuration: Arc<Reloads>) -> Result<Self, DaemonError> {
        let access = Access::new(&settings.host.access).map_err(BindError::from);
        let refused = |error: BindError| DaemonError::Serve(at(error.place(&settings.places), &error));
        let access = access.map_err(refused)?;
        let data = &settings.host.data;
        for warning in make_private(data)? {
            tracing::warn!("{warning}");
        }
        let runtime = Runtime::new(&data.join("compiled"))?;
        let bounds = Bounds {
            size: settings.host.max_journal,
            window: settings.host.dedupe_window,
            keys: usize::try_from(settings.host.dedupe_keys).unwrap_or(usize::MAX),
            tail: TAIL,
            reserve: RESERVE,
            share: SHARE,
        };
        let metrics = Arc::new(Metrics::new());
        let journal = Arc::new(Journal::open(&data.join("journal"), bounds, metrics.journal.clone())?);
        let crashes = Crashes::open(&data.join("crashes"))
            .map_err(|error| PrivateError::Use { path: data.clone(), error })?;
        let lanes =
            Lanes::start(Arc::clone(&settings), runtime, Arc::clone(&journal), Arc::clone(&metrics), crashes)
                .await;
        let lanes = Arc::new(lanes.map_err(|errors| DaemonError::Build(lines(&errors, &settings)))?);
        let (counted, salt) = (metrics.intake.clone(), metrics.salt_events.clone());
        let intake = Arc::new(Intake::new(Arc::clone(&lanes), Arc::clone(&journal), counted, salt));
        let gaps = Gaps::open(data);
        let salt_events = SaltEvents::new(Arc::clone(&intake), gaps, metrics.salt_events.clone());
        let app = Arc::new(App {
            intake,
            salt_events: Arc::new(salt_events),
            job_cache: JobCache::new(Arc::clone(&lanes), Arc::clone(&journal)),
            dead_letters: DeadLetters::new(Arc::clone(&lanes), Arc::clone(&journal)),
            lanes: Arc::clone(&lanes),
            journal: Arc::clone(&journal),
            metrics,
            configuration,
            receiving: Receiving::default(),
            gate: Arc::new(Gate::new(access)),
        });
        Ok(Self { journal, lanes, app })
    }

    /// Ends a change of the configuration, then requests, then calls, then the journal:
    /// nothing that a later part still needs.
    async fn drain(&self, reloads: JoinHandle<Serving>) {
        if let Ok(serving) = reloads.await {
            serving.stop().await;
        }
        let certain = self.lanes.stop(self.lanes.settings().host.drain).await;
        self.journal.close(certain).await;
    }

    fn greeting(&self, addresses: &[String]) -> String {
        let returners: Vec<String> = self
            .lanes
            .all()
            .iter()
            .map(|lane| format!("{} ({})", lane.name(), lane.returner().plugin.title()))
            .collect();
        let returners = returners.join(", ");
        let data = &self.lanes.settings().host.data;
        let whole = std::path::absolute(data);
        let data = whole.as_ref().unwrap_or(data).display();
        let mut text = format!(
            "returner {}\n  listening on  {}\n  data in       {data}\n  returners     {returners}\n",
            env!("CARGO_PKG_VERSION"),
            addresses.join(", "),
        );
        let example = r#"{"jid": "20260214093012345678", "id": "web1", "fun": "test.ping", "return": true}"#;
        if let Some(url) = addresses.iter().find(|address| address.starts_with("http")) {
            text += &format!("send a first return:\n  curl -d '{example}' {url}/v1/returns\n");
        }
        text
    }
}

/// Credentials are in it: no core dump has it, and no debugger of another user's.
fn keep_memory_private() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a core dump of this process would hold credentials");
    }
}

/// Connections are file descriptors, those of plugins, too. The soft limit is for programs that
/// cannot count so far.
fn open_as_many_files_as_allowed() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "no more files can be open than before (`ulimit -n`)");
    }
}

/// The signals that ask the host to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        // A write beyond `ulimit -f` is then an error like another, and not the host's end.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_are_open_as_are_allowed() {
        open_as_many_files_as_allowed();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }

    #[test]
    fn no_dump_has_what_is_in_memory() {
        keep_memory_private();
        let behavior = rustix::process::dumpable_behavior();
        assert!(matches!(behavior, Ok(DumpableBehavior::NotDumpable)));
    }
}
