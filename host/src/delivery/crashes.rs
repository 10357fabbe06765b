//! Reports of guests that were stopped, for whoever mends the plugin: `returner plugins
//! crash`.
//!
//! # Invariants
//! - The newest [`KEPT`] are kept, each of at most some [`MOST_ITEMS`] bytes: a plugin that
//!   is stopped all the time fills no disk.
//! - What was given to the call is in its report, which can be run again; so the files are
//!   for the host's user only, like the journal.
//! - A report is written to a new file under a name that nobody can foresee, and renamed: what
//!   stands in its place already, a link for example, is replaced and not followed.
//! - A report that cannot be written is news for the log and hinders nothing.
//!
//! # On disk
//! `<host.data>/crashes/<id>.json`, a [`Report`] each; ids grow.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::batch::Task;
use super::returner::Returner;
use crate::items::Kind;
use crate::plugins::Trap;

/// How many reports are kept.
const KEPT: usize = 50;

/// The most bytes of items in one report.
const MOST_ITEMS: usize = 1 << 20;

/// Between two reports of one returner that are not about one item alone.
const APART: Duration = Duration::from_secs(2);

/// A guest that was stopped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) id: u64,
    pub(crate) at: String,
    pub(crate) returner: String,
    /// Its name and version.
    pub(crate) plugin: String,
    pub(crate) sha256: String,
    /// What was called: `returns.store`, `lifecycle.setup`, or `start`.
    pub(crate) function: String,
    pub(crate) reason: String,
    /// The guest's functions, innermost first, where the component has names.
    pub(crate) backtrace: String,
    /// The last that it printed.
    pub(crate) stderr: String,
    /// The item, if it was alone.
    pub(crate) item: Option<String>,
    /// What the call was given.
    pub(crate) items: Vec<Given>,
    /// How many items more, which are not in the report for their size.
    pub(crate) left_out: usize,
}

/// A report without what the call was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) id: u64,
    pub(crate) at: String,
    pub(crate) returner: String,
    pub(crate) plugin: String,
    pub(crate) function: String,
    pub(crate) reason: String,
    pub(crate) item: Option<String>,
}

/// An item that a call was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// [`Kind::name`].
    pub(crate) kind: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) accepted: u64,
    pub(crate) redelivered: bool,
    /// As Salt sent it.
    pub(crate) body: String,
}

/// The reports of one host.
pub(crate) struct Crashes {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ids: BTreeSet<u64>,
    /// When each returner had its last report.
    last: HashMap<String, Instant>,
}

