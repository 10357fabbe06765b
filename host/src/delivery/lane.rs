//! A lane: one returner's way through the journal.
//!
//! It works window by window: read what comes next (and what is due of what was
//! held), deliver it, settle it. A window is settled whole, so the cursor is all that
//! a lane has to keep, and the table of held items what the cursor cannot say.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff;
use super::batch::{Batch, Plan, Task};
use super::oldest::Oldest;
use super::returner::Returner;
use super::status::{Board, Next, Reporter, Status};
use super::worker::{Fate, Outcome, Worker};
use crate::journal::{DeadLetter, Entry, Held, Journal, JournalError, LaneId, Seq, Settlement, Window, now};
use crate::telemetry::LaneMetrics;

/// The wait after the journal could not be read.
const AFTER_READ_ERROR: Duration = Duration::from_secs(1);

/// The least time from the begin of one window to the next while they are not full and
/// nobody waits for what is in them: what comes meanwhile shares a call and a commit. The
/// first one after a rest waits for nothing.
const BETWEEN: Duration = Duration::from_millis(20);

/// The most held items that are tried again in one window.
const HELD_AT_ONCE: usize = 500;

/// The handle of a lane that runs. It outlives its returner: see [`Lane::change`].
pub(crate) struct Lane {
    name: String,
    returner: ArcSwap<Returner>,
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
}

/// Which returner a lane delivers to, and which it is to change to.
struct Turn {
    next: Option<Arc<Returner>>,
    /// Ends the present one's calls, the one under way not.
    end: CancellationToken,
}

