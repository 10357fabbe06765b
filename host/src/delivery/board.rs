//! Where a lane and its workers write down how they are doing, and others read it.
//!
//! Each worker reports through a [`Reporter`] of its own: a lane is failing as long as one of
//! them is, because its window is settled whole.

mod reporter;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::allowance::Allowance;
use super::crashes::Crashes;
use super::probation::{Counts, Record};
use super::recent::Recent;
use super::returner::Returner;
use super::status::{Failing, HeldItems, LastError, Next, State, Status, WentBack};
use crate::journal::{DeadLetter, Held, Seq, Settlement, now};
use crate::telemetry::LaneMetrics;

pub(super) use reporter::Reporter;

/// How many of the newest dead letters are remembered by their place.
const RECENT_DEAD: usize = 10_000;

/// Shared by a lane, its workers and whoever looks.
pub(super) struct Board {
    metrics: LaneMetrics,
    crashes: Arc<Crashes>,
    pub(super) recent: Recent,
    /// Of what its plugin says.
    allowance: Allowance,
    /// It is known whether `setup` goes through.
    begun: watch::Sender<bool>,
    notes: Mutex<Notes>,
}

/// An outage that was shorter leaves no line behind that it is over.
const WORTH_A_LINE: Duration = Duration::from_secs(3);

struct Notes {
    setting_up: bool,
    stopped: bool,
    dead: u64,
    held: BTreeMap<Seq, Held>,
    recent_dead: VecDeque<Seq>,
    /// What it says, whether it made a dead letter, and when.
    last_error: Option<(String, bool, SystemTime, Instant)>,
    went_back: Option<WentBack>,
    /// The returner whose plugin that was.
    failed: Option<Arc<Returner>>,
    /// By reporter.
    failing: BTreeMap<u64, Series>,
    /// The plugin answers, and stores nothing of what is new.
    refusing: Option<Refusing>,
    /// Since when nothing is stored, for the line of the log that says that something is again.
    out_since: Option<Instant>,
    reporters: u64,
}

/// Since when, and how often.
#[derive(Debug)]
struct Refusing {
    since: SystemTime,
    begun: Instant,
    tries: u32,
}

#[derive(Debug)]
struct Series {
    since: SystemTime,
    begun: Instant,
    tries: u32,
    next: Next,
    next_try: Instant,
}

impl Board {
    pub(super) fn new(metrics: LaneMetrics, crashes: &Arc<Crashes>, dead: u64, held: &[Held]) -> Arc<Self> {
        let notes = Notes {
            setting_up: true,
            stopped: false,
            dead,
            held: held.iter().map(|held| (held.seq, held.clone())).collect(),
            recent_dead: VecDeque::new(),
            last_error: None,
            went_back: None,
            failed: None,
            failing: BTreeMap::new(),
            refusing: None,
            out_since: None,
            reporters: 0,
        };
        Arc::new(Self {
            metrics,
            crashes: Arc::clone(crashes),
            recent: Recent::default(),
            allowance: Allowance::default(),
            begun: watch::Sender::new(false),
            notes: Mutex::new(notes),
        })
    }

    pub(super) fn reporter(self: &Arc<Self>) -> Reporter {
        let mut notes = self.notes.lock();
        notes.reporters += 1;
        Reporter { board: Arc::clone(self), number: notes.reporters }
    }

    /// Waits until `setup` has gone through, or has failed once.
    pub(super) async fn begun(&self) {
        // There is no error: the other end is here.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    pub(super) fn look(&self) -> Status {
        let notes = self.notes.lock();
        let oldest = notes.held.values().next();
        Status {
            state: notes.state(),
            stored: self.metrics.stored.get(),
            retried: self.metrics.retried.get(),
            dead: notes.dead,
            failing: notes.failing(),
            held: oldest.map(|oldest| HeldItems { count: notes.held.len(), oldest: oldest.clone() }),
            last_error: notes.last_error.clone().map(|(message, of_dead_letter, at, when)| LastError {
                of_dead_letter,
                message,
                at,
                ago: when.elapsed(),
            }),
            went_back: notes.went_back.clone(),
        }
    }

