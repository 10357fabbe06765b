//! How much of what a plugin says of its items a lane keeps in full.
//!
//! A dead letter has a reason and what the plugin printed, because somebody is to mend what was
//! wrong. Where thousands are refused, each further one repeats what the first have said.
//!
//! # Invariant
//! - Beyond the allowance a dead letter takes what its item takes and a few hundred bytes,
//!   whatever the plugin says and prints: refusals fill no journal much sooner than their items.

use std::time::Instant;

use parking_lot::Mutex;

/// What a lane may keep at once, in bytes, and what comes back to it each second: enough for a
/// plugin that refuses now and then, and for one that is stopped once a minute.
const AT_ONCE: u64 = 1 << 20;
const A_SECOND: u64 = 1 << 10;

/// Of one lane, whichever plugin and worker it has.
pub(super) struct Allowance(Mutex<State>);

struct State {
    left: u64,
    at: Instant,
}

impl Default for Allowance {
    fn default() -> Self {
        Self(Mutex::new(State { left: AT_ONCE, at: Instant::now() }))
    }
}

impl Allowance {
    /// A text in full, or as `short` makes it where that is shorter and too much was said of late.
    pub(super) fn keep(&self, text: String, short: impl FnOnce(&str) -> String) -> String {
        let in_short = short(&text);
        let has_more = in_short.len() < text.len();
        if has_more && !self.spend(text.len() as u64, Instant::now()) { in_short } else { text }
    }

    fn spend(&self, bytes: u64, now: Instant) -> bool {
        let mut state = self.0.lock();
        let back = A_SECOND.saturating_mul(now.saturating_duration_since(state.at).as_secs());
        if back > 0 {
            *state = State { left: (state.left + back).min(AT_ONCE), at: now };
        }
        let left = state.left.checked_sub(bytes);
        state.left = left.unwrap_or(state.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plugins::brief;

    #[test]
    fn the_first_are_kept_in_full_and_those_that_go_on_in_short() {
        let allowance = Allowance::default();
        let long = "x".repeat(8 << 10);
        let kept: Vec<String> = (0..20_000).map(|_| allowance.keep(long.clone(), brief)).collect();
        let whole = kept.iter().filter(|kept| **kept == long).count();
        assert!((100..200).contains(&whole), "{whole}");
        assert!(kept.iter().take(100).all(|kept| *kept == long), "the first ones");
        let rest = kept.iter().filter(|kept| **kept != long);
        assert!(rest.clone().all(|kept| kept.len() <= 200 && kept.ends_with("(8.0 KiB, cut)")));
        assert_eq!(allowance.keep("short".to_owned(), brief), "short");
    }

    #[test]
    fn it_comes_back_with_time() {
        let allowance = Allowance::default();
        let begun = Instant::now();
        assert!(allowance.spend(AT_ONCE, begun));
        assert!(!allowance.spend(1, begun + Duration::from_millis(900)));
        let a_minute_later = begun + Duration::from_secs(60);
        assert!(allowance.spend(16 << 10, a_minute_later), "a reason and what was printed");
        assert!(allowance.spend(AT_ONCE, begun + Duration::from_secs(86_400)));
        assert!(!allowance.spend(1, begun + Duration::from_secs(86_400)), "no more than at once");
    }
}
