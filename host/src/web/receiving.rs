//! How much of what clients send may be in memory at once.
//!
//! # Invariants
//! - Short bodies are always taken, so that nobody's few returns wait for the many of others.
//!   There are no more of them than connections.
//! - The long ones have a bound together, from their first byte until the last reader drops them;
//!   those from one address half of it, unless it is this machine's own.
//! - Where there is no room, those that come too slowly lose theirs, the largest first: else a few
//!   clients that hold back the end of what they send would keep all others out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::seats::Origin;

/// Up to here a body is short, in bytes.
pub(super) const SHORT: usize = 64 << 10;

/// The most bytes of long bodies at once, so that no number of clients fills the memory; but at
/// least room for two of the largest.
const MOST: u64 = 512 << 20;

/// What comes slower, in bytes a second, may lose its room: at this rate the largest body that is
/// usual arrives in the time that it has.
const LEAST_RATE: u64 = 1 << 20;

/// How long a body is watched before it counts as slow.
const STRETCH: Duration = Duration::from_secs(2);

/// The long bodies that are in memory.
#[derive(Clone, Default)]
pub(crate) struct Receiving(Arc<Mutex<Account>>);

#[derive(Default)]
struct Account {
    next: u64,
    bytes: u64,
    bodies: BTreeMap<u64, Body>,
}

struct Body {
    from: Option<Origin>,
    bytes: u64,
    /// None when all of it is there.
    pace: Option<Pace>,
    /// Its room is another's now.
    leave: CancellationToken,
}

/// How fast a body comes.
struct Pace {
    since: Instant,
    /// Those that came since, all of them within a stretch.
    bytes: u64,
    /// It was, in the stretch before.
    was_slow: bool,
}

/// One body's part of the room, until it is dropped.
pub(super) struct Share {
    of: Receiving,
    number: u64,
    leave: CancellationToken,
}

impl Receiving {
    /// A place for a long body; its bytes are asked for as they come.
    pub(super) fn share(&self, from: Option<Origin>) -> Share {
        self.share_at(from, Instant::now())
    }

    fn share_at(&self, from: Option<Origin>, now: Instant) -> Share {
        let mut account = self.0.lock();
        let (number, leave) = (account.next, CancellationToken::new());
        account.next += 1;
        let pace = Pace { since: now, bytes: 0, was_slow: false };
        let body = Body { from, bytes: 0, pace: Some(pace), leave: leave.clone() };
        account.bodies.insert(number, body);
        Share { of: self.clone(), number, leave }
    }
}

impl Share {
    /// Whether there is room for so many more, where the largest body has so many.
    pub(super) fn grow(&self, bytes: usize, largest: u64) -> bool {
        let most = MOST.max(2 * largest);
        self.of.0.lock().grow(self.number, bytes as u64, most, Instant::now())
    }

    /// All of it is there, and its room is not another's any more; or it is already.
    pub(super) fn arrived(&self) -> bool {
        match self.of.0.lock().bodies.get_mut(&self.number) {
            Some(body) => {
                body.pace = None;
                true
            }
            None => false,
        }
    }

    /// Waits until its room is another's.
    pub(super) async fn lost(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.0.lock().remove(self.number);
    }
}

impl Account {
    fn grow(&mut self, number: u64, bytes: u64, most: u64, now: Instant) -> bool {
        let Some(body) = self.bodies.get_mut(&number) else { return false };
        let from = body.from;
        body.bytes += bytes;
        body.pace.iter_mut().for_each(|pace| pace.note(bytes, now));
        self.bytes += bytes;
        while from.is_some() && self.bytes > most / 2 && self.from(from) > most / 2 {
            if !self.make_room(number, from, now) {
                return false;
            }
        }
        while self.bytes > most {
            if !self.make_room(number, None, now) {
                return false;
            }
        }
        true
    }

    fn from(&self, from: Option<Origin>) -> u64 {
        self.bodies.values().filter(|body| body.from == from).map(|body| body.bytes).sum()
    }

