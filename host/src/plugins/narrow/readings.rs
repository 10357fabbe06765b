//! Statements are read on threads for such work: a guest's fiber has a small stack, and what
//! overflows it takes the host with it.
//!
//! # Invariants
//! - Nothing can stop a reading, so there are few at once: the parser may take for ever for some
//!   text that nobody has thought of, and then keeps one thread and no more.
//! - Nobody waits for one for longer than [`TIME`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Refused;
use crate::connections::spawn_blocking;

/// How many statements are read at once.
const AT_ONCE: usize = 2;

/// How long a reading may take; the longest takes a tenth of a second.
pub(super) const TIME: Duration = Duration::from_secs(5);

/// The readings of one who asks for them.
#[derive(Debug, Clone)]
pub(super) struct Readings {
    turns: Arc<Semaphore>,
    time: Duration,
}

impl Default for Readings {
    fn default() -> Self {
        Self::within(TIME)
    }
}

impl Readings {
    fn within(time: Duration) -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), time }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let Self { turns, time } = self;
        let Ok(Ok(turn)) = timeout(*time, Arc::clone(turns).acquire_owned()).await else {
            let message = format!("a statement while {AT_ONCE} others were read for {time:?}");
            return Err(Refused(message));
        };
        let reading = spawn_blocking(move || {
            let _until_it_ends = turn;
            read()
        });
        match timeout(*time, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(Refused("a statement whose reading broke off".to_owned())),
            Err(_) => Err(too_slow()),
        }
    }
}

/// Why a statement is refused that is read for longer than anything honest.
pub(super) fn too_slow() -> Refused {
    Refused(format!("a statement that takes more than {TIME:?} to read"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn what_takes_for_ever_keeps_few_threads() {
        let readings = Readings::within(Duration::from_millis(50));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            let (end, ended) = channel::<()>();
            let endless = readings.read(move || Ok(ended.recv().is_ok()));
            assert_eq!(endless.await, Err(too_slow()));
            held.push(end);
        }
        let refused = readings.read(|| Ok(())).await.expect_err("there is no thread for it").to_string();
        assert!(refused.contains("2 others"), "{refused}");
        // They have come to an end.
        drop(held);
        while readings.read(|| Ok(())).await.is_err() {}
    }
}
