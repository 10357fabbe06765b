//! The journal against a model: whatever order of appends, settlements, stops, crashes
//! and power cuts, each lane reads what the model says.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// This many items to these lanes.
    Append(u8, Vec<usize>),
    /// The lane settles so many of its items, the first of them in this way.
    Settle(usize, u8, Fate),
    /// The lane's oldest dead letter goes back to it.
    Replay(usize),
    /// The lane's oldest dead letter is removed.
    Drop(usize),
    Stop,
    /// The process ends.
    Crash,
    /// The machine ends while items are written: of what was not flushed yet, each sector
    /// is on the disk or not.
    PowerCut(u8, Vec<usize>, u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Stored,
    Held,
    Dead,
}

fn step() -> impl Strategy<Value = Step> {
    let lanes = || proptest::sample::subsequence(vec![0, 1, 2], 1..=3);
    let fates = proptest::sample::select(vec![Fate::Stored, Fate::Held, Fate::Dead]);
    prop_oneof![
        4 => (1..6u8, lanes()).prop_map(|(count, lanes)| Step::Append(count, lanes)),
        4 => (0..3usize, 1..6u8, fates).prop_map(|(lane, count, fate)| Step::Settle(lane, count, fate)),
        1 => (0..3usize).prop_map(Step::Replay),
        1 => (0..3usize).prop_map(Step::Drop),
        1 => Just(Step::Stop),
        1 => Just(Step::Crash),
        2 => (1..6u8, lanes(), any::<u64>()).prop_map(|(count, lanes, seed)| Step::PowerCut(count, lanes, seed)),
    ]
}

/// What a lane must still deliver, by place, and its dead letters, the oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    cursors: [Seq; 3],
    pending: [BTreeMap<Seq, u32>; 3],
    held: [BTreeMap<Seq, u32>; 3],
    dead: [Vec<u32>; 3],
}

impl Model {
    fn has_passed(&self, place: Seq) -> bool {
        let nothing = |lane: usize| self.pending[lane].is_empty() && self.held[lane].is_empty();
        (0..LANES.len()).all(|lane| nothing(lane) || self.cursors[lane] >= place)
    }
}

/// The model as it was after each step since the last flush, the newest last: what a
/// power cut may leave.
struct History(Vec<Model>);

impl History {
    fn now(&self) -> &Model {
        &self.0[self.0.len() - 1]
    }

    fn flushed(&mut self, model: Model) {
        self.0 = vec![model];
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn lanes_read_what_the_model_says(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(steps));
    }
}

async fn check(steps: Vec<Step>) {
    let mut directory = tempfile::tempdir().unwrap();
    let mut opened = reopen(directory.path()).await;
    let mut history = History(vec![Model::default()]);
    let mut next = 0;
    let mut unclear = 0;
    // Held items that a crash left unclear, and those that were dead letters.
    let mut doubtful = BTreeSet::new();
    let mut replayed = BTreeSet::new();
    for step in steps {
        match step {
            Step::Append(count, lanes) => {
                let model = append(&opened, history.now(), &mut next, count, &lanes).await;
                history.flushed(model);
            }
            Step::Settle(lane, count, fate) => {
                let again = &doubtful | &replayed;
                let model = settle(&opened, history.now(), lane, count, fate, &again);
                history.0.push(model);
            }
            Step::Replay(lane) => {
                let mut model = history.now().clone();
                let ids = oldest_dead(&opened, lane).await;
                let held = opened.journal.replay(ids).await.unwrap();
                assert_eq!(held.len(), usize::from(!model.dead[lane].is_empty()));
                for (id, held) in held {
                    assert_eq!(id, opened.lanes[lane].id);
                    model.held[lane].insert(held.seq, model.dead[lane].remove(0));
                    replayed.insert((id, held.seq));
                }
                history.flushed(model);
            }
            Step::Drop(lane) => {
                let mut model = history.now().clone();
                let ids = oldest_dead(&opened, lane).await;
                for id in opened.journal.drop_dead(ids).await.unwrap() {
                    assert_eq!(id, opened.lanes[lane].id);
                    model.dead[lane].remove(0);
                }
                history.flushed(model);
            }
            Step::Stop => {
                opened.journal.close(true).await;
                drop(opened);
                opened = reopen(directory.path()).await;
                // What a crash left unclear stays so until its lane has passed it.
                if history.now().has_passed(unclear) {
                    assert!(opened.lanes.iter().all(|state| state.uncertain_through == 0));
                    let all = held(&opened, |_| true);
                    let unclear = &doubtful | &replayed;
                    assert_eq!(held(&opened, |held| held.redelivered), &all & &unclear);
                } else {
                    doubtful = uncertain(&opened, history.now());
                }
                unclear = opened.lanes[0].uncertain_through;
                history.flushed(history.now().clone());
            }
            Step::Crash => {
                // The journal's thread writes what it was told before it ends.
                opened.crash();
                opened = reopen(directory.path()).await;
                history.flushed(history.now().clone());
                doubtful = uncertain(&opened, history.now());
                unclear = opened.lanes[0].uncertain_through;
            }
            Step::PowerCut(count, lanes, seed) => {
                // The writer answers before it moves the log into the database, and is done with that
                // before it hears of anything else.
                opened.journal.lane(LANES[0]).await.unwrap();
                let before = Files::of(directory.path());
                let whole = append(&opened, history.now(), &mut next, count, &lanes).await;
                let after = Files::of(directory.path());
                opened.crash();
                directory = tempfile::tempdir().unwrap();
                before.torn(&after, seed).put(directory.path());
                opened = reopen(directory.path()).await;
                history.0.push(whole);
                let found = read_all(&opened, None).await;
                assert!(history.0.contains(&found), "{found:#?}\nis none of\n{:#?}", history.0);
                doubtful = uncertain(&opened, &found);
                unclear = opened.lanes[0].uncertain_through;
                history.flushed(found);
            }
        }
        assert_eq!(read_all(&opened, Some(history.now())).await, *history.now());
    }
}

