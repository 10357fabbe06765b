//! The connection to a bus: bytes to messages, as fast as they come.
//!
//! Promises: waits for nothing but room for what waits. Each message carries a moment before
//! which it cannot have been published and missed ([`Arrival`]); what was received and not
//! handed over yet is known by [`Held`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::SaltEvents;
use super::frame::{FrameError, Frames};
use super::take::Message;
use crate::config::Address;
use crate::intake::now;

/// How much may wait for the journal, in bytes.
const ROOM: usize = 128 << 20;

/// What a message takes beside its body, in bytes.
const EACH: usize = 256;

/// How much is read at once, in bytes.
const READ: usize = 64 << 10;

/// How long connecting may take.
const TO_CONNECT: Duration = Duration::from_secs(5);

/// For so long a connection must stay open to be shown as one, if nothing is heard on it; and
/// so often it is noted that there is nothing to read.
const SETTLED: Duration = Duration::from_secs(1);

/// The wait before the next try to connect: it doubles up to the second.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Why the host stopped listening.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the master closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it did not answer within {TO_CONNECT:?}")]
    Silent,
}

type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// The oldest moment of what was received and is not handed over; 0 where that is nothing.
/// In milliseconds since 1970-01-01 UTC.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicU64);

impl Held {
    pub(super) fn since(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|since| *since > 0)
    }

    fn set(&self, since: Option<u64>) {
        self.0.store(since.unwrap_or(0), Ordering::Release);
    }
}

/// What is known of when bytes arrived: later than the moment at which nothing was left to
/// read. In milliseconds since 1970-01-01 UTC.
struct Arrival {
    drained: u64,
    /// That moment of what was read last.
    last: u64,
    /// That moment of the oldest bytes in the buffer.
    since: u64,
}

impl Arrival {
    fn new() -> Self {
        let now = now();
        Self { drained: now, last: now, since: now }
    }

    /// Reads what there is; may be broken off.
    async fn read(&mut self, stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<usize> {
        buffer.reserve(READ);
        let spare = buffer.capacity() - buffer.len();
        let was_empty = buffer.is_empty();
        let count = stream.read_buf(buffer).await?;
        self.last = self.drained;
        if was_empty {
            self.since = self.last;
        }
        if count < spare {
            self.drained = now();
        }
        Ok(count)
    }

    /// There was nothing to read just now.
    fn nothing_came(&mut self) {
        self.drained = now();
    }

    /// A message is out of the buffer: what is left came with the last read.
    fn handed_out(&mut self) {
        self.since = self.last;
    }
}

pub(super) struct Receiver {
    pub(super) events: Arc<SaltEvents>,
    pub(super) address: Address,
    sender: mpsc::UnboundedSender<Message>,
    held: Arc<Held>,
    room: Arc<Semaphore>,
}

impl Receiver {
    pub(super) fn new(
        events: Arc<SaltEvents>,
        address: Address,
        sender: mpsc::UnboundedSender<Message>,
        held: Arc<Held>,
    ) -> Self {
        Self { events, address, sender, held, room: Arc::new(Semaphore::new(ROOM)) }
    }

    pub(super) async fn run(self) {
        let mut wait = WAITS.0;
        self.events.begins(&self.address);
        loop {
            let lost = match connect(&self.address).await {
                Ok(stream) => self.receive(stream, &mut wait).await,
                Err(lost) => lost,
            };
            self.held.set(None);
            self.events.lost(&self.address, &lost);
            sleep(wait).await;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    /// A connection is shown as one when it has stayed open for a while, and counts from its
    /// first message on: whoever answers there may be no master, and say nothing.
    async fn receive(&self, mut stream: Stream, wait: &mut Duration) -> Lost {
        let mut frames = Frames::default();
        let mut arrival = Arrival::new();
        let (mut shown, mut heard) = (false, false);
        loop {
            match timeout(SETTLED, arrival.read(&mut stream, frames.buffer())).await {
                Ok(Ok(0)) => return Lost::Closed,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => {
                    arrival.nothing_came();
                    if !std::mem::replace(&mut shown, true) {
                        self.events.connected(&self.address);
                    }
                    continue;
                }
            }
            loop {
                self.held.set((!frames.buffer().is_empty()).then_some(arrival.since));
                let body = match frames.next() {
                    Ok(Some(body)) => body,
                    Ok(None) => break,
                    Err(error) => return error.into(),
                };
                if !std::mem::replace(&mut shown, true) {
                    self.events.connected(&self.address);
                }
                if !std::mem::replace(&mut heard, true) {
                    *wait = WAITS.0;
                    self.events.heard();
                }
                let size = u32::try_from((body.len() + EACH).min(ROOM)).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room).acquire_many_owned(size).await;
                let room = room.expect("the room is never closed");
                let _ = self.sender.send(Message { body, room, at: arrival.since });
                arrival.handed_out();
            }
        }
    }
}

async fn connect(address: &Address) -> Result<Stream, Lost> {
    let connect = async {
        Ok::<Stream, io::Error>(match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp { host, port } => Box::new(TcpStream::connect((host.as_str(), *port)).await?),
        })
    };
    Ok(timeout(TO_CONNECT, connect).await.map_err(|_| Lost::Silent)??)
}

/// Whether somebody listens there; it need not be a master.
pub(crate) async fn knock(address: &Address) -> Result<(), String> {
    connect(address).await.map(drop).map_err(|lost| lost.to_string())
}