    /// What was stored and rejected since the host started, by whatever plugin.
    pub(super) fn counts(&self) -> Counts {
        Counts { stored: self.metrics.stored.get(), rejected: self.metrics.dead.get() }
    }

    /// Whether one of these items waits to be tried again on its own.
    pub(super) fn holds(&self, seqs: RangeInclusive<Seq>) -> bool {
        !seqs.is_empty() && self.notes.lock().held.range(seqs).next().is_some()
    }

    /// Whether one of these items is a dead letter.
    pub(super) fn rejected(&self, seqs: &RangeInclusive<Seq>) -> bool {
        self.notes.lock().recent_dead.iter().any(|seq| seqs.contains(seq))
    }

    /// Dead letters that wait to be tried again.
    pub(super) fn exhumed(&self, items: &[Held]) {
        let mut notes = self.notes.lock();
        for held in items {
            notes.recent_dead.retain(|dead| *dead != held.seq);
            if notes.held.insert(held.seq, held.clone()).is_none() {
                notes.dead = notes.dead.saturating_sub(1);
            }
        }
    }

    /// What the journal has, after it was read again: so many dead letters, and these held items
    /// that the lane did not know of.
    pub(super) fn found(&self, dead: u64, items: &[Held]) {
        let mut notes = self.notes.lock();
        notes.dead = dead;
        for held in items {
            notes.recent_dead.retain(|dead| *dead != held.seq);
            notes.held.insert(held.seq, held.clone());
        }
    }

    /// Dead letters that were removed for good.
    pub(super) fn dropped(&self, dead: u64) {
        let mut notes = self.notes.lock();
        notes.dead = notes.dead.saturating_sub(dead);
    }

    /// What became of a window's items, in as many parts as the journal is told it.
    pub(super) fn settled(&self, stored: usize, parts: &[Settlement]) {
        let dead: Vec<&DeadLetter> = parts.iter().flat_map(|part| &part.dead).collect();
        let held: Vec<&Held> = parts.iter().flat_map(|part| &part.held).collect();
        self.metrics.stored.inc_by(stored as u64);
        self.metrics.dead.inc_by(dead.len() as u64);
        self.metrics.retried.inc_by(held.len() as u64);
        let mut notes = self.notes.lock();
        notes.refused(stored, &held);
        if stored > 0
            && let Some(lasted) = notes.out_since.take().map(|since| since.elapsed())
            && lasted >= WORTH_A_LINE
        {
            let lasted = humantime::format_duration(Duration::from_secs(lasted.as_secs()));
            tracing::info!(returner = self.metrics.returner(), "it stores again, after {lasted}");
        }
        notes.dead += dead.len() as u64;
        for seq in parts.iter().flat_map(|part| &part.released) {
            notes.held.remove(seq);
        }
        notes.held.extend(held.into_iter().map(|held| (held.seq, held.clone())));
        notes.recent_dead.extend(dead.iter().map(|dead| dead.entry.seq));
        let excess = notes.recent_dead.len().saturating_sub(RECENT_DEAD);
        notes.recent_dead.drain(..excess);
        if let Some(dead) = dead.last() {
            notes.error(format!("dead letter: {}: {}", dead.entry.item.title(), dead.reason), true);
        }
    }

    /// Nothing is left that can be tried now: what failed is settled, or held.
    pub(super) fn at_rest(&self) {
        self.notes.lock().failing.clear();
    }

    /// Another returner takes over; it is the one before, or a new one.
    pub(super) fn begins(&self, goes_back: bool) {
        if !goes_back {
            self.forget_failed();
        }
        self.notes.lock().setting_up = true;
    }

