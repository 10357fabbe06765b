//! What the host knows of what it did not hear.
//!
//! The bus tells nothing again. So the host keeps the moment up to which it has taken in
//! all that it heard ([`Heard::through`]); what lies between that and the next message is
//! a gap, kept until it is filled (`returner salt backfill`). Before the very first message it is
//! the moment of the very first connection: what was said before that, nobody asked for.
//!
//! On disk: `salt-events.json` in the host's data, replaced as a whole. It is written every
//! few seconds while the host listens, and when a gap is found or filled. A crash makes the gap
//! that follows it begin some seconds early: never late.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::intake::now;

/// The most gaps that are told apart; the oldest become one.
const MOST: usize = 100;

/// What begins so much later goes on with the one before, in milliseconds.
const NEXT: u64 = 1000;

/// A time in which nothing was heard, in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Heard {
    /// All that was heard until then is in the journal.
    through: Option<u64>,
    gaps: Vec<Gap>,
}

impl Gap {
    /// Whether there is nothing between them, in either order.
    fn touches(self, other: Self) -> bool {
        self.from <= other.until.saturating_add(NEXT) && other.from <= self.until.saturating_add(NEXT)
    }

    fn with(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), until: self.until.max(other.until) }
    }
}

/// The gaps of this host, through its restarts.
#[derive(Debug)]
pub(crate) struct Gaps {
    path: PathBuf,
    heard: Mutex<Heard>,
}

