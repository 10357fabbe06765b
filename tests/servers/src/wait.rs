//! Waiting for a condition, with a deadline.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for what should take a second at most: a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the check answers, for [`PATIENCE`] at most.
///
/// # Panics
///
/// If the time runs out: the message has `what` and the reason that the last check gave.
pub async fn until<T, E: Display>(what: &str, check: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_within(PATIENCE, what, check).await
}

/// As [`until`], with a limit of one's own.
///
/// # Panics
///
/// If the time runs out.
pub async fn until_within<T, E: Display>(
    limit: Duration,
    what: &str,
    check: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    match wait(limit, check).await {
        Ok(value) => value,
        Err(last) => panic!("waited {limit:?} for {what}: {last}"),
    }
}

/// Waits until the check answers; gives the last check's reason if the time runs out. A
/// check that hangs is given up at the deadline.
pub(crate) async fn wait<T, E: Display>(
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    let mut last = "the check never answered".to_owned();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match timeout(left, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(reason)) => last = reason.to_string(),
            Err(_) => return Err(last),
        }
        // A check that answers at once is in time for any deadline.
        if Instant::now() >= deadline {
            return Err(last);
        }
        sleep(PAUSE).await;
    }
}
