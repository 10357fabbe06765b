//! What a guest prints in a call: the beginning and the end of it are kept, for the report of a
//! trap. Some languages say what happened first, and then where, at length.

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

/// How much of the beginning is kept, in bytes, and how much of the end.
const BEGINNING: usize = 2 << 10;
const END: usize = 6 << 10;

/// A stream that takes everything and keeps a part.
#[derive(Debug, Clone, Default)]
pub(super) struct Stderr(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    beginning: Vec<u8>,
    /// What was left out between the two, in bytes.
    left_out: usize,
    end: VecDeque<u8>,
}

impl Stderr {
    /// Another call begins: what was printed before is none of its.
    pub(super) fn begin_call(&self) {
        *self.0.lock() = Printed::default();
    }

    pub(super) fn text(&self) -> String {
        let printed = self.0.lock();
        let end: Vec<u8> = printed.end.iter().copied().collect();
        let text = match printed.left_out {
            // A character may lie in both.
            0 => String::from_utf8_lossy(&[&printed.beginning[..], &end].concat()).into_owned(),
            bytes => {
                let [beginning, end] = [&printed.beginning, &end].map(|part| String::from_utf8_lossy(part));
                format!("{beginning}\n[{bytes} bytes are left out]\n{end}")
            }
        };
        words::lines(&text)
    }

    fn keep(&self, bytes: &[u8]) {
        let mut printed = self.0.lock();
        let room = BEGINNING - printed.beginning.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        printed.beginning.extend(first);
        printed.end.extend(&rest[rest.len().saturating_sub(END)..]);
        let excess = printed.end.len().saturating_sub(END);
        printed.end.drain(..excess);
        printed.left_out += excess + rest.len().saturating_sub(END);
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
    fn the_beginning_and_the_end_are_kept() {
        const KEPT: usize = BEGINNING + END;
        let stderr = Stderr::default();
        stderr.keep(b"first ");
        stderr.keep(&vec![b'x'; KEPT - 10]);
        stderr.keep(b"last");
        assert_eq!(stderr.text(), format!("first {}last", "x".repeat(KEPT - 10)));
        stderr.keep(b"!");
        let (beginning, end) = ("x".repeat(BEGINNING - 6), "x".repeat(END - 5));
        assert_eq!(stderr.text(), format!("first {beginning}\n[1 bytes are left out]\n{end}last!"));
        stderr.keep(&vec![b'y'; 3 * KEPT]);
        let left_out = 1 + 3 * KEPT;
        assert_eq!(
            stderr.text(),
            format!("first {beginning}\n[{left_out} bytes are left out]\n{}", "y".repeat(END))
        );
    }

    #[test]
    fn a_call_has_what_it_printed_itself() {
        let stderr = Stderr::default();
        stderr.keep("grü".as_bytes());
        stderr.begin_call();
        let text = "ü".repeat(BEGINNING);
        stderr.keep(&text.as_bytes()[..BEGINNING + 1]);
        stderr.keep(&text.as_bytes()[BEGINNING + 1..]);
        assert_eq!(stderr.text(), text);
    }
}
