//! Reading the configuration again while the host runs.
//!
//! Promises: a version is taken whole or not at all. Whatever is wrong with it (what
//! `returner check` finds, a server that does not answer, a `setup` that fails, an address
//! that is in use) is found while the one before it runs on. One reload at a time. What a file
//! that changed says is not taken where it is likely not meant and opens the host: a file that is
//! empty now, and that nobody has to show who it is any more.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::serving::{BindError, Serving};
use super::watch::Watch;
use super::{at, lines};
use crate::config::{ConfigErrors, Difference, Loaded, Settings};
use crate::delivery::{BuildError, Lanes};
use crate::telemetry::{Metrics, Reload};
use crate::web::{Order, Reloads, Reread};

/// The keys under `host` that a running host cannot change: the journal is opened with them.
const FIXED: [&str; 4] = ["data", "max_journal", "dedupe_window", "dedupe_keys"];

pub(super) struct Reloader {
    pub(super) path: Option<PathBuf>,
    pub(super) watch: Watch,
    pub(super) lanes: Arc<Lanes>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) serving: Serving,
    pub(super) stop: CancellationToken,
    /// The warnings of the version before, which need not be said again.
    pub(super) warned: BTreeSet<String>,
    /// The files of the version that runs in which something stood.
    pub(super) full: BTreeSet<PathBuf>,
}

/// Why the configuration is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Asked,
    Hangup,
    Changed,
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Why::Asked => "it was asked for",
            Why::Hangup => "SIGHUP",
            Why::Changed => "a file changed",
        })
    }
}

