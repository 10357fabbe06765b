//! Salt's event bus: what a master publishes to whoever listens on its socket
//! (`master_event_pub.ipc`). Nobody is asked, nothing is acknowledged, nothing is told again.
//!
//! Invariants:
//! - Receiving waits for nothing but [`ROOM`]: the master cuts off who does not read for a
//!   minute (`publish_drain_timeout`). Storing is somebody else's work ([`take`]).
//! - What may have been missed is known as a gap ([`gaps`]) before anything newer is taken in.
//! - Of what was received nothing is given up but by the end of the host.

mod frame;
mod gaps;
mod message;
mod take;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::frame::{FrameError, Frames};
use self::message::Sorter;
use self::take::{Message, Taker, Trimmed};
use super::Intake;
use crate::config::{Address, SaltEventsSettings};
use crate::telemetry::SaltEventsMetrics;

pub(crate) use gaps::Gaps;

/// How much may wait for the journal, in bytes.
const ROOM: usize = 128 << 20;

/// How long connecting may take.
const TO_CONNECT: Duration = Duration::from_secs(5);

/// The wait before the next try to connect: it doubles up to the second.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The event bus, followed or not, as long as the host runs.
pub(crate) struct SaltEvents {
    intake: Arc<Intake>,
    pub(crate) gaps: Gaps,
    metrics: SaltEventsMetrics,
    standing: Mutex<Option<Standing>>,
}

/// How following it is going.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) address: String,
    /// Since when the host listens; nothing while it does not.
    pub(crate) connected: Option<SystemTime>,
    /// Why it does not.
    pub(crate) error: Option<String>,
}

/// A bus that is followed.
pub(crate) struct Following {
    pub(crate) settings: SaltEventsSettings,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    /// Listens no more, and takes in what was received.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// Why the host stopped listening.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the master closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it did not answer within {TO_CONNECT:?}")]
    Silent,
}

impl SaltEvents {
    pub(crate) fn new(intake: Arc<Intake>, gaps: Gaps, metrics: SaltEventsMetrics) -> Self {
        Self { intake, gaps, metrics, standing: Mutex::default() }
    }

    /// Nothing where the configuration names no bus.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.standing.lock().clone()
    }

    /// How many returns were stored, since the start, that lack something.
    pub(crate) fn trimmed(&self) -> u64 {
        self.metrics.trimmed_so_far()
    }

    fn is_connected(&self) -> bool {
        self.standing.lock().as_ref().is_some_and(|standing| standing.connected.is_some())
    }

    /// Nothing is followed from now on.
    pub(crate) fn rest(&self) {
        *self.standing.lock() = None;
        self.metrics.connected(false);
    }

    /// Follows a bus; `master` is Salt's id of the master. One bus at a time.
    pub(crate) fn follow(self: &Arc<Self>, settings: SaltEventsSettings, master: String) -> Following {
        let stop = CancellationToken::new();
        let (sender, received) = mpsc::unbounded_channel();
        let taker = Taker {
            events: Arc::clone(self),
            sorter: Sorter::new(settings.tags.clone(), master),
            trimmed: Trimmed::new(settings.trimmed_wait),
            stop: stop.clone(),
        };
        let receiver = Receiver {
            events: Arc::clone(self),
            address: settings.address.clone(),
            sender,
            room: Arc::new(Semaphore::new(ROOM)),
        };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let taking = tokio::spawn(taker.run(received));
            tokio::select! {
                () = receiver.run() => {}
                () = stopped.cancelled() => {}
            }
            // The sender is gone with the receiver: taking ends with what was received.
            let _ = taking.await;
        });
        Following { settings, stop, task }
    }
}

struct Receiver {
    events: Arc<SaltEvents>,
    address: Address,
    sender: mpsc::UnboundedSender<Message>,
    room: Arc<Semaphore>,
}

impl Receiver {
    async fn run(self) {
        let place = self.address.to_string();
        let mut wait = WAITS.0;
        *self.events.standing.lock() =
            Some(Standing { address: place.clone(), connected: None, error: None });
        loop {
            let lost = match self.connect().await {
                Ok(stream) => {
                    wait = WAITS.0;
                    self.connected(&place);
                    self.receive(stream).await
                }
                Err(error) => error,
            };
            self.lost(&place, &lost);
            sleep(wait).await;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    async fn connect(&self) -> Result<Box<dyn AsyncRead + Send + Unpin>, Lost> {
        let connect = async {
            Ok::<Box<dyn AsyncRead + Send + Unpin>, io::Error>(match &self.address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp { host, port } => Box::new(TcpStream::connect((host.as_str(), *port)).await?),
            })
        };
        Ok(timeout(TO_CONNECT, connect).await.map_err(|_| Lost::Silent)??)
    }

    fn connected(&self, place: &str) {
        let gap = self.events.gaps.connected();
        self.events.metrics.connected(true);
        *self.events.standing.lock() =
            Some(Standing { address: place.to_owned(), connected: Some(SystemTime::now()), error: None });
        tracing::info!("following Salt's event bus at `{place}`");
        if let Some(gap) = gap {
            self.events.metrics.missed();
            let missed = Duration::from_millis(gap.until - gap.from);
            tracing::warn!(
                "nothing was heard of Salt's events for {}: `returner salt backfill` fills in what the master has of it",
                humantime::format_duration(missed)
            );
        }
    }

    fn lost(&self, place: &str, lost: &Lost) {
        self.events.metrics.connected(false);
        let mut standing = self.events.standing.lock();
        let error = lost.to_string();
        // Once, and not at each try.
        let is_new = standing.as_ref().is_none_or(|before| before.error.as_ref() != Some(&error));
        *standing = Some(Standing { address: place.to_owned(), connected: None, error: Some(error) });
        if is_new {
            tracing::warn!("Salt's event bus at `{place}`: {lost}; it is tried again");
        }
    }

    async fn receive(&self, mut stream: Box<dyn AsyncRead + Send + Unpin>) -> Lost {
        let mut frames = Frames::default();
        loop {
            loop {
                let body = match frames.next() {
                    Ok(Some(body)) => body,
                    Ok(None) => break,
                    Err(error) => return error.into(),
                };
                let size = u32::try_from(body.len().clamp(1, ROOM)).unwrap_or(u32::MAX);
                let Ok(room) = Arc::clone(&self.room).acquire_many_owned(size).await else { continue };
                let _ = self.sender.send(Message { body, room, at: gaps::now() });
            }
            match stream.read_buf(frames.buffer()).await {
                Ok(0) => return Lost::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
    }
}
