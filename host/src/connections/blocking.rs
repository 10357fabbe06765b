//! Work that blocks, on the runtime's threads for that.
//!
//! Invariant: a thread is as nice as the one that begins it, and stays so. So those of the pool,
//! which are everybody's, are begun by none that has become nicer for what it computes.

use std::cell::Cell;

use futures_util::future::Either;
use tokio::task::JoinError;

thread_local! {
    static BEGINS_NONE: Cell<bool> = const { Cell::new(false) };
}

/// This thread has become nicer than those of the pool are to be.
pub(crate) fn begins_no_threads() {
    BEGINS_NONE.set(true);
}

/// As tokio's of this name. The work has begun, or waits for its turn, when this returns.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, JoinError>> + Send + 'static {
    if !BEGINS_NONE.get() {
        return Either::Left(tokio::task::spawn_blocking(work));
    }
    let begun = tokio::spawn(async { tokio::task::spawn_blocking(work).await });
    Either::Right(async { begun.await.flatten() })
}
