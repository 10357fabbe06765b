//! A lane: one returner's way through the journal. The handle by which others see it; the
//! work is in [`run`](super::run).

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::crashes::Crashes;
use super::held::HeldBack;
use super::oldest::Oldest;
use super::returner::Returner;
use super::run::{self, Run, Turn};
use super::status::Status;
use crate::items::Key;
use crate::journal::{Entry, Held, Journal, JournalError, LaneId, Seq, SetAside};
use crate::telemetry::LaneMetrics;

/// The handle of a lane that runs. It outlives its returner: see [`Lane::change`].
pub(crate) struct Lane {
    name: String,
    returner: Arc<ArcSwap<Returner>>,
    id: LaneId,
    journal: Arc<Journal>,
    board: Arc<Board>,
    oldest: Oldest,
    cursor: watch::Receiver<Seq>,
    awaited: Arc<Notify>,
    replayed: mpsc::UnboundedSender<Held>,
    stop: CancellationToken,
    turn: Arc<Mutex<Turn>>,
    task: Mutex<Option<JoinHandle<bool>>>,
    /// When a return last asked for it.
    used: Mutex<Instant>,
}

/// How a lane is doing.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) status: Status,
    /// Items that are not settled, those that wait on their own included.
    pub(crate) depth: u64,
    /// When the oldest of them was accepted, in milliseconds since 1970-01-01 UTC.
    pub(crate) oldest: Option<u64>,
}

impl Lane {
    /// Starts to deliver to a returner, from where its lane was left. `unclear` says that
    /// an earlier run was broken off, so that what it delivered is not known.
    pub(crate) async fn start(
        returner: Arc<Returner>,
        journal: &Arc<Journal>,
        metrics: LaneMetrics,
        crashes: &Arc<Crashes>,
        unclear: bool,
    ) -> Result<Arc<Self>, JournalError> {
        let name = returner.settings.name.clone();
        let reopened = journal.reopened();
        let mut state = journal.lane(&name).await?;
        if unclear {
            state.uncertain_through = *journal.head().borrow();
            state.held.iter_mut().for_each(|held| held.redelivered = true);
        }
        let board = Board::new(metrics, crashes, state.dead, &state.held);
        let stop = CancellationToken::new();
        let end = stop.child_token();
        let turn = Arc::new(Mutex::new(Turn { next: None, end: end.clone() }));
        let (cursor, seen) = watch::channel(state.cursor);
        let (replayed, to_try) = mpsc::unbounded_channel();
        let awaited = Arc::new(Notify::new());
        let shown = Arc::new(ArcSwap::new(Arc::clone(&returner)));
        let mut run = Run {
            returner,
            shown: Arc::clone(&shown),
            probation: None,
            rejected: Vec::new(),
            rejected_before: 0,
            by_others: board.counts(),
            journal: Arc::clone(journal),
            board: Arc::clone(&board),
            reporter: board.reporter(),
            stop: stop.clone(),
            turn: Arc::clone(&turn),
            end,
            id: state.id,
            uncertain_through: state.uncertain_through,
            broke: false,
            breaks: 0,
            held: HeldBack::new(state.held),
            owed: run::owed(),
            workers: Vec::new(),
            cursor,
            awaited: Arc::clone(&awaited),
            replayed: to_try,
            reopened,
            found: HashSet::new(),
            in_doubt: false,
            skipped: 0,
        };
        run.hire();
        let task = tokio::spawn(run.run());
        let journal = Arc::clone(journal);
        let (oldest, task) = (Oldest::default(), Mutex::new(Some(task)));
        Ok(Arc::new(Self {
            name,
            returner: shown,
            id: state.id,
            journal,
            board,
            oldest,
            cursor: seen,
            awaited,
            replayed,
            stop,
            turn,
            task,
            used: Mutex::new(Instant::now()),
        }))
    }