impl Gaps {
    /// Reads what an earlier run of the host left. Where that cannot be read, all that lies
    /// before now may be missing; the file is kept aside.
    pub(crate) fn open(data: &Path) -> Self {
        let path = data.join("salt-events.json");
        let read = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Heard::default()),
            Err(error) => Err(error),
        };
        let heard = read.unwrap_or_else(|error| {
            tracing::warn!(
                "`{}` cannot be read ({error}) and is kept beside it: it is not known what was missed of Salt's events \
                 before now",
                path.display()
            );
            let _ = fs::rename(&path, path.with_extension("damaged"));
            Heard { through: Some(0), gaps: Vec::new() }
        });
        Self { path, heard: Mutex::new(heard) }
    }

    /// What is known to be missing, oldest first.
    pub(crate) fn known(&self) -> Vec<Gap> {
        self.heard.lock().gaps.clone()
    }

    /// Up to when all was heard and taken in; nothing where nothing ever was.
    pub(super) fn through(&self) -> Option<u64> {
        self.heard.lock().through
    }

    /// The host listens since then. The very first time that is where gaps can begin.
    pub(super) fn listens(&self, since: u64) {
        let mut heard = self.heard.lock();
        if heard.through.is_none() {
            heard.through = Some(since);
            self.write(&heard);
        }
    }

    /// The host hears from now on, by a connection of that moment. Gives what it missed since
    /// it last did.
    pub(super) fn heard(&self, connected: Option<u64>) -> Option<Gap> {
        let mut heard = self.heard.lock();
        let now = now();
        // The very first connection has missed nothing. Where the clock was set back meanwhile,
        // what was missed has moments of both.
        let missed = heard.through.filter(|through| connected != Some(*through));
        let gap = missed.map(|through| Gap { from: through.min(now), until: through.max(now) });
        heard.through = Some(now);
        match (heard.gaps.last_mut(), gap) {
            // One after the other, with nothing heard in between.
            (Some(last), Some(gap)) if last.touches(gap) => {
                *last = last.with(gap);
            }
            (_, gap) => heard.gaps.extend(gap),
        }
        while heard.gaps.len() > MOST {
            let oldest = heard.gaps.remove(0);
            heard.gaps[0] = heard.gaps[0].with(oldest);
        }
        self.write(&heard);
        gap
    }

    /// The host listens, and all that it heard until then is in the journal.
    pub(super) fn taken_in(&self, through: u64) {
        let mut heard = self.heard.lock();
        heard.through = Some(through);
        self.write(&heard);
    }

    /// This one is filled; whether it was known.
    pub(crate) fn filled(&self, filled: Gap) -> bool {
        let mut heard = self.heard.lock();
        let before = heard.gaps.len();
        heard.gaps.retain(|gap| *gap != filled);
        self.write(&heard);
        before > heard.gaps.len()
    }

    fn write(&self, heard: &Heard) {
        let write = || {
            let beside = self.path.with_extension("new");
            let mut file = File::create(&beside)?;
            file.write_all(&serde_json::to_vec(heard)?)?;
            file.sync_data()?;
            fs::rename(&beside, &self.path)
        };
        if let Err(error) = write() {
            tracing::warn!("`{}`: {error}: after a restart a gap would seem longer", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_lasts_until_it_is_filled_also_through_restarts() {
        let data = tempfile::tempdir().expect("a directory");
        let gaps = Gaps::open(data.path());
        assert_eq!(gaps.heard(None), None);
        gaps.taken_in(1000);
        let gaps = Gaps::open(data.path());
        let gap = gaps.heard(None).expect("a gap");
        assert!(gap.from == 1000 && gap.until > 1000);
        let gaps = Gaps::open(data.path());
        assert_eq!(gaps.known(), [gap]);
        assert!(!gaps.filled(Gap { until: gap.until - 1, ..gap }));
        assert!(gaps.filled(gap));
        assert_eq!(Gaps::open(data.path()).known(), []);
    }

    #[test]
    fn the_very_first_connection_has_missed_nothing_and_the_next_all_since_it() {
        let data = tempfile::tempdir().expect("a directory");
        let gaps = Gaps::open(data.path());
        gaps.listens(1000);
        gaps.listens(2000);
        assert_eq!(Gaps::open(data.path()).through(), Some(1000));
        assert_eq!(Gaps::open(data.path()).heard(Some(1000)), None);
        let gaps = Gaps::open(data.path());
        gaps.taken_in(1000);
        assert_eq!(gaps.heard(Some(2000)).map(|gap| gap.from), Some(1000));
    }

    #[test]
    fn a_clock_that_was_set_back_hides_no_gap() {
        let data = tempfile::tempdir().expect("a directory");
        let gaps = Gaps::open(data.path());
        let later = now() + 3_600_000;
        gaps.taken_in(later);
        let gap = gaps.heard(None).expect("a gap");
        assert!(gap.from < later && gap.until == later);
    }

    /// What is known to be missing is forgotten by nothing but that it is filled.
    #[test]
    fn a_gap_before_another_is_not_lost_in_it() {
        let data = tempfile::tempdir().expect("a directory");
        let gaps = Gaps::open(data.path());
        let later = now() + 3_600_000;
        let known = Gap { from: later, until: later + 600_000 };
        gaps.heard.lock().gaps.push(known);
        // The clock was set back an hour, and then again nothing was heard for a while.
        gaps.taken_in(now() - 60_000);
        let gap = gaps.heard(None).expect("a gap");
        assert_eq!(gaps.known(), [known, gap]);
    }

    proptest::proptest! {
        #[test]
        fn joined_gaps_cover_both(a in 0..u64::MAX, b in 0..u64::MAX, c in 0..u64::MAX, d in 0..u64::MAX) {
            let [one, other] = [[a, b], [c, d]].map(|[x, y]| Gap { from: x.min(y), until: x.max(y) });
            let both = one.with(other);
            for gap in [one, other] {
                proptest::prop_assert!(both.from <= gap.from && gap.until <= both.until && both.from <= both.until);
                proptest::prop_assert!(gap.touches(gap));
            }
            proptest::prop_assert_eq!(one.touches(other), other.touches(one));
        }
    }

    #[test]
    fn many_gaps_become_fewer_and_cover_the_same() {
        let data = tempfile::tempdir().expect("a directory");
        let gaps = Gaps::open(data.path());
        for number in 0..150 {
            gaps.taken_in(number);
            gaps.heard.lock().gaps.push(Gap { from: number, until: number });
            gaps.heard(None);
        }
        let known = gaps.known();
        assert_eq!((known.len(), known[0].from), (MOST, 0));
    }

    #[test]
    fn what_cannot_be_read_does_not_stop_the_host() {
        let data = tempfile::tempdir().expect("a directory");
        fs::write(data.path().join("salt-events.json"), "{").expect("a file");
        let gap = Gaps::open(data.path()).heard(None).expect("a gap");
        assert_eq!(gap.from, 0);
        assert!(data.path().join("salt-events.damaged").exists());
    }
}
