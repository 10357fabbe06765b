//! A lane at work.
//!
//! It works window by window: read what comes next (and what is due of what was
//! held), deliver it, settle it. A window is settled whole, so the cursor is all that
//! a lane has to keep, and the table of held items what the cursor cannot say.

mod change;
mod parts;
mod settle;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::batch::{Batch, Plan, Task};
use super::board::{Board, Reporter};
use super::held::{DueItems, HeldBack};
use super::probation::{Counts, Probation};
use super::returner::Returner;
use super::status::Next;
use super::worker::{Outcome, Worker};
use crate::journal::{Entry, Held, Journal, JournalError, LaneId, Seq, Settlement, Window, now};

pub(super) use settle::owed;

/// The wait after the journal could not be read.
const AFTER_READ_ERROR: Duration = Duration::from_secs(1);

/// The least time from the begin of one window to the next while they are not full and
/// nobody waits for what is in them: what comes meanwhile shares a call and a commit. The
/// first one after a rest waits for nothing.
const BETWEEN: Duration = Duration::from_millis(20);

/// Which returner a lane delivers to, and which it is to change to.
pub(super) struct Turn {
    pub(super) next: Option<Arc<Returner>>,
    /// Ends the present one's calls, the one under way not.
    pub(super) end: CancellationToken,
}

/// What a window had in it.
enum Round {
    Nothing,
    Part,
    /// As much as a window holds: there is likely more.
    Full,
}

/// What is to be tried again now.
#[derive(Default)]
struct Due {
    tasks: Vec<Task>,
    /// There is more of it than one window takes.
    more: bool,
    broken_off: bool,
}

/// A lane at work.
pub(super) struct Run {
    pub(super) returner: Arc<Returner>,
    /// The one that others see.
    pub(super) shown: Arc<ArcSwap<Returner>>,
    pub(super) probation: Option<Arc<Probation>>,
    /// The dead letters that were made of items on probation, oldest first. While there is none,
    /// the present returner's to try.
    pub(super) rejected: Vec<Seq>,
    /// How many of them by plugins before the present one.
    pub(super) rejected_before: usize,
    /// What was done in this lane, and not by the present plugin.
    pub(super) by_others: Counts,
    pub(super) journal: Arc<Journal>,
    pub(super) board: Arc<Board>,
    pub(super) reporter: Reporter,
    pub(super) stop: CancellationToken,
    pub(super) turn: Arc<Mutex<Turn>>,
    /// Ends the turn of the present returner.
    pub(super) end: CancellationToken,
    pub(super) id: LaneId,
    pub(super) uncertain_through: Seq,
    /// A worker broke: what it delivered is not known, and was perhaps not settled since.
    pub(super) broke: bool,
    /// How many times in a row one did.
    pub(super) breaks: u32,
    pub(super) held: HeldBack,
    /// What it may leave to the journal to write.
    pub(super) owed: Arc<Semaphore>,
    pub(super) workers: Vec<Worker>,
    pub(super) cursor: watch::Sender<Seq>,
    /// Somebody began to wait for the cursor.
    pub(super) awaited: Arc<Notify>,
    pub(super) replayed: mpsc::UnboundedReceiver<Held>,
    /// The journal was read again, and may hold what nobody has told this lane.
    pub(super) reopened: watch::Receiver<u64>,
    /// What was found there so, and may still be told: see [`take_replayed`](Self::take_replayed).
    pub(super) found: HashSet<Seq>,
    /// What is told, or what was refused, may be on disk or not: the journal is to be asked.
    pub(super) in_doubt: bool,
    /// Windows in a row that had more held items than they take.
    pub(super) skipped: u32,
}

impl Run {
    /// Until the lane is stopped; says whether it is known what was delivered.
    pub(super) async fn run(mut self) -> bool {
        while !self.stop.is_cancelled() {
            self.serve().await;
            self.change();
            self.take_back().await;
        }
        !self.broke
    }