impl Crashes {
    /// Finds those that are kept in a directory, and makes it where there is none.
    pub(crate) fn open(directory: &Path) -> io::Result<Arc<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let id = |entry: io::Result<fs::DirEntry>| {
            let path = entry.ok()?.path();
            path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()
        };
        let ids = fs::read_dir(directory)?.filter_map(id).collect();
        let state = Mutex::new(State { ids, ..State::default() });
        Ok(Arc::new(Self { directory: directory.to_owned(), state }))
    }

    /// As [`note`](Self::note), of a call that was given no items.
    pub(crate) fn note_question(self: &Arc<Self>, returner: &Returner, function: &str, trap: &Trap) {
        self.note(returner, function, &[], trap);
    }

    /// Keeps a report of a call. Does not wait until it is written.
    pub(super) fn note(self: &Arc<Self>, returner: &Returner, function: &str, tasks: &[Task], trap: &Trap) {
        let name = &returner.settings.name;
        let id = {
            let mut state = self.state.lock();
            let is_soon = state.last.get(name).is_some_and(|last| last.elapsed() < APART);
            if is_soon && tasks.len() != 1 {
                return;
            }
            state.last.insert(name.clone(), Instant::now());
            let id = state.ids.last().map_or(1, |last| last + 1);
            state.ids.insert(id);
            id
        };
        let (items, left_out) = given(tasks);
        let report = Report {
            id,
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            returner: name.clone(),
            plugin: returner.plugin.title(),
            sha256: returner.plugin.sha256.clone(),
            function: function.to_owned(),
            reason: trap.reason.clone(),
            backtrace: trap.backtrace.clone(),
            stderr: trap.stderr.clone(),
            item: if let [task] = tasks { Some(task.entry.item.title()) } else { None },
            items,
            left_out,
        };
        let crashes = Arc::clone(self);
        tokio::task::spawn_blocking(move || crashes.keep(&report));
    }

    fn keep(&self, report: &Report) {
        if let Err(error) = self.write(report) {
            let directory = self.directory.display();
            tracing::warn!(%error, "the report of a crash cannot be kept in `{directory}`");
        }
        let excess: Vec<u64> = {
            let mut state = self.state.lock();
            let excess = state.ids.len().saturating_sub(KEPT);
            let excess: Vec<u64> = state.ids.iter().take(excess).copied().collect();
            state.ids.retain(|id| !excess.contains(id));
            excess
        };
        for id in excess {
            let _ = fs::remove_file(self.path(id));
        }
    }

    fn write(&self, report: &Report) -> io::Result<()> {
        let text = serde_json::to_vec(report)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&text)?;
        file.persist(self.path(report.id))?;
        Ok(())
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    /// The newest first. One that cannot be read is left out.
    pub(crate) fn list(&self) -> Vec<Summary> {
        let ids: Vec<u64> = self.state.lock().ids.iter().rev().copied().collect();
        ids.into_iter().filter_map(|id| self.read(id)).collect()
    }

    pub(crate) fn show(&self, id: u64) -> Option<Report> {
        self.read(id)
    }

    /// As much of a report as is asked for.
    fn read<T: DeserializeOwned>(&self, id: u64) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path(id)).ok()?).ok()
    }
}

/// As many as fit, and how many do not.
fn given(tasks: &[Task]) -> (Vec<Given>, usize) {
    let mut bytes = 0;
    let fitting = tasks.iter().take_while(|task| {
        bytes += task.entry.item.text().len();
        bytes <= MOST_ITEMS
    });
    let given = fitting.map(|task| Given {
        kind: task.entry.item.kind().name().to_owned(),
        accepted: task.entry.accepted,
        redelivered: task.redelivered,
        body: task.entry.item.text().to_owned(),
    });
    let given: Vec<Given> = given.collect();
    let left_out = tasks.len() - given.len();
    (given, left_out)
}

/// The function of the contract that stores items of a kind.
pub(super) fn function(kind: Kind) -> &'static str {
    match kind {
        Kind::Return => "returns.store",
        Kind::Load => "loads.store",
        Kind::Minions => "loads.add-minions",
        Kind::Event => "events.store",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(id: u64) -> Report {
        Report {
            id,
            at: String::new(),
            returner: "audit".to_owned(),
            plugin: "audit 0.1.0".to_owned(),
            sha256: "00".to_owned(),
            function: "returns.store".to_owned(),
            reason: "it trapped".to_owned(),
            backtrace: String::new(),
            stderr: "a\nb".to_owned(),
            item: None,
            items: vec![Given {
                kind: "return".to_owned(),
                accepted: 1,
                redelivered: true,
                body: "{}".to_owned(),
            }],
            left_out: 3,
        }
    }

    #[test]
    fn the_newest_are_kept_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let crashes = Crashes::open(&directory.path().join("crashes")).unwrap();
        for id in 1..=KEPT as u64 + 5 {
            crashes.state.lock().ids.insert(id);
            crashes.keep(&report(id));
        }
        let again = Crashes::open(&directory.path().join("crashes")).unwrap();
        for crashes in [crashes, again] {
            let listed = crashes.list();
            assert_eq!((listed.len(), listed[0].id), (KEPT, KEPT as u64 + 5));
            assert_eq!(crashes.show(KEPT as u64), Some(report(KEPT as u64)));
            assert_eq!(crashes.show(5), None);
        }
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let crashes = Crashes::open(&directory.path().join("crashes")).unwrap();
        for name in ["1.new", "1.json"] {
            std::os::unix::fs::symlink(&victim, directory.path().join("crashes").join(name)).unwrap();
        }
        crashes.keep(&report(1));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(crashes.show(1), Some(report(1)));
    }
}
