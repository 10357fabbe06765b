//! What a guest prints: the last of it is kept, for the report of a trap.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::words;

/// How much is kept, in bytes.
const KEPT: usize = 8 << 10;

/// A stream that takes everything and keeps the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stderr(Arc<Mutex<VecDeque<u8>>>);

impl Stderr {
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.lock().iter().copied().collect();
        words::lines(&String::from_utf8_lossy(&bytes))
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock();
        let end = &bytes[bytes.len().saturating_sub(KEPT)..];
        let excess = (kept.len() + end.len()).saturating_sub(KEPT);
        kept.drain(..excess);
        kept.extend(end);
    }
}

impl IsTerminal for Stderr {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stderr {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stderr {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stderr {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Stderr {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.keep(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept() {
        let stderr = Stderr::default();
        stderr.keep(b"first ");
        stderr.keep(&vec![b'x'; KEPT - 5]);
        stderr.keep(b"last");
        let text = stderr.text();
        assert_eq!(text.len(), KEPT);
        assert!(text.starts_with(" x") && text.ends_with("xlast"));
        stderr.keep(&vec![b'y'; 3 * KEPT]);
        assert_eq!(stderr.text(), "y".repeat(KEPT));
    }
}