    /// Takes the room of another that comes too slowly, of all or of those from one address. Not
    /// where the largest of them is the one that asks.
    fn make_room(&mut self, asks: u64, from: Option<Origin>, now: Instant) -> bool {
        let ours = self.bodies.iter().filter(|(_, body)| from.is_none() || body.from == from);
        let slow = ours.filter(|(_, body)| body.pace.as_ref().is_some_and(|pace| pace.is_slow(now)));
        let largest = slow.max_by_key(|(_, body)| body.bytes).map(|(number, _)| *number);
        match largest.filter(|number| *number != asks) {
            Some(number) => {
                self.remove(number);
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(body) = self.bodies.remove(&number) {
            self.bytes -= body.bytes;
            body.leave.cancel();
        }
    }
}

impl Pace {
    fn note(&mut self, bytes: u64, now: Instant) {
        if now.duration_since(self.since) >= STRETCH {
            *self = Self { since: now, bytes: 0, was_slow: self.is_slow(now) };
        }
        self.bytes += bytes;
    }

    fn is_slow(&self, now: Instant) -> bool {
        let stretch = now.duration_since(self.since);
        if stretch < STRETCH {
            return self.was_slow;
        }
        // Nothing has come for a whole stretch, however much had before.
        stretch >= 2 * STRETCH || u128::from(self.bytes) * 1000 < u128::from(LEAST_RATE) * stretch.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(address: &str) -> Option<Origin> {
        Origin::of(address.parse().expect("an address"))
    }

    fn grow(share: &Share, mib: u64, most: u64, now: Instant) -> bool {
        share.of.0.lock().grow(share.number, mib * MIB, most * MIB, now)
    }

    fn is_lost(share: &Share) -> bool {
        share.leave.is_cancelled()
    }

    #[test]
    fn who_holds_the_end_back_loses_the_room_and_who_sends_keeps_it() {
        let all = Receiving::default();
        let begun = Instant::now();
        let [stalls, trickles, sends, large] = [(); 4].map(|()| all.share_at(None, begun));
        assert!(
            grow(&stalls, 30, 100, begun) && grow(&trickles, 20, 100, begun) && grow(&sends, 40, 100, begun)
        );
        assert!(!grow(&large, 30, 100, begun + STRETCH / 2), "none has been slow for long");
        drop(large);
        for second in 1..=5 {
            let now = begun + Duration::from_secs(second);
            trickles.of.0.lock().grow(trickles.number, 1000, 100 * MIB, now);
            assert!(grow(&sends, 2, 200, now));
        }
        let later = begun + Duration::from_secs(5);
        let first = all.share_at(None, later);
        assert!(grow(&first, 25, 100, later));
        assert!(is_lost(&stalls) && !is_lost(&trickles) && !is_lost(&sends), "the largest of the slow");
        let second = all.share_at(None, later);
        assert!(grow(&second, 20, 100, later));
        assert!(is_lost(&trickles) && !is_lost(&sends));
        let third = all.share_at(None, later);
        assert!(!grow(&third, 20, 100, later), "the others are not slow");
        assert!(!grow(&stalls, 1, 100, later) && !stalls.arrived(), "it is not received any more");
        drop((stalls, trickles, sends, first, second, third));
        assert_eq!(all.0.lock().bytes, 0);
    }

    /// Whoever reads it holds it: nobody else's need makes that shorter.
    #[test]
    fn a_body_that_is_there_keeps_its_room() {
        let all = Receiving::default();
        let begun = Instant::now();
        let [whole, other] = [(); 2].map(|()| all.share_at(None, begun));
        assert!(grow(&whole, 60, 100, begun));
        assert!(whole.arrived());
        assert!(!grow(&other, 60, 100, begun + 10 * STRETCH));
        assert!(!is_lost(&whole));
    }

    #[test]
    fn one_address_has_half_of_all() {
        let all = Receiving::default();
        let begun = Instant::now();
        let greedy: Vec<Share> = (0..3).map(|_| all.share_at(at("192.0.2.1"), begun)).collect();
        assert!(grow(&greedy[0], 25, 100, begun) && grow(&greedy[1], 25, 100, begun));
        assert!(!grow(&greedy[2], 1, 100, begun));
        let other = all.share_at(at("192.0.2.2"), begun);
        assert!(grow(&other, 40, 100, begun) && !is_lost(&greedy[0]));
        assert!(grow(&greedy[2], 1, 100, begun + 2 * STRETCH), "its own slow ones make room for it");
        assert_eq!(greedy[..2].iter().filter(|share| is_lost(share)).count(), 1);
        // A proxy or a master on this machine speaks for many.
        let all = Receiving::default();
        assert!(grow(&all.share(at("127.0.0.1")), 90, 100, begun));
    }
}
