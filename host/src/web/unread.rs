//! What is left of a request's body when its answer is there.
//!
//! A connection that is closed while something of it is unread is reset (RFC 9112, 9.6), and who is
//! still sending then sees a broken pipe, and not the answer: that the body is too long, the token
//! wrong, the host busy. So what nobody reads any more is read for a while, and thrown away.
//!
//! Promise: that takes no memory but what hyper reads at once, and ends in [`LINGER`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::http::request::Parts;

/// How long what is left is read.
const LINGER: Duration = Duration::from_secs(10);

/// A body, of which nothing stays unread without need.
pub(super) struct Unread {
    /// None when all of it is read, or it broke off.
    body: Option<Incoming>,
    /// The client waits to be asked for it (RFC 9110, 10.1.1), and has not been: it sends nothing.
    waits: bool,
}

impl Unread {
    pub(super) fn new(head: &Parts, body: Incoming) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { body, waits: head.headers.contains_key(EXPECT) }
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
        if let (Some(body), Ok(runtime)) = (left, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LINGER, throw_away(body)));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    while let Some(Ok(_)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
}
