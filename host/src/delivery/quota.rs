//! How much of the journal may be kept for what returns ask for by `ret_kwargs`.
//!
//! Whoever may send returns may name a server for them that never answers, and what waits for it
//! waits for ever. It must not fill the journal: what is full takes nothing from anybody.
//!
//! # Invariants
//! - All lanes together that returns asked for keep a tenth of `host.max_journal`, and a request
//!   more. Beyond that nothing is taken for them; what goes elsewhere is.
//! - What they keep is what the journal says, by the names of the lanes: a restart or a reload
//!   makes nobody forget it.
//! - It is never counted too low. What is taken in is added at once; what was delivered since is
//!   seen when the journal is looked at again, which is done before anything is refused, but not
//!   all the time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::lane::Lane;
use super::lanes::Lanes;
use crate::config::is_variant;
use crate::journal::{JournalError, LaneId, NewItem, kept_bytes_of};

/// How often the journal is looked at, at most, while nothing is taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A look at a large journal takes a while: there are so many times as long between two.
const REST: u32 = 10;

/// Why nothing of a request is taken that has something for such a lane.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuotaError {
    #[error(
        "the returners that `ret_kwargs` asked for keep {bytes} bytes of the journal, and may keep {limit}; most \
         waits for `{lane}`\n  hint: only what asks for such a returner is refused; bring that server up again, or \
         have an operator remove what is kept for it (`returner lanes drop`, `returner dead drop`)"
    )]
    Exceeded { bytes: u64, limit: u64, lane: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What the lanes that returns asked for keep together.
pub(crate) struct Quota {
    limit: u64,
    counted: Mutex<Counted>,
    /// The bytes that are on their way into the journal.
    entering: Arc<AtomicU64>,
}

#[derive(Default)]
struct Counted {
    bytes: u64,
    /// How many of them were added since the journal was looked at.
    added: u64,
    heaviest: String,
    /// When it may be looked at again; none before the first look.
    again: Option<Instant>,
    /// That it refuses was said.
    refuses: bool,
}

/// What the journal keeps for such lanes, and which of them has the most.
struct Kept {
    bytes: u64,
    heaviest: String,
}

/// So many bytes that may enter, until they are in the journal or are not.
pub(crate) struct Admitted {
    entering: Arc<AtomicU64>,
    bytes: u64,
}

/// For whoever asks how it is.
#[derive(Debug)]
pub(crate) struct AskedFor {
    pub(crate) bytes: u64,
    pub(crate) limit: u64,
    /// Why nothing more is taken for them, if it is not.
    pub(crate) refuses: Option<QuotaError>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.entering.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Counted {
    /// Whether it is worth a look: it may be less by now.
    fn is_due(&self, limit: u64, now: Instant) -> bool {
        self.again.is_none_or(|again| self.bytes >= limit && (now >= again || self.added >= limit / 8))
    }

    fn exceeds(&self, limit: u64) -> Option<QuotaError> {
        let (bytes, lane) = (self.bytes, self.heaviest.clone());
        (bytes >= limit).then_some(QuotaError::Exceeded { bytes, limit, lane })
    }
}

impl Quota {
    pub(super) fn new(max_journal: u64) -> Self {
        Self { limit: max_journal / 10, counted: Mutex::default(), entering: Arc::default() }
    }

    async fn take(
        &self,
        bytes: u64,
        look: impl Future<Output = Result<Kept, JournalError>>,
    ) -> Result<Admitted, QuotaError> {
        let mut counted = self.counted.lock().await;
        if counted.is_due(self.limit, Instant::now()) {
            self.look(&mut counted, look).await?;
        }
        if let Some(refusal) = counted.exceeds(self.limit) {
            if !std::mem::replace(&mut counted.refuses, true) {
                tracing::error!("{refusal}");
            }
            return Err(refusal);
        }
        if std::mem::take(&mut counted.refuses) {
            tracing::info!("there is room in the journal again for what returns ask for by `ret_kwargs`");
        }
        counted.bytes += bytes;
        counted.added += bytes;
        self.entering.fetch_add(bytes, Ordering::Relaxed);
        Ok(Admitted { entering: Arc::clone(&self.entering), bytes })
    }

    async fn look(
        &self,
        counted: &mut Counted,
        look: impl Future<Output = Result<Kept, JournalError>>,
    ) -> Result<(), JournalError> {
        // Before the look: what gets there meanwhile counts twice rather than not at all.
        let entering = self.entering.load(Ordering::Relaxed);
        let begun = Instant::now();
        let Kept { bytes, heaviest } = look.await?;
        let rest = LOOK_EVERY.max(begun.elapsed() * REST);
        let again = Some(Instant::now() + rest);
        *counted = Counted { bytes: bytes + entering, added: 0, heaviest, again, refuses: counted.refuses };
        Ok(())
    }
}

impl Lanes {
    /// Whether items may enter, as far as they go to lanes that returns asked for. What it gives is
    /// held until the journal has answered. `lanes` are all that the items go to.
    pub(crate) async fn admit(
        &self,
        lanes: &[Arc<Lane>],
        items: &[NewItem],
    ) -> Result<Option<Admitted>, QuotaError> {
        let asked = lanes.iter().filter(|lane| self.is_asked_for(lane.name())).map(|lane| lane.id());
        let asked: HashSet<LaneId> = asked.collect();
        if asked.is_empty() {
            return Ok(None);
        }
        let bytes = |item: &NewItem| {
            let copies = item.lanes.iter().filter(|lane| asked.contains(lane)).count() as u64;
            copies * kept_bytes_of(item.item.text().len())
        };
        let bytes = items.iter().map(bytes).sum();
        self.quota.take(bytes, self.kept_for_asked()).await.map(Some)
    }

    /// How much is kept for them.
    pub(crate) async fn asked_for(&self) -> Result<AskedFor, JournalError> {
        let Quota { limit, counted, .. } = &self.quota;
        let mut counted = counted.lock().await;
        if counted.is_due(*limit, Instant::now()) {
            self.quota.look(&mut counted, self.kept_for_asked()).await?;
        }
        Ok(AskedFor { bytes: counted.bytes, limit: *limit, refuses: counted.exceeds(*limit) })
    }

    /// Also one that no version of the configuration can make any more.
    fn is_asked_for(&self, name: &str) -> bool {
        is_variant(name) && !self.settings().returners.contains_key(name)
    }

    async fn kept_for_asked(&self) -> Result<Kept, JournalError> {
        let mut lanes = self.journal.kept_lanes().await?;
        lanes.retain(|lane| self.is_asked_for(&lane.name));
        let mut kept = Kept { bytes: 0, heaviest: String::new() };
        if lanes.is_empty() {
            return Ok(kept);
        }
        let bytes = self.journal.kept_bytes(lanes.iter().map(|lane| lane.id).collect()).await?;
        kept.bytes = bytes.values().sum();
        let heaviest = lanes.into_iter().max_by_key(|lane| bytes.get(&lane.id).copied());
        kept.heaviest = heaviest.map(|lane| lane.name).unwrap_or_default();
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(bytes: u64) -> Result<Kept, JournalError> {
        Ok(Kept { bytes, heaviest: "redis{}".to_owned() })
    }

    async fn nobody_looks() -> Result<Kept, JournalError> {
        panic!("it was looked at again")
    }

    #[tokio::test]
    async fn what_is_kept_is_known_from_the_beginning_and_what_comes_is_added() {
        let quota = Quota::new(1000);
        let first = quota.take(10, kept(60)).await.expect("there is room");
        let second = quota.take(50, nobody_looks()).await.expect("there is room");
        assert_eq!((quota.counted.lock().await.bytes, first.bytes, second.bytes), (120, 10, 50));
        // It is looked at before anything is refused: here all was delivered.
        drop(first);
        let third = quota.take(200, kept(0)).await.expect("there is room");
        assert_eq!(quota.counted.lock().await.bytes, 250, "what is on its way counts");
        drop((second, third));
        let refused = quota.take(1, kept(100)).await.err().expect("there is no room");
        assert!(refused.to_string().contains("keep 100 bytes") && refused.to_string().contains("`redis{}`"));
        // Not again and again.
        assert!(quota.take(1, nobody_looks()).await.is_err());
        quota.counted.lock().await.again = Some(Instant::now());
        assert!(quota.take(1, kept(99)).await.is_ok());
    }

    #[tokio::test]
    async fn a_journal_that_cannot_be_read_refuses() {
        let quota = Quota::new(1000);
        let broken = async { Err(JournalError::Stopped) };
        assert!(matches!(quota.take(1, broken).await, Err(QuotaError::Journal(_))));
        assert!(quota.take(1, kept(0)).await.is_ok());
    }
}
