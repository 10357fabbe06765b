//! How much of what was answered may wait for its readers.
//!
//! Promises: the answers that are long, of all connections together, take no more than a bound
//! until they are sent; but one may always go out, however long it is. Short ones are always
//! answered: nobody loses an acknowledgement to those who do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::problem::Problem;

/// The most bytes of long answers at once.
const MOST: u64 = 512 << 20;

/// From which size on an answer is long, in bytes.
const LONG: u64 = 64 << 10;

/// The bytes of the long answers that wait.
#[derive(Clone)]
pub(super) struct Answering {
    waiting: Arc<AtomicU64>,
    most: u64,
}

/// An answer and its part of them, until the connection has sent it.
struct Waiting {
    bytes: Bytes,
    _part: Part,
}

struct Part {
    of: Answering,
    size: u64,
}

impl Default for Answering {
    fn default() -> Self {
        Self { waiting: Arc::default(), most: MOST }
    }
}

impl Answering {
    fn part(&self, size: u64) -> Option<Part> {
        let part = Part { of: self.clone(), size };
        let others = self.waiting.fetch_add(size, Ordering::Relaxed);
        (others == 0 || others + size <= self.most).then_some(part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.waiting.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts a long answer as waiting until it is sent; says that there are too many instead.
pub(super) async fn bound(State(answering): State<Answering>, answer: Response) -> Response {
    let size = match answer.body().size_hint().exact() {
        Some(size) if size >= LONG => size,
        _ => return answer,
    };
    let Some(part) = answering.part(size) else {
        drop(answer);
        return Problem::busy("too many answers wait for those who asked to read them").into_response();
    };
    let (head, body) = answer.into_parts();
    // It is in memory already, in one piece, and does not fail.
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => {
            Response::from_parts(head, Body::from(Bytes::from_owner(Waiting { bytes, _part: part })))
        }
        Err(error) => Problem::busy(&format!("the answer was lost: {error}")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn answers_that_wait_have_a_bound_and_short_ones_pass() {
        let answering = Answering { waiting: Arc::default(), most: 3 * LONG };
        let ask = async |size: u64| {
            let answer = Response::new(Body::from("a".repeat(usize::try_from(size).unwrap())));
            bound(State(answering.clone()), answer).await
        };
        let alone = ask(10 * LONG).await;
        assert_eq!(alone.status(), StatusCode::OK, "one may always go out");
        let refused = ask(LONG).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(ask(LONG - 1).await.status(), StatusCode::OK, "it is short");
        // What the connection has taken over still waits; what it has sent does not.
        let held = to_bytes(alone.into_body(), usize::MAX).await.unwrap();
        assert_eq!(ask(LONG).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(held.len() as u64, 10 * LONG);
        drop(held);
        let both = [ask(LONG).await, ask(2 * LONG).await];
        assert!(both.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(ask(LONG).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(both);
        assert_eq!(answering.waiting.load(Ordering::Relaxed), 0);
    }
}