    /// Until the turn of the present returner ends.
    async fn serve(&mut self) {
        let Some(worker) = self.workers.first_mut() else { return };
        if !worker.set_up().await {
            return;
        }
        let mut head = self.journal.head();
        while !self.end.is_cancelled() {
            head.mark_unchanged();
            let begun = Instant::now();
            match self.round().await {
                Ok(Round::Full) => self.reporter.well(),
                Ok(Round::Part) => {
                    self.reporter.well();
                    self.gather(begun + BETWEEN).await;
                }
                Ok(Round::Nothing) => {
                    self.board.at_rest();
                    self.sleep(&mut head).await;
                }
                Err(error) => {
                    tracing::error!(returner = self.name(), %error, "cannot go on reading");
                    self.reporter.failed(&error.to_string(), Next::Read, AFTER_READ_ERROR);
                    tokio::time::sleep(AFTER_READ_ERROR).await;
                }
            }
        }
    }

    /// New workers, each with an instance of its own.
    pub(super) fn hire(&mut self) {
        let count = self.returner.settings.delivery.workers.max(1);
        self.workers = (0..count).map(|_| self.worker()).collect();
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.returner, self.board.reporter(), &self.end, self.probation.clone())
    }

    fn name(&self) -> &str {
        &self.returner.settings.name
    }

    /// A replay that failed may be on disk all the same. All that this lane has settled was told
    /// to the journal before it is asked, so what it holds then is what is to be tried.
    async fn look_again(&mut self) -> Result<(), JournalError> {
        while let Ok(held) = self.replayed.try_recv() {
            self.take_replayed(held);
        }
        if !self.in_doubt && !self.reopened.has_changed().unwrap_or(false) {
            return Ok(());
        }
        // Before it is asked: what is read again meanwhile is asked for once more.
        self.reopened.mark_unchanged();
        self.in_doubt = true;
        let state = self.journal.lane(self.name()).await?;
        self.in_doubt = false;
        let mut held = state.held;
        held.retain(|held| !self.held.has(held.seq));
        self.board.found(state.dead, &held);
        self.found.extend(held.iter().map(|held| held.seq));
        self.held.extend(held);
        Ok(())
    }

    /// What was found before it was told may be settled by then, and is not to be tried again. Or
    /// nobody ever tells of it, because its replay was refused, and what is told is a later replay
    /// of the same item, which is to be tried.
    fn take_replayed(&mut self, held: Held) {
        let was_found = self.found.remove(&held.seq);
        if self.held.has(held.seq) {
            return;
        }
        if was_found {
            self.in_doubt = true;
        } else {
            self.held.extend([held]);
        }
    }

    /// One window.
    async fn round(&mut self) -> Result<Round, JournalError> {
        self.look_again().await?;
        let settings = &self.returner.settings.delivery;
        let workers = settings.workers.max(1);
        let after = *self.cursor.borrow();
        let count = settings.batch.max(1) * workers;
        let bytes = settings.batch_bytes * workers;
        let Due { mut tasks, more, broken_off } = self.due().await?;
        // What was broken off is older than what comes next: all of it goes before. What is
        // refused again and again takes turns with it, as long as there is room for more.
        let goes_before = self.held.is_full() || more && (self.skipped.is_multiple_of(2) || broken_off);
        self.skipped = if more { self.skipped.wrapping_add(1) } else { 0 };
        let window = match goes_before {
            true => Window { entries: Vec::new(), through: after },
            false => self.journal.next(self.id, after, count, bytes).await?,
        };
        tasks.extend(window.entries.iter().map(|entry| Task {
            entry: Arc::clone(entry),
            tries: 0,
            redelivered: entry.seq <= self.uncertain_through,
            was_held: false,
        }));
        if tasks.is_empty() {
            if window.through > after {
                let settlement = Settlement { through: window.through, ..Settlement::default() };
                self.journal.settle(self.id, settlement)?;
                self.cursor.send_replace(window.through);
            }
            return Ok(Round::Nothing);
        }
        let full = more || tasks.len() >= count;
        match self.deliver(tasks).await {
            Some(outcomes) => {
                let outcomes = self.spare(outcomes);
                self.settle(&window, outcomes).await?;
                self.breaks = 0;
                self.take_back().await;
            }
            // A fault of the host's own; nothing is known, so all of it comes again.
            None => {
                self.uncertain_through = self.uncertain_through.max(window.through);
                self.held.are_unclear();
                self.broke = true;
                self.after_break().await;
            }
        }
        Ok(if full { Round::Full } else { Round::Part })
    }

    /// What broke a worker may do so again: each time waits longer.
    async fn after_break(&mut self) {
        self.breaks += 1;
        let wait = backoff::wait(self.breaks, self.returner.settings.delivery.max_backoff, None);
        self.reporter.failed(
            "a worker broke: a fault of the host's own; its items come again",
            Next::Read,
            wait,
        );
        let _ = tokio::time::timeout(wait, self.end.cancelled()).await;
    }

    /// The held items whose time has come, as many as a window takes.
    async fn due(&mut self) -> Result<Due, JournalError> {
        let DueItems { seqs, mut more, broken_off } = self.held.due();
        if seqs.is_empty() {
            return Ok(Due::default());
        }
        let last = seqs.last().copied();
        let settings = &self.returner.settings.delivery;
        let bytes = settings.batch_bytes * settings.workers.max(1);
        let entries = self.journal.entries(self.id, seqs.clone(), bytes).await?;
        // The bytes of one window may end before the last of them.
        more |= entries.last().is_some_and(|entry| Some(entry.seq) < last);
        self.miss(&seqs, &entries);
        let tasks = entries.into_iter().filter_map(|entry| self.held.task(entry)).collect();
        Ok(Due { tasks, more, broken_off })
    }

    /// What the journal has no longer cannot be tried, and must not take the place of what can: a
    /// person is told, and finds it by looking through the journal.
    fn miss(&mut self, seqs: &[Seq], entries: &[Arc<Entry>]) {
        let through = entries.last().map_or(Seq::MAX, |last| last.seq);
        let there: HashSet<Seq> = entries.iter().map(|entry| entry.seq).collect();
        let missing = seqs.iter().filter(|seq| **seq <= through && !there.contains(seq));
        let missing: Vec<Seq> = missing.copied().collect();
        if missing.is_empty() {
            return;
        }
        tracing::error!(
            returner = self.name(),
            items = missing.len(),
            first = missing.first(),
            "items that wait on their own are not in the journal; hint: stop the host, and `returner journal check` says \
             what is missing"
        );
        missing.into_iter().for_each(|seq| drop(self.held.release(seq)));
    }

    /// Hands everything to the workers; none if one of them broke.
    async fn deliver(&mut self, tasks: Vec<Task>) -> Option<Vec<Outcome>> {
        let plan = Plan::of(tasks, &self.returner.settings.delivery);
        let mut outcomes = self.hand_out(vec![plan.first]).await?;
        outcomes.extend(self.hand_out(plan.then).await?);
        Some(outcomes)
    }

    /// The first batches go to the first worker, and so on. Each works in a task of its own:
    /// a fault of the host's ends that worker and not the lane.
    async fn hand_out(&mut self, batches: Vec<Vec<Batch>>) -> Option<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        let mut running = JoinSet::new();
        let count = batches.len();
        let rest = self.workers.split_off(count.min(self.workers.len()));
        for (mut worker, batches) in std::mem::replace(&mut self.workers, rest).into_iter().zip(batches) {
            if batches.is_empty() {
                self.workers.push(worker);
                continue;
            }
            running.spawn(async move {
                let mut outcomes = Vec::new();
                for batch in batches {
                    outcomes.extend(worker.deliver(batch).await);
                }
                (worker, outcomes)
            });
        }
        let mut whole = true;
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((worker, done)) => {
                    self.workers.push(worker);
                    outcomes.extend(done);
                }
                Err(error) => {
                    tracing::error!(returner = self.name(), %error, "a worker broke; its items come again");
                    self.workers.push(self.worker());
                    whole = false;
                }
            }
        }
        whole.then_some(outcomes)
    }

    /// Lets more come, unless somebody waits for what is there.
    async fn gather(&mut self, until: Instant) {
        // The lane's own handle has a receiver, too.
        if self.cursor.receiver_count() < 2 {
            let _ = tokio::time::timeout_at(until, self.awaited.notified()).await;
        }
    }

    /// Until there is something new, something held is due, or the lane stops.
    async fn sleep(&mut self, head: &mut watch::Receiver<Seq>) {
        let next = self.held.next();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now()).max(1))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = head.changed(), if !self.held.is_full() => {}
            Some(held) = self.replayed.recv() => self.take_replayed(held),
            Ok(()) = self.reopened.changed() => self.reopened.mark_changed(),
            () = due => {}
            () = self.end.cancelled() => {}
        }
    }
}
