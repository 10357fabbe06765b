//! The wait between two tries, and what ends it early.
//!
//! A server that was away is found soon after it is back: who waits for it looks now and
//! then whether it answers. One that answers all the while, and refuses what it is given
//! (it is read-only after a failover, or has no room), is asked by one item each second,
//! as a circuit breaker that is half open lets one request through
//! (<https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker>): all else
//! waits as the backoff has it, and goes on when that one goes through.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::board::Reporter;
use super::returner::Returner;

/// How often a waiting worker looks whether its servers are back.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often one item is tried while all the others wait.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long to wait before the next try.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) time: Duration,
    /// The plugin asked for it.
    pub(super) asked: bool,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Through,
    /// A server that was away answers.
    Back,
    /// It has answered all the while: it may be a good one now.
    Hoped,
    /// The same, and one item shall find that out.
    Probe,
}

impl Wait {
    /// Waits. `hopes` is for a returner that cannot be probed: a server that answers at the
    /// first look may have come back since the call that failed.
    pub(super) async fn pass(self, returner: &Returner, reporter: &Reporter, hopes: bool) -> Waited {
        let until = Instant::now() + self.time;
        if self.time > LOOK_EVERY {
            let mut answered = returner.servers_answer().await;
            if answered.contains(&false) {
                while Instant::now() < until {
                    sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
                    let before = std::mem::replace(&mut answered, returner.servers_answer().await);
                    if before.iter().zip(&answered).any(|(before, now)| !before && *now) {
                        return Waited::Back;
                    }
                }
            } else if self.time > PROBE_EVERY && !self.asked && returner.can_be_probed() {
                reporter.probes(PROBE_EVERY);
                sleep(PROBE_EVERY).await;
                return Waited::Probe;
            } else if hopes && !self.asked {
                sleep(LOOK_EVERY).await;
                return Waited::Hoped;
            }
        }
        sleep_until(until).await;
        Waited::Through
    }
}