impl Reloader {
    /// Until the host stops; gives back what serves then.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut hangup: Signal) -> Serving {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return self.serving,
                Some(Order { dry_run, reply }) = orders.recv() => {
                    let answer = if dry_run { self.look().await } else { self.reload(Why::Asked).await };
                    // Whoever asked may have left.
                    let _ = reply.send(answer);
                }
                Some(()) = hangup.recv() => drop(self.reload(Why::Hangup).await),
                () = self.watch.changed(), if self.lanes.settings().host.watch => {
                    drop(self.reload(Why::Changed).await);
                }
            }
        }
    }

    /// What a file that changed must not do on its own.
    fn check_followed(&self, loaded: &Loaded) -> Result<(), String> {
        // An editor that was broken off, or a disk that was full, leaves an empty file; that
        // it is one without a word about all that it said is not what anybody means.
        if let Some(path) = self.full.iter().find(|path| loaded.watched.is_empty(path)) {
            return Err(format!(
                "error: `{}` of the configuration is empty now, and is not taken\n  hint: `returner reload` takes it as it is",
                path.display()
            ));
        }
        let (old, new) = (&self.lanes.settings().host.access, &loaded.settings.host.access);
        if !old.asks_nobody() && new.asks_nobody() {
            return Err(
                "error: there are no `host.tokens` and no `host.tls.client_ca` any more: nobody would have to show who it is\n  \
                 hint: `returner reload` takes it as it is"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// What would change; an error where it would be refused.
    async fn look(&self) -> Result<Reread, String> {
        let (loaded, _) = tokio::select! {
            () = self.stop.cancelled() => return Err("error: the host is stopping".to_owned()),
            read = self.load() => read?,
        };
        let loaded = loaded.map_err(|errors| errors.to_string())?;
        let warnings = warnings(&loaded).into_iter().collect();
        let settings = Arc::new(loaded.settings);
        self.check_fixed(&settings)?;
        let told = |errors: Vec<BuildError>| lines(&errors, &settings);
        let prepared = self.lanes.prepare(Arc::clone(&settings), true).await.map_err(told)?;
        prepared.try_out(false).await.map_err(told)?;
        // Where it would listen, and with which certificates: bound, and left again.
        let bound = self.serving.bind(&settings.host);
        bound.map_err(|error| at(error.place(&settings.places), &error))?;
        Ok(Reread { differences: prepared.differences, warnings })
    }

    async fn reload(&mut self, why: Why) -> Result<Reread, String> {
        // A file on a network can keep its reader waiting, and a stop does not wait with it.
        let (loaded, watch) = tokio::select! {
            () = self.stop.cancelled() => return Err("error: the host is stopping".to_owned()),
            read = self.load() => read.inspect_err(|message| self.refuse(message))?,
        };
        self.watch = watch;
        let full = loaded.as_ref().map(|loaded| loaded.watched.full()).unwrap_or_default();
        let taken = match loaded {
            Ok(loaded) => match self.check_followed(&loaded) {
                Err(message) if why == Why::Changed => Err(message),
                _ => self.take(loaded, why != Why::Changed).await,
            },
            Err(errors) => Err(errors.to_string()),
        };
        if taken.is_ok() {
            self.full = full;
        }
        match &taken {
            Ok(changes) if changes.is_empty() => {
                self.metrics.reloaded(Reload::Unchanged);
                self.reloads.unchanged();
                tracing::info!("the configuration was read again ({why}), and is as it was");
            }
            Ok(changes) => {
                self.metrics.reloaded(Reload::Applied);
                self.reloads.taken(shown(&self.lanes.settings()));
                for Difference { subject, change, widens } in changes {
                    tracing::info!(widens, "{subject}: {change}");
                }
                tracing::info!(changes = changes.len(), "a new configuration runs ({why})");
            }
            Err(message) => self.refuse(message),
        }
        taken.map(|differences| Reread { differences, warnings: self.warned.iter().cloned().collect() })
    }

    fn refuse(&self, message: &str) {
        self.metrics.reloaded(Reload::Refused);
        self.reloads.refused(message);
        tracing::error!("the configuration is not taken, and the one before it runs on:\n{message}");
    }

    /// Reads it, and what to watch from then on. An error where reading it ended in a panic, be it
    /// a library's: the one that runs stays.
    async fn load(&self) -> Result<(Result<Loaded, ConfigErrors>, Watch), String> {
        let (path, known) = (self.path.clone(), self.watch.paths());
        let read = tokio::task::spawn_blocking(move || {
            let before = Watch::of(known);
            let loaded = Settings::load(path.as_deref());
            let watch = match &loaded {
                Ok(loaded) => Watch::new(loaded.watched.seen().clone()),
                // What was not come to may be what has to change.
                Err(errors) => before.with(errors.watched.seen()),
            };
            (loaded, watch)
        });
        read.await.map_err(|error| {
            format!("error: the configuration could not be read: {error}\n  hint: that is a fault of this program; please report it")
        })
    }

    /// A plugin that gave its place back is tried `again`, or only if it is another now.
    async fn take(&mut self, loaded: Loaded, again: bool) -> Result<Vec<Difference>, String> {
        self.warned = warn(&loaded, &self.warned);
        let settings = Arc::new(loaded.settings);
        self.check_fixed(&settings)?;
        let lanes = Arc::clone(&self.lanes);
        let get_ready = async {
            let prepared = lanes.prepare(Arc::clone(&settings), again).await;
            let told = |errors: Vec<BuildError>| lines(&errors, &settings);
            let prepared = prepared.map_err(told)?;
            if !prepared.differences.is_empty() {
                prepared.try_out(true).await.map_err(told)?;
            }
            let refused = |error: BindError| at(error.place(&settings.places), &error);
            let bound = self.serving.bind(&settings.host).map_err(refused)?;
            Ok::<_, String>((prepared, bound))
        };
        // Only until the change begins: that is short, and is not broken off.
        let (prepared, bound) = tokio::select! {
            () = self.stop.cancelled() => return Err("error: the host is stopping".to_owned()),
            ready = get_ready => ready?,
        };
        lanes.forget_failed(&prepared);
        let differences = prepared.differences.clone();
        if differences.is_empty() {
            return Ok(differences);
        }
        let drain = settings.host.drain;
        lanes.change_over(prepared, drain).await.map_err(|error| format!("error: {error}"))?;
        // All else is so already, and was asked for.
        if let Err(error) = self.serving.change(bound, &self.lanes.settings().host).await {
            tracing::error!("{error}");
        }
        Ok(differences)
    }

    fn check_fixed(&self, settings: &Settings) -> Result<(), String> {
        let changed = self.lanes.settings().host.changed(&settings.host);
        let fixed: Vec<String> = changed
            .into_iter()
            .filter(|(key, ..)| FIXED.contains(key))
            .map(|(key, ..)| format!("`host.{key}`"))
            .collect();
        if fixed.is_empty() {
            return Ok(());
        }
        let keys: Vec<&str> = fixed.iter().map(|key| key.trim_matches('`')).collect();
        let error = format!(
            "{} cannot change while the host runs\n  hint: take the change back, or restart the host",
            fixed.join(", ")
        );
        Err(at(settings.places.first(&keys), &error))
    }
}

fn warnings(loaded: &Loaded) -> BTreeSet<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

/// Says the warnings of a version but those that are known; gives all of them.
pub(super) fn warn(loaded: &Loaded, known: &BTreeSet<String>) -> BTreeSet<String> {
    let warnings = warnings(loaded);
    warnings.difference(known).for_each(|warning| tracing::warn!("{warning}"));
    warnings
}

/// The files of a version, for people.
pub(super) fn shown(settings: &Settings) -> Vec<String> {
    settings.files.iter().map(|file| file.display().to_string()).collect()
}