/// With a share that is as small as can be: between any two settlements a transaction may end.
async fn reopen(path: &Path) -> Opened {
    open_within(path, Bounds { share: 1, ..bounds() }).await
}

async fn append(opened: &Opened, model: &Model, next: &mut u32, count: u8, lanes: &[usize]) -> Model {
    let mut model = model.clone();
    let numbers: Vec<u32> = (*next..*next + u32::from(count)).collect();
    *next += u32::from(count);
    let appended = opened.append(&numbers, lanes, true).await;
    assert_eq!(appended.duplicates, 0);
    for lane in lanes {
        model.pending[*lane].extend((appended.first..=appended.through).zip(numbers.iter().copied()));
    }
    model
}

async fn oldest_dead(opened: &Opened, lane: usize) -> Vec<i64> {
    let filter = DeadFilter { returner: Some(LANES[lane].to_owned()), ..DeadFilter::default() };
    opened.journal.dead_ids(filter, 1).await.unwrap()
}

/// `again` are the held items that say `redelivered`.
fn settle(
    opened: &Opened,
    model: &Model,
    lane: usize,
    count: u8,
    fate: Fate,
    again: &BTreeSet<(LaneId, Seq)>,
) -> Model {
    let mut model = model.clone();
    let done: Vec<(Seq, u32)> =
        model.pending[lane].iter().take(count.into()).map(|(seq, number)| (*seq, *number)).collect();
    let Some((through, _)) = done.last().copied() else { return model };
    let mut settlement = Settlement { through, settled: done.len() as u64, ..Settlement::default() };
    for (at, (seq, number)) in done.into_iter().enumerate() {
        model.pending[lane].remove(&seq);
        match fate {
            Fate::Held if at == 0 => {
                settlement.settled -= 1;
                let held = Held { seq, tries: 1, not_before: 5, reason: "r".into(), redelivered: false };
                settlement.held.push(held);
                model.held[lane].insert(seq, number);
            }
            Fate::Dead if at == 0 => {
                let entry = Arc::new(Entry { seq, accepted: 1, item: item(number), lanes: Arc::from([]) });
                settlement.dead.push(dead_letter(entry));
                model.dead[lane].push(number);
            }
            _ => {}
        }
    }
    if fate == Fate::Stored
        && let Some((seq, _)) = model.held[lane].pop_first()
    {
        settlement.released.push(seq);
        settlement.settled += 1;
    }
    model.cursors[lane] = through;
    opened.journal.settle(opened.lanes[lane].id, settlement).unwrap();
    // All that the lane holds is tried again, before what was said of it is written.
    for tries in 2..2 + u32::from(count % 3) {
        let held = |seq: &Seq| {
            let redelivered = again.contains(&(opened.lanes[lane].id, *seq));
            Held { seq: *seq, tries, not_before: 5, reason: "r".into(), redelivered }
        };
        let held = model.held[lane].keys().map(held).collect();
        let settlement = Settlement { through, held, ..Settlement::default() };
        opened.journal.settle(opened.lanes[lane].id, settlement).unwrap();
    }
    model
}