/// How a lane is doing.
#[derive(Debug)]
pub(crate) struct Standing {
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
        unclear: bool,
    ) -> Result<Arc<Self>, JournalError> {
        let name = returner.settings.name.clone();
        let mut state = journal.lane(&name).await?;
        if unclear {
            state.uncertain_through = *journal.head().borrow();
            state.held.iter_mut().for_each(|held| held.redelivered = true);
        }
        let board = Board::new(metrics, state.dead, &state.held);
        let stop = CancellationToken::new();
        let end = stop.child_token();
        let turn = Arc::new(Mutex::new(Turn { next: None, end: end.clone() }));
        let (cursor, shown) = watch::channel(state.cursor);
        let (replayed, to_try) = mpsc::unbounded_channel();
        let awaited = Arc::new(Notify::new());
        let mut run = Run {
            returner: Arc::clone(&returner),
            journal: Arc::clone(journal),
            board: Arc::clone(&board),
            reporter: board.reporter(),
            stop: stop.clone(),
            turn: Arc::clone(&turn),
            end,
            id: state.id,
            uncertain_through: state.uncertain_through,
            broke: false,
            held: state.held.into_iter().map(|held| (held.seq, held)).collect(),
            workers: Vec::new(),
            cursor,
            awaited: Arc::clone(&awaited),
            replayed: to_try,
        };
        run.hire();
        let task = tokio::spawn(run.run());
        let journal = Arc::clone(journal);
        let (oldest, task) = (Oldest::default(), Mutex::new(Some(task)));
        Ok(Arc::new(Self {
            name,
            returner: ArcSwap::new(returner),
            id: state.id,
            journal,
            board,
            oldest,
            cursor: shown,
            awaited,
            replayed,
            stop,
            turn,
            task,
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
        if Arc::ptr_eq(&self.returner.load(), &returner) {
            return;
        }
        self.returner.store(Arc::clone(&returner));
        let mut turn = self.turn.lock();
        turn.next = Some(returner);
        turn.end.cancel();
    }

    pub(crate) fn status(&self) -> Status {
        self.board.look()
    }

    pub(crate) async fn standing(&self) -> Standing {
        let (status, depth) = (self.status(), self.journal.depth(self.id));
        let oldest = self.oldest(&status, depth).await.unwrap_or_else(|error| {
            tracing::warn!(returner = self.name, %error, "the age of the oldest item is not known");
            None
        });
        Standing { status, depth, oldest }
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

    /// Whether the lane has one of these items set aside: a dead letter, or to be tried
    /// again on its own.
    pub(crate) fn set_aside(&self, seqs: RangeInclusive<Seq>) -> bool {
        self.board.is_unstored(seqs)
    }

    /// Whether anything at all is set aside.
    pub(crate) fn has_set_aside(&self) -> bool {
        let status = self.status();
        status.dead > 0 || status.held.is_some()
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

    pub(crate) fn has_passed(&self, seq: Seq) -> bool {
        *self.cursor.borrow() >= seq
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

/// What a window had in it.
enum Round {
    Nothing,
    Part,
    /// As much as a window holds: there is likely more.
    Full,
}

/// A lane at work.
struct Run {
    returner: Arc<Returner>,
    journal: Arc<Journal>,
    board: Arc<Board>,
    reporter: Reporter,
    stop: CancellationToken,
    turn: Arc<Mutex<Turn>>,
    /// Ends the turn of the present returner.
    end: CancellationToken,
    id: LaneId,
    uncertain_through: Seq,
    /// A worker broke: what it delivered is not known, and was perhaps not settled since.
    broke: bool,
    held: BTreeMap<Seq, Held>,
    workers: Vec<Worker>,
    cursor: watch::Sender<Seq>,
    /// Somebody began to wait for the cursor.
    awaited: Arc<Notify>,
    replayed: mpsc::UnboundedReceiver<Held>,
}

impl Run {
    /// Until the lane is stopped; says whether it is known what was delivered.
    async fn run(mut self) -> bool {
        while !self.stop.is_cancelled() {
            self.serve().await;
            self.change();
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

    /// Takes the next returner, if there is one. What the last one left waits no longer: its
    /// waits were about what was wrong with it.
    fn change(&mut self) {
        let mut turn = self.turn.lock();
        let Some(next) = turn.next.take() else { return };
        self.returner = next;
        self.end = self.stop.child_token();
        turn.end = self.end.clone();
        drop(turn);
        self.board.begins();
        self.held.values_mut().for_each(|held| held.not_before = 0);
        self.hire();
    }

    /// New workers, each with an instance of its own.
    fn hire(&mut self) {
        let worker = || Worker::new(&self.returner, self.board.reporter(), &self.end);
        self.workers = (0..self.returner.settings.delivery.workers.max(1)).map(|_| worker()).collect();
    }

    fn name(&self) -> &str {
        &self.returner.settings.name
    }

    /// One window.
    async fn round(&mut self) -> Result<Round, JournalError> {
        let settings = &self.returner.settings.delivery;
        let workers = settings.workers.max(1);
        let after = *self.cursor.borrow();
        let count = settings.batch.max(1) * workers;
        let window = self.journal.next(self.id, after, count, settings.batch_bytes * workers).await?;
        let mut tasks = self.due().await?;
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
        let full = tasks.len() >= count;
        match self.deliver(tasks).await {
            Some(outcomes) => self.settle(&window, outcomes)?,
            // A fault of the host's own; nothing is known, so all of it comes again.
            None => {
                self.uncertain_through = self.uncertain_through.max(window.through);
                self.held.values_mut().for_each(|held| held.redelivered = true);
                self.broke = true;
            }
        }
        Ok(if full { Round::Full } else { Round::Part })
    }

    /// The held items whose time has come, oldest first.
    async fn due(&mut self) -> Result<Vec<Task>, JournalError> {
        while let Ok(held) = self.replayed.try_recv() {
            self.held.insert(held.seq, held);
        }
        let now = now();
        let due: Vec<Seq> = self
            .held
            .values()
            .filter(|held| held.not_before <= now)
            .map(|held| held.seq)
            .take(HELD_AT_ONCE)
            .collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let settings = &self.returner.settings.delivery;
        let bytes = settings.batch_bytes * settings.workers.max(1);
        let entries = self.journal.entries(self.id, due, bytes).await?;
        let task = |entry: Arc<Entry>| {
            let held = self.held.get(&entry.seq)?;
            Some(Task { tries: held.tries, redelivered: held.redelivered, was_held: true, entry })
        };
        Ok(entries.into_iter().filter_map(task).collect())
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
                    self.workers.push(Worker::new(&self.returner, self.board.reporter(), &self.end));
                    whole = false;
                }
            }
        }
        whole.then_some(outcomes)
    }

    fn settle(&mut self, window: &Window, outcomes: Vec<Outcome>) -> Result<(), JournalError> {
        let now = now();
        let mut stored = 0;
        let mut settlement = Settlement { through: window.through, ..Settlement::default() };
        for Outcome { task, fate } in outcomes {
            let settled = matches!(fate, Fate::Stored | Fate::Dead { .. });
            if settled {
                settlement.settled += 1;
                if task.was_held {
                    self.held.remove(&task.seq());
                    settlement.released.push(task.seq());
                }
            }
            match fate {
                Fate::Stored => stored += 1,
                Fate::Dead { reason, stderr } => {
                    settlement.dead.push(self.dead_letter(task, reason, stderr, now))
                }
                Fate::Held { reason, after } => {
                    let wait = backoff::wait(task.tries, self.returner.settings.delivery.max_backoff, after);
                    settlement.held.push(held(&task, now + wait.as_millis() as u64, reason));
                }
                Fate::Pending => settlement.held.push(held(&task, 0, "the host stopped".to_owned())),
            }
        }
        self.board.settled(stored, &settlement);
        self.held.extend(settlement.held.iter().map(|held| (held.seq, held.clone())));
        self.journal.settle(self.id, settlement)?;
        self.cursor.send_replace(window.through);
        Ok(())
    }

    fn dead_letter(&self, task: Task, reason: String, stderr: String, at: u64) -> DeadLetter {
        let plugin = self.returner.plugin.title();
        let item = task.entry.item.title();
        tracing::warn!(returner = self.name(), plugin, tries = task.tries, "dead letter: {item}: {reason}");
        DeadLetter { entry: task.entry, reason, plugin, stderr, tries: task.tries, at }
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
        let next = self.held.values().map(|held| held.not_before).min();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep(Duration::from_millis(at.saturating_sub(now()).max(1))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = head.changed() => {}
            Some(held) = self.replayed.recv() => drop(self.held.insert(held.seq, held)),
            () = due => {}
            () = self.end.cancelled() => {}
        }
    }
}

fn held(task: &Task, not_before: u64, reason: String) -> Held {
    Held { seq: task.seq(), tries: task.tries, not_before, reason, redelivered: task.redelivered }
}