    /// The returner that failed its probation last, if the one before it runs since.
    pub(super) fn failed(&self) -> Option<Arc<Returner>> {
        self.notes.lock().failed.clone()
    }

    /// What runs is what is asked for now.
    pub(super) fn forget_failed(&self) {
        let mut notes = self.notes.lock();
        (notes.went_back, notes.failed) = (None, None);
    }

    /// A plugin was too bad, and the one before it runs again.
    pub(super) fn went_back(&self, failed: &Arc<Returner>, before: &Returner, record: Record) {
        let (from, to) = (failed.plugin.title(), before.plugin.title());
        self.metrics.went_back.inc();
        let Record { counts: Counts { stored, rejected }, reason, .. } = record;
        tracing::error!(
            returner = self.metrics.returner(),
            stored,
            rejected,
            "`{from}` is worse than `{to}`, which runs again and is given what it rejected: {reason}"
        );
        let at = SystemTime::now();
        let mut notes = self.notes.lock();
        notes.went_back = Some(WentBack { from, to, stored, rejected, reason, at });
        notes.failed = Some(Arc::clone(failed));
    }

    pub(super) fn stopped(&self) {
        self.notes.lock().stopped = true;
    }
}

impl Notes {
    fn state(&self) -> State {
        match self {
            Notes { stopped: true, .. } => State::Stopped,
            Notes { setting_up: true, .. } => State::SettingUp,
            notes if notes.failing().is_none() => State::Ready,
            _ => State::Retrying,
        }
    }

    /// Of its workers, the one that fails longest; or else that the plugin refuses everything.
    fn failing(&self) -> Option<Failing> {
        let longest = self.failing.values().min_by_key(|series| series.begun);
        longest.map(Series::look).or_else(|| {
            let refusing = self.refusing.as_ref()?;
            let soonest = self.held.values().map(|held| held.not_before).min()?;
            let wait = Duration::from_millis(soonest.saturating_sub(now()));
            Some(Failing {
                since: refusing.since,
                lasted: refusing.begun.elapsed(),
                tries: refusing.tries,
                next: Next::Apart(self.held.len()),
                next_in: Some(wait).filter(|wait| !wait.is_zero()),
            })
        })
    }

    /// Hears what is to be tried again, before it is added. One item that is refused beside others
    /// that are stored is no fault of the whole, and neither is that one when it is tried alone.
    fn refused(&mut self, stored: usize, again: &[&Held]) {
        let refused = || again.iter().filter(|held| held.not_before > 0);
        if stored > 0 {
            self.refusing = None;
        } else if self.refusing.is_some() || refused().any(|held| !self.held.contains_key(&held.seq)) {
            let now = Refusing { since: SystemTime::now(), begun: Instant::now(), tries: 0 };
            self.out_since.get_or_insert(now.begun);
            self.refusing.get_or_insert(now).tries += u32::from(refused().next().is_some());
        }
    }

    fn error(&mut self, message: String, of_dead_letter: bool) {
        self.last_error = Some((message, of_dead_letter, SystemTime::now(), Instant::now()));
    }
}