/// Whatever was pending when the host did not stop by itself says so; gives what is held.
fn uncertain(opened: &Opened, model: &Model) -> BTreeSet<(LaneId, Seq)> {
    for (lane, state) in opened.lanes.iter().enumerate() {
        assert!(model.pending[lane].keys().all(|seq| *seq <= state.uncertain_through));
    }
    assert_eq!(held(opened, |held| !held.redelivered), BTreeSet::new());
    held(opened, |_| true)
}

/// The items that lanes were found to hold when the journal was opened.
fn held(opened: &Opened, which: impl Fn(&Held) -> bool) -> BTreeSet<(LaneId, Seq)> {
    let of_lane = |state: &LaneState| {
        let held: Vec<_> =
            state.held.iter().filter(|held| which(held)).map(|held| (state.id, held.seq)).collect();
        held
    };
    opened.lanes.iter().flat_map(of_lane).collect()
}

/// What each lane reads: from where it is, or else from where the journal says that it is,
/// which is all that is known after a power cut.
async fn read_all(opened: &Opened, known: Option<&Model>) -> Model {
    let mut found = Model::default();
    for (lane, name) in LANES.iter().enumerate() {
        let state = opened.journal.lane(name).await.unwrap();
        let written = state.held.iter().map(|held| held.seq).collect();
        // What is held can be read for as long as it is held.
        let (cursor, seqs): (Seq, Vec<Seq>) = match known {
            Some(model) => (model.cursors[lane], model.held[lane].keys().copied().collect()),
            None => (state.cursor, written),
        };
        found.cursors[lane] = cursor;
        found.pending[lane] = opened.read(lane, cursor).await.into_iter().collect();
        let held = opened.journal.entries(state.id, seqs.clone(), usize::MAX).await.unwrap();
        found.held[lane] = held.iter().map(|entry| (entry.seq, jid(entry))).collect();
        assert!(seqs.iter().eq(found.held[lane].keys()));
        found.dead[lane] = dead(opened, name).await;
        assert_eq!(state.dead, found.dead[lane].len() as u64);
    }
    found
}

/// The numbers of a lane's dead letters, the oldest first.
async fn dead(opened: &Opened, lane: &str) -> Vec<u32> {
    let filter = DeadFilter { returner: Some(lane.to_owned()), ..DeadFilter::default() };
    let mut numbers = Vec::new();
    for letter in opened.journal.dead_letters(filter, usize::MAX >> 1).await.unwrap() {
        let whole = opened.journal.dead_letter(letter.id).await.unwrap().unwrap();
        let Item::Return(item) = items::parse(letter.kind, &whole.body, String::new).unwrap() else {
            panic!()
        };
        numbers.push(item.jid.parse().unwrap());
    }
    numbers
}

/// A journal's files, as they are on the disk.
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
    mark: Vec<u8>,
}

const SECTOR: usize = 512;

/// Of the log.
const HEADER: usize = 32;

impl Files {
    fn of(directory: &Path) -> Self {
        let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
        Self { database: read("journal.db"), log: read("journal.db-wal"), mark: read("acknowledged") }
    }

    fn put(&self, directory: &Path) {
        fs::write(directory.join("journal.db"), &self.database).unwrap();
        fs::write(directory.join("journal.db-wal"), &self.log).unwrap();
        fs::write(directory.join("acknowledged"), &self.mark).unwrap();
    }

    /// What a power cut leaves of the write that makes `after` of this. The log's header is
    /// flushed before its first frame is written.
    fn torn(&self, after: &Self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut log = after.log.clone();
        for (at, sector) in log.chunks_mut(SECTOR).enumerate() {
            let old = self.log.get(at * SECTOR..).unwrap_or_default();
            if random.bool() {
                for (place, byte) in sector.iter_mut().enumerate() {
                    *byte = old.get(place).copied().unwrap_or(0);
                }
            }
        }
        log[..HEADER].copy_from_slice(&after.log[..HEADER]);
        // A log that begins anew may be shorter than the one before, of which the end is left then.
        let (short, long) = (self.log.len().min(log.len()), self.log.len().max(log.len()));
        log.extend(self.log.get(log.len()..).unwrap_or_default());
        if random.bool() {
            log.truncate(random.usize(short.max(HEADER)..=long));
        }
        Self { database: self.database.clone(), log, mark: self.mark.clone() }
    }
}