    /// The returner's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> LaneId {
        self.id
    }

    /// The one that it delivers to, or is about to.
    pub(crate) fn returner(&self) -> Arc<Returner> {
        self.returner.load_full()
    }

    /// Delivers to another returner of the same name from now on: the calls under way end,
    /// and what waits to be tried again is tried by the new one at once. Nothing happens
    /// where it is the same one.
    pub(super) fn change(&self, returner: Arc<Returner>) {
        let mut turn = self.turn.lock();
        if Arc::ptr_eq(&self.returner.load(), &returner) {
            return;
        }
        // Under the lock: a run that goes back to an earlier one must not hide a newer.
        self.returner.store(Arc::clone(&returner));
        turn.next = Some(returner);
        turn.end.cancel();
    }

    /// The returner that was too bad, whose place the one before it has taken again.
    pub(super) fn failed(&self) -> Option<Arc<Returner>> {
        self.board.failed()
    }

    pub(super) fn forget_failed(&self) {
        self.board.forget_failed();
    }

    /// A return asks for it.
    pub(super) fn used(&self) {
        *self.used.lock() = Instant::now();
    }

    /// How long none has.
    pub(super) fn unused_for(&self) -> Duration {
        self.used.lock().elapsed()
    }

    pub(crate) fn status(&self) -> Status {
        self.board.look()
    }

    pub(crate) async fn backlog(&self) -> Backlog {
        let (status, depth) = (self.status(), self.journal.depth(self.id));
        let oldest = self.oldest(&status, depth).await.unwrap_or_else(|error| {
            tracing::warn!(returner = self.name, %error, "the age of the oldest item is not known");
            None
        });
        Backlog { status, depth, oldest }
    }

    async fn oldest(&self, status: &Status, depth: u64) -> Result<Option<u64>, JournalError> {
        let held = status.held.as_ref();
        let mut oldest = None;
        if let Some(held) = held {
            oldest = self.oldest.held(&self.journal, self.id, held.oldest.seq).await?;
        }
        if depth > held.map_or(0, |held| held.count as u64) {
            let cursor = *self.cursor.borrow();
            let after = self.oldest.after(&self.journal, self.id, cursor).await?;
            oldest = oldest.into_iter().chain(after).min();
        }
        Ok(oldest)
    }

    /// Which of these items are set aside, and how: those at these places, and the earlier
    /// ones that these keys repeat.
    pub(crate) async fn set_aside(
        &self,
        seqs: RangeInclusive<Seq>,
        repeated: &HashSet<Key>,
    ) -> Result<SetAside, JournalError> {
        // Nothing is told of twice: what moves between held and dead at this moment is in either.
        let Status { held, dead, .. } = self.status();
        if held.is_none() && dead == 0 {
            // None is left of those that an operator has removed, and they were not stored.
            return Ok(SetAside { held: false, rejected: self.board.rejected(&seqs) });
        }
        let mut aside = self.journal.set_aside(self.id, seqs.clone(), repeated.clone()).await?;
        // A journal that cannot be written now is behind the lane.
        aside.rejected |= self.board.rejected(&seqs);
        aside.held |= self.board.holds(seqs);
        Ok(aside)
    }

    /// Waits until it is known whether the plugin's `setup` goes through.
    pub(crate) async fn begun(&self) {
        self.board.begun().await;
    }

    /// Waits until everything up to a place is stored, dead or held.
    pub(crate) async fn passed(&self, seq: Seq) {
        let mut cursor = self.cursor.clone();
        self.awaited.notify_one();
        // An error says that the lane has stopped: it will not pass.
        if cursor.wait_for(|cursor| *cursor >= seq).await.is_err() {
            std::future::pending().await
        }
    }

    /// The last items that it settled, at most so many, oldest first.
    pub(super) fn recent(&self, count: usize) -> Vec<Arc<Entry>> {
        self.board.recent.last(count)
    }

    /// Takes dead letters back that the journal holds for it again.
    pub(super) fn replay(&self, held: Vec<Held>) {
        self.board.exhumed(&held);
        for held in held {
            // A lane that has stopped finds them at its next start.
            let _ = self.replayed.send(held);
        }
    }

    /// Forgets dead letters that were removed.
    pub(super) fn dropped(&self, dead: u64) {
        self.board.dropped(dead);
    }

    /// Lets the calls under way end, for so long at most; what is not settled then
    /// stays in the journal. Says whether it is known what was delivered.
    pub(crate) async fn stop(&self, within: Duration) -> bool {
        self.stop.cancel();
        let Some(mut task) = self.task.lock().take() else { return true };
        let ended = tokio::time::timeout(within, &mut task).await;
        if ended.is_err() {
            task.abort();
        }
        self.board.stopped();
        matches!(ended, Ok(Ok(true)))
    }
}
