//! The newest loads that were taken in: `salt` asks for the load of a job right after it
//! published it, and must not fail, nor wait, because the store is away.
//!
//! Invariants:
//! - Of several loads of a job for a lane the first is the answer, as in the stores.
//! - It holds [`MOST_BYTES`] at most. What it does not have is a matter for the store: it is
//!   in memory only, and a load in it was acknowledged before.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::items::Item;
use crate::journal::LaneId;

/// The most that the loads here hold together, in bytes. One with ten thousand minions has
/// some 150 kB.
const MOST_BYTES: usize = 16 << 20;

/// What one takes beside its text.
const BESIDE: usize = 256;

#[derive(Default)]
pub(crate) struct Loads(Mutex<Newest>);

#[derive(Default)]
struct Newest {
    loads: VecDeque<(Published, Arc<[LaneId]>)>,
    bytes: usize,
}

/// A load, as its text.
#[derive(Debug)]
pub(crate) struct Published {
    jid: Arc<str>,
    full: Arc<str>,
}

/// What is to be noted of an item, once it is on disk. Not a return: Salt's master saves each
/// of them as a load again, also where the first load is no longer here.
pub(crate) fn published(item: &Item) -> Option<Published> {
    match item {
        Item::Load(load) if !load.returned => {
            Some(Published { jid: Arc::clone(&load.jid), full: Arc::clone(&load.full) })
        }
        _ => None,
    }
}

impl Published {
    fn size(&self) -> usize {
        self.full.len() + BESIDE
    }
}

impl Loads {
    /// These are on disk for these lanes.
    pub(crate) fn note(&self, loads: Vec<(Published, Arc<[LaneId]>)>) {
        if loads.is_empty() {
            return;
        }
        let mut newest = self.0.lock();
        newest.bytes += loads.iter().map(|(load, _)| load.size()).sum::<usize>();
        newest.loads.extend(loads);
        while newest.bytes > MOST_BYTES
            && let Some((oldest, _)) = newest.loads.pop_front()
        {
            newest.bytes -= oldest.size();
        }
    }

    /// The load of a job as JSON text, as a lane was given it.
    pub(crate) fn get(&self, jid: &str, lane: LaneId) -> Option<Arc<str>> {
        let newest = self.0.lock();
        let mut found =
            newest.loads.iter().filter(|(load, lanes)| &*load.jid == jid && lanes.contains(&lane));
        found.next().map(|(load, _)| Arc::clone(&load.full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::{self, Kind};

    const LANE: LaneId = LaneId(1);

    fn load(jid: &str, more: &str) -> Item {
        let text = format!(r#"{{"jid":"{jid}","fun":"test.ping"{more}}}"#);
        items::parse(Kind::Load, &text, String::new).unwrap()
    }

    fn note(loads: &Loads, item: &Item, lanes: &[LaneId]) {
        loads.note(published(item).into_iter().map(|load| (load, lanes.into())).collect());
    }

    #[test]
    fn the_first_load_of_a_job_is_the_answer_of_each_lane_that_had_it() {
        let loads = Loads::default();
        note(&loads, &load("1", r#","tgt":"*""#), &[LANE]);
        note(&loads, &load("1", r#","tgt":"later""#), &[LANE, LaneId(2)]);
        assert!(loads.get("1", LANE).unwrap().contains(r#""tgt":"*""#));
        assert!(loads.get("1", LaneId(2)).unwrap().contains("later"));
        assert_eq!(loads.get("1", LaneId(3)), None);
        assert_eq!(loads.get("2", LANE), None);
    }

    #[test]
    fn a_return_that_was_saved_as_a_load_is_none() {
        let loads = Loads::default();
        note(&loads, &load("1", r#","return":true"#), &[LANE]);
        assert_eq!(loads.get("1", LANE), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let loads = Loads::default();
        let long = format!(r#","arg":"{}""#, "x".repeat(MOST_BYTES / 4));
        for jid in 1..=5 {
            note(&loads, &load(&jid.to_string(), &long), &[LANE]);
        }
        let kept: Vec<_> = (1..=5).filter(|jid| loads.get(&jid.to_string(), LANE).is_some()).collect();
        assert_eq!(kept, [3, 4, 5]);
        note(&loads, &load("6", &format!(r#","arg":"{}""#, "x".repeat(2 * MOST_BYTES))), &[LANE]);
        assert_eq!(loads.0.lock().bytes, 0);
        assert!(loads.get("6", LANE).is_none() && loads.0.lock().loads.is_empty());
    }
}
