//! Who of those that connect may stay, when there are too many.
//!
//! Anybody may connect, and ask for `/healthz` as often as it likes. So that nobody shuts
//! the others out, the one that comes takes the place of another: of the one that has been
//! there longest among those that have not shown who they are, whatever they are doing; else
//! of the one that has asked for nothing the longest, for which counts who has begun a request
//! and does not send its body. Where nobody can go, it waits. And from one address come half of
//! all at most, unless it is this machine's own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The places of one listener's connections.
pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
    /// A place is free, or may be made so.
    changed: Notify,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// By the order in which they came.
    seats: BTreeMap<u64, Seat>,
}

struct Seat {
    from: Option<Origin>,
    /// A request of it showed who asks, or there nobody is asked.
    known: bool,
    /// Since when there is no request; none while there is one.
    idle: Option<Instant>,
    leave: CancellationToken,
}

/// The part of an address that is one client's: of IPv6 a network is as easily had as an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

/// A connection's place, until it is dropped.
pub(super) struct Held {
    seats: Arc<Seats>,
    number: u64,
    /// Whose it is; none of this machine's own.
    pub(super) from: Option<Origin>,
    /// Another has the place now.
    pub(super) leave: CancellationToken,
}

impl Origin {
    /// None of this machine's own, which may speak for many.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return None;
        }
        Some(match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        })
    }
}

impl Taken {
    /// Takes the place from who may go, of all or of those from one address.
    fn make_room(&mut self, from: Option<Origin>) -> bool {
        let ours = || self.seats.iter().filter(|(_, seat)| from.is_none() || seat.from == from);
        let unknown = ours().find(|(_, seat)| !seat.known);
        let idle = || ours().filter(|(_, seat)| seat.idle.is_some()).min_by_key(|(_, seat)| seat.idle);
        let Some((&number, _)) = unknown.or_else(idle) else { return false };
        if let Some(seat) = self.seats.remove(&number) {
            seat.leave.cancel();
        }
        true
    }
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), changed: Notify::new() })
    }

    /// A place for a connection from an address; none where too many from there are busy.
    pub(super) async fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Held> {
        let from = address.and_then(Origin::of);
        loop {
            {
                let mut taken = self.taken.lock();
                let beside = taken.seats.values().filter(|seat| from.is_some() && seat.from == from).count();
                if beside >= self.most.div_ceil(2) && !taken.make_room(from) {
                    return None;
                }
                if taken.seats.len() < self.most || taken.make_room(None) {
                    return Some(self.seat(&mut taken, from));
                }
            }
            self.changed.notified().await;
        }
    }

    fn seat(self: &Arc<Self>, taken: &mut Taken, from: Option<Origin>) -> Held {
        let (number, leave) = (taken.next, CancellationToken::new());
        taken.next += 1;
        let seat = Seat { from, known: false, idle: Some(Instant::now()), leave: leave.clone() };
        taken.seats.insert(number, seat);
        Held { seats: Arc::clone(self), number, from, leave }
    }
}

impl Held {
    fn change(&self, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seats.taken.lock().seats.get_mut(&self.number) {
            change(seat);
        }
    }

    /// A request begins whose body is to come; `known` if it is of somebody who may ask. Until the
    /// body is there, it may go as one that has nothing to do since now.
    pub(super) fn waits(&self, known: bool) {
        self.change(|seat| {
            seat.idle = Some(Instant::now());
            seat.known |= known;
        });
        self.seats.changed.notify_one();
    }

    /// There is a request, all of it; `known` if it is of somebody who may ask.
    pub(super) fn begins(&self, known: bool) {
        self.change(|seat| {
            seat.idle = None;
            seat.known |= known;
        });
    }

    /// It has its answer.
    pub(super) fn ends(&self) {
        self.change(|seat| seat.idle = Some(Instant::now()));
        self.seats.changed.notify_one();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seats.taken.lock().seats.remove(&self.number);
        self.seats.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn from(seats: &Arc<Seats>, address: &str) -> Option<Held> {
        let taken = seats.take(Some(address.parse().expect("an address")));
        tokio::time::timeout(Duration::from_millis(200), taken).await.ok().flatten()
    }

    async fn local(seats: &Arc<Seats>) -> Option<Held> {
        from(seats, "127.0.0.1").await
    }

    #[tokio::test]
    async fn who_is_not_known_goes_first_and_who_rests_then() {
        let seats = Seats::new(3);
        let mut held = Vec::new();
        for known in [true, false, false] {
            let one = local(&seats).await.expect("a place");
            one.begins(known);
            one.ends();
            held.push(one);
        }
        // Asking for more keeps nobody who is not known.
        held[1].begins(false);
        let fourth = local(&seats).await.expect("a place");
        assert!(held[1].leave.is_cancelled() && !held[0].leave.is_cancelled());
        let fifth = local(&seats).await.expect("a place");
        assert!(held[2].leave.is_cancelled() && !held[0].leave.is_cancelled());
        held[0].begins(true);
        held[0].ends();
        fifth.begins(true);
        fourth.begins(true);
        let sixth = local(&seats).await.expect("a place");
        assert!(held[0].leave.is_cancelled(), "it alone rests");
        sixth.begins(true);
        assert!(local(&seats).await.is_none(), "all are at work");
        let waits = tokio::spawn({
            let seats = Arc::clone(&seats);
            async move { seats.take(None).await.is_some() }
        });
        tokio::task::yield_now().await;
        fourth.ends();
        assert!(waits.await.expect("it ends") && fourth.leave.is_cancelled());
    }

    /// Else a thousand of ten bytes that never come would shut everybody out.
    #[tokio::test]
    async fn who_sends_no_body_is_not_at_work() {
        let seats = Seats::new(2);
        let (first, second) = (local(&seats).await.expect("a place"), local(&seats).await.expect("a place"));
        first.begins(true);
        second.waits(true);
        let third = local(&seats).await.expect("a place");
        assert!(second.leave.is_cancelled() && !first.leave.is_cancelled());
        third.waits(true);
        third.begins(true);
        assert!(local(&seats).await.is_none(), "its body is there");
    }

    #[tokio::test]
    async fn one_address_has_half_of_all() {
        let seats = Seats::new(4);
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(from(&seats, "2001:db8::1").await.expect("a place"));
        }
        for address in ["192.0.2.1", "192.0.2.2"] {
            held.push(from(&seats, address).await.expect("a place"));
        }
        // Whoever is a neighbour there is the same; of others none has to go for it.
        let third = from(&seats, "2001:db8::2").await.expect("a place");
        assert!(held[0].leave.is_cancelled() && held[1..].iter().all(|one| !one.leave.is_cancelled()));
        third.begins(true);
        held[1].begins(true);
        assert!(from(&seats, "2001:db8::3").await.is_none());
        drop(third);
        assert!(from(&seats, "2001:db8::3").await.is_some());
        let seats = Seats::new(4);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(from(&seats, "::ffff:127.0.0.1").await.expect("a place"));
        }
        assert!(held.iter().all(|one| !one.leave.is_cancelled()), "this machine");
    }
}
