//! What is left of a request's body when its answer is there.
//!
//! A connection that is closed while something of it is unread is reset (RFC 9112, 9.6), and who is
//! still sending then sees a broken pipe, and not the answer: that the body is too long, the token
//! wrong, the host busy. So what nobody reads any more is read for a while, and thrown away.
//!
//! Promises: that takes no memory but what hyper reads at once, and ends in [`LINGER`], after
//! [`MOST`] bytes, and when the connection is to end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use tokio::runtime::Handle;

/// How long what is left is read.
const LINGER: Duration = Duration::from_secs(10);

/// How much of it: what a host takes in one request, if nothing else is said.
const MOST: usize = 64 << 20;

/// A body, of which nothing stays unread without need.
pub(super) struct Unread {
    /// None when all of it is read, or it broke off.
    body: Option<Incoming>,
    /// The client waits to be asked for it (RFC 9110, 10.1.1), and has not been: it sends nothing.
    waits: bool,
    /// The connection is to end.
    ended: Option<BoxFuture<'static, ()>>,
}

impl Unread {
    pub(super) fn new(
        head: &Parts,
        body: Incoming,
        ended: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        let ended = body.is_some().then(|| ended.boxed());
        Self { body, waits: head.headers.contains_key(EXPECT), ended }
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !self.waits && !body.is_end_stream());
        let (Some(body), Some(ended), Ok(runtime)) = (left, self.ended.take(), Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            tokio::select! {
                () = throw_away(body) => {}
                () = ended => {}
                () = tokio::time::sleep(LINGER) => {}
            }
        });
    }
}

async fn throw_away(mut body: Incoming) {
    let mut read = 0;
    while read < MOST {
        match std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}
