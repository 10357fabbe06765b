//! The returns that are sent: each different, of 500 minions.

/// A return's text, and the parts of it that a store keeps apart.
pub(crate) struct Sample {
    pub(crate) jid: String,
    pub(crate) minion: String,
    pub(crate) value: String,
    pub(crate) full: String,
}

pub(crate) const FUN: &str = "state.apply";

/// The sample of a number; `round` tells measurements apart.
pub(crate) fn sample(round: usize, number: usize, size: usize) -> Sample {
    let jid = format!("2026{:04}{number:012}", round % 10_000);
    let minion = format!("minion-{}", number % 500);
    let value = format!(r#"{{"state":"{}","number":{number}}}"#, "x".repeat(size));
    let full = format!(
        r#"{{"jid":"{jid}","id":"{minion}","fun":"{FUN}","fun_args":[],"return":{value},"retcode":0,"success":true}}"#
    );
    Sample { jid, minion, value, full }
}

/// A number for each measurement.
pub(crate) fn next_round() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
