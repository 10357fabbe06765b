//! How long to wait between two tries: exponential, with full jitter, so that lanes
//! and hosts that failed together do not come back together
//! (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).

use std::time::Duration;

/// The bound of the first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The bound that a wait of `tries` failed tries has, without jitter.
fn bound(tries: u32, longest: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(longest)
}

/// The wait after so many failed tries, at least as long as was asked for.
pub(super) fn wait(tries: u32, longest: Duration, asked: Option<Duration>) -> Duration {
    let jittered = bound(tries, longest).mul_f64(fastrand::f64());
    jittered.max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_bound() {
        let longest = Duration::from_secs(60);
        assert_eq!(bound(1, longest), Duration::from_millis(100));
        assert_eq!(bound(2, longest), Duration::from_millis(200));
        assert_eq!(bound(10, longest), Duration::from_millis(51_200));
        for tries in [11, 32, 33, 64, u32::MAX] {
            assert_eq!(bound(tries, longest), longest, "{tries}");
        }
    }

    #[test]
    fn what_was_asked_for_is_the_least() {
        let asked = Duration::from_secs(5);
        assert!(wait(1, Duration::from_secs(60), Some(asked)) >= asked);
        assert!(wait(1, Duration::from_secs(60), None) <= FIRST);
    }
}
