//! Who writes to a file of SQLite's: one at a time, in the order in which they came.
//!
//! # Invariants
//! - Each file has one gate in the process, whatever pools there are to it.
//! - Nobody keeps the others waiting for much longer than [`HELD`], be it that a guest sleeps
//!   in its transaction or that it writes on and on: what it wrote is undone, and it is told so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

/// How long one may write while others wait for it.
pub(super) const HELD: Duration = Duration::from_secs(10);

pub(super) struct Gate {
    turn: Arc<tokio::sync::Mutex<()>>,
    waiting: AtomicUsize,
}

/// The right to write, until it is dropped.
pub(super) struct Turn {
    gate: Arc<Gate>,
    since: Instant,
    _turn: OwnedMutexGuard<()>,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { turn: Arc::default(), waiting: AtomicUsize::new(0) })
    }

    /// The gate of a file. A database in memory is nobody else's.
    pub(super) fn of(file: &Path, in_memory: bool) -> Arc<Self> {
        static GATES: LazyLock<Mutex<HashMap<PathBuf, Weak<Gate>>>> = LazyLock::new(Mutex::default);
        if in_memory {
            return Self::new();
        }
        // The file may not be there yet; its directory may be reached by several names.
        let directory = file.parent().and_then(|directory| directory.canonicalize().ok());
        let name = file.file_name().map(PathBuf::from);
        let file =
            directory.zip(name).map_or_else(|| file.to_owned(), |(directory, name)| directory.join(name));
        let mut gates = GATES.lock();
        gates.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = gates.get(&file).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Self::new();
        gates.insert(file, Arc::downgrade(&gate));
        gate
    }

    /// Waits for the turn, for so long at most.
    pub(super) async fn turn(self: &Arc<Self>, patience: Duration) -> Option<Turn> {
        let waiting = Waiting::new(self);
        let turn = timeout(patience, Arc::clone(&self.turn).lock_owned()).await;
        drop(waiting);
        Some(Turn { gate: Arc::clone(self), since: Instant::now(), _turn: turn.ok()? })
    }
}

/// Somebody who waits, also one who gives up.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.waiting.fetch_add(1, Ordering::Relaxed);
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn {
    /// Whether others have waited for long enough.
    pub(super) fn is_over(&self) -> bool {
        self.since.elapsed() >= HELD && self.gate.waiting.load(Ordering::Relaxed) > 0
    }
}