impl Series {
    fn look(&self) -> Failing {
        let next_in = self.next_try.checked_duration_since(Instant::now());
        Failing {
            since: self.since,
            lasted: self.begun.elapsed(),
            tries: self.tries,
            next: self.next,
            next_in: next_in.filter(|wait| !wait.is_zero()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::Kind;
    use crate::telemetry::Metrics;

    const WAIT: Duration = Duration::from_secs(60);
    const NEXT: Next = Next::Store(Kind::Return, 2);

    fn board() -> Arc<Board> {
        with_held(&[])
    }

    fn with_held(held: &[Held]) -> Arc<Board> {
        let directory = tempfile::tempdir().unwrap();
        let crashes = Crashes::open(directory.path()).unwrap();
        Board::new(Metrics::new().lane("mysql"), &crashes, 0, held)
    }

    #[test]
    fn a_series_of_failures_keeps_its_beginning_and_ends_with_a_success() {
        let board = board();
        let worker = board.reporter();
        worker.failed("first", Next::SetUp, WAIT);
        assert_eq!(board.look().state, State::SettingUp);
        let first = board.look().failing.unwrap();
        worker.set_up();
        assert_eq!(board.look().state, State::Ready);
        worker.failed("second", NEXT, WAIT);
        let begun = board.look().failing.unwrap();
        assert!(begun.since >= first.since && begun.tries == 1 && begun.next_in.unwrap() <= WAIT);
        std::thread::sleep(Duration::from_millis(5));
        worker.failed("third", NEXT, Duration::ZERO);
        let again = board.look();
        let failing = again.failing.unwrap();
        assert_eq!((again.state, failing.since, failing.tries), (State::Retrying, begun.since, 2));
        assert_eq!(failing.next_in, None, "it is being tried");
        assert!(failing.lasted >= Duration::from_millis(5));
        assert_eq!(again.last_error.unwrap().message, "third");
        worker.well();
        let well = board.look();
        assert!(well.state == State::Ready && well.failing.is_none() && well.last_error.is_some());
    }

    #[test]
    fn a_lane_fails_until_each_of_its_workers_is_well() {
        let board = board();
        let (first, second) = (board.reporter(), board.reporter());
        first.set_up();
        first.failed("x", NEXT, WAIT);
        second.failed("x", NEXT, WAIT);
        first.well();
        assert_eq!(board.look().state, State::Retrying);
        drop(second);
        assert_eq!(board.look().state, State::Ready);
        first.failed("x", NEXT, WAIT);
        board.at_rest();
        assert_eq!(board.look().state, State::Ready);
    }

    #[test]
    fn held_items_are_told_by_the_oldest() {
        let held = |seq| Held { seq, tries: 1, not_before: 0, reason: "r".into(), redelivered: false };
        let board = with_held(&[held(7), held(3)]);
        let status = board.look().held.unwrap();
        assert_eq!((status.count, status.oldest.seq), (2, 3));
        assert!(board.holds(4..=7) && !board.holds(4..=6));
        let settlement = Settlement { released: vec![3, 7], held: vec![held(9)], ..Settlement::default() };
        board.settled(2, &[settlement]);
        let status = board.look();
        assert_eq!((status.stored, status.retried), (2, 1));
        assert_eq!(status.held.unwrap().oldest.seq, 9);
    }

    /// A plugin that refuses one item after the other answers, and its lane is not well.
    #[test]
    fn a_lane_whose_plugin_stores_nothing_is_not_ready() {
        let refused = |seq| Held { seq, tries: 1, not_before: 1, reason: "r".into(), redelivered: false };
        let settle = |board: &Board, stored, held: &[u64], released: &[u64]| {
            let held = held.iter().map(|seq| refused(*seq)).collect();
            let settlement = Settlement { held, released: released.to_vec(), ..Settlement::default() };
            board.settled(stored, &[settlement]);
        };
        let board = board();
        board.reporter().set_up();
        settle(&board, 1, &[1], &[]);
        settle(&board, 0, &[1], &[]);
        assert_eq!(board.look().state, State::Ready, "the others are stored");
        settle(&board, 0, &[2, 3], &[]);
        settle(&board, 0, &[1, 2, 3], &[]);
        board.at_rest();
        let status = board.look();
        let failing = status.failing.unwrap();
        assert_eq!((status.state, failing.tries, failing.next), (State::Retrying, 2, Next::Apart(3)));
        settle(&board, 1, &[], &[1]);
        assert_eq!(board.look().state, State::Ready);
        settle(&board, 0, &[4], &[]);
        assert_eq!(board.look().state, State::Retrying);
        // What it refuses for good is a dead letter: nothing is left to try.
        settle(&board, 0, &[], &[2, 3, 4]);
        let status = board.look();
        assert!(status.state == State::Ready && status.held.is_none());
    }
}
