//! Where the host listens, who may ask, and which event bus it follows: all of it can change
//! while it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::listening::Listening;
use crate::config::{HostSettings, Place, Places, SocketSettings};
use crate::intake::{Following, SaltEvents};
use crate::web::{
    self, Access, Ends, Gate, Listener, Port, Reserved, ServeError, ServerTlsError, UnixSocket,
};

/// How long to wait until a listener is closed, which takes no time.
const CLOSING: Duration = Duration::from_secs(5);

pub(super) struct Serving {
    router: Router,
    gate: Arc<Gate>,
    tcp: Option<Served<SocketAddr>>,
    unix: Option<Served<SocketSettings>>,
    events: Arc<SaltEvents>,
    following: Option<Following>,
    /// How long what is under way may take to end, for listeners of any age.
    drain: watch::Sender<Duration>,
    listening: Listening,
}

/// A listener at work.
struct Served<P> {
    /// As the configuration says it.
    place: P,
    /// Where it is as it begins, for people.
    address: String,
    /// Its port, where it has one.
    port: Option<Port>,
    ends: Ends,
    task: JoinHandle<()>,
}

/// What is new in a version of the configuration, and does not serve yet.
pub(super) struct Bound {
    access: Access,
    tcp: Change<SocketAddr>,
    unix: Change<SocketSettings>,
}

/// Why it cannot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Tls(#[from] ServerTlsError),
}

impl BindError {
    /// The line of the configuration that it is about.
    pub(super) fn place<'p>(&self, places: &'p Places) -> Option<&'p Place> {
        places.first(match self {
            Self::Tls(_) => &["host.tls"],
            Self::Serve(ServeError::Tcp { .. }) => &["host.listen"],
            Self::Serve(ServeError::Owner { .. }) => &["host.socket_owner", "host.socket_group"],
            Self::Serve(_) => &["host.socket"],
        })
    }
}

enum Change<P> {
    Same,
    Gone,
    New(P, Reserved),
}

impl Serving {
    pub(super) fn new(router: Router, gate: Arc<Gate>, events: Arc<SaltEvents>, data: &Path) -> Self {
        let drain = watch::Sender::new(Duration::ZERO);
        let listening = Listening::new(data);
        Self { router, gate, tcp: None, unix: None, events, following: None, drain, listening }
    }

    /// Takes what the settings say and is not served yet.
    pub(super) fn bind(&self, settings: &HostSettings) -> Result<Bound, BindError> {
        let access = Access::new(&settings.access)?;
        let tcp = match (settings.listen, &self.tcp) {
            (Some(place), Some(served)) if served.place == place => Change::Same,
            (Some(place), served) => {
                let own = served.as_ref().and_then(|served| served.port.as_ref());
                Change::New(place, Reserved::tcp(place, own)?)
            }
            (None, _) => Change::Gone,
        };
        let unix = match (&settings.socket, &self.unix) {
            (Some(place), Some(served)) if served.place == *place => Change::Same,
            (Some(place), served) => {
                let ours = served.as_ref().is_some_and(|served| served.place.path == place.path);
                Change::New(place.clone(), Reserved::Unix(UnixSocket::bind(place, ours)?))
            }
            (None, _) => Change::Gone,
        };
        Ok(Bound { access, tcp, unix })
    }

    /// Serves what was bound. Requests that are under way where it listened before may end.
    ///
    /// # Errors
    /// What was free cannot be had any more: nobody is served there, and all else is as it should be.
    pub(super) async fn change(&mut self, bound: Bound, settings: &HostSettings) -> Result<(), BindError> {
        let Bound { access, tcp, unix } = bound;
        let (tcp, unix) = (leave(&mut self.tcp, tcp).await, leave(&mut self.unix, unix).await);
        let mut lost = None;
        let mut kept = |error| lost = lost.take().or(Some(error));
        let tcp = tcp.unwrap_or_else(|error| {
            kept(error);
            None
        });
        let unix = unix.unwrap_or_else(|error| {
            kept(error);
            None
        });
        // After the last has come in where it listened before, and before anybody is served at the
        // new places: nobody gets more by what is so somewhere else.
        self.gate.change(access);
        self.drain.send_replace(settings.drain);
        let new = Server { router: &self.router, gate: &self.gate, drain: &self.drain };
        self.tcp = tcp.map(|(place, listener)| new.begin(place, listener)).or_else(|| self.tcp.take());
        self.unix = unix.map(|(place, listener)| new.begin(place, listener)).or_else(|| self.unix.take());
        let addresses = self.addresses();
        self.listening.note(&addresses);
        self.follow(settings).await;
        lost.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn follow(&mut self, settings: &HostSettings) {
        if let (Some(following), Some(events)) = (&self.following, &settings.salt_events)
            && following.is_at(&events.address)
        {
            return following.change(events, &settings.id);
        }
        if let Some(old) = self.following.take() {
            old.stop(settings.drain).await;
            self.events.rest();
        }
        self.following = settings.salt_events.as_ref().map(|events| self.events.follow(events, &settings.id));
    }

    /// Where it listens, for people.
    pub(super) fn addresses(&self) -> Vec<String> {
        // Whether there is TLS can change while it listens.
        let has_tls = self.gate.has_tls();
        let tcp = self.tcp.as_ref().map(|served| {
            served.port.as_ref().map_or_else(|| served.address.clone(), |port| port.url(has_tls))
        });
        tcp.into_iter().chain(self.unix.as_ref().map(|served| served.address.clone())).collect()
    }

    /// Takes nothing more in, and lets requests under way end.
    pub(super) async fn stop(self) {
        if let Some(following) = self.following {
            following.stop(*self.drain.borrow()).await;
        }
        let tcp = self.tcp.map(Served::stop);
        let unix = self.unix.map(Served::stop);
        for task in tcp.into_iter().chain(unix) {
            let _ = task.await;
        }
    }
}

impl<P> Served<P> {
    fn stop(self) -> JoinHandle<()> {
        self.ends.stop.cancel();
        self.task
    }

    /// Lets nobody more in. Its task ends on its own, with what is under way.
    async fn leave(self) {
        let closed = self.ends.closed.clone();
        drop(self.stop());
        if tokio::time::timeout(CLOSING, closed.cancelled()).await.is_err() {
            tracing::warn!("a listener is not closed yet");
        }
    }
}

/// What every listener serves.
struct Server<'s> {
    router: &'s Router,
    gate: &'s Arc<Gate>,
    drain: &'s watch::Sender<Duration>,
}

/// Ends the listener that there is, unless it stays the same; gives the one to begin. Where both
/// can listen, the new one does before the old one leaves, so that there is always one.
async fn leave<P>(
    served: &mut Option<Served<P>>,
    change: Change<P>,
) -> Result<Option<(P, Listener)>, ServeError> {
    let (opened, left) = match change {
        Change::Same => return Ok(None),
        Change::Gone => (None, None),
        Change::New(place, reserved) if reserved.is_shared() => (None, Some((place, reserved))),
        Change::New(place, reserved) => (Some((place, reserved.open())), None),
    };
    if let Some(old) = served.take() {
        old.leave().await;
    }
    let opened = opened.or_else(|| left.map(|(place, reserved)| (place, reserved.open())));
    opened.map(|(place, listener)| Ok((place, listener?))).transpose()
}

impl Server<'_> {
    fn begin<P>(&self, place: P, listener: Listener) -> Served<P> {
        let (ends, address) = (Ends::default(), listener.address(self.gate.has_tls()));
        let port = listener.port();
        let (router, gate) = (self.router.clone(), Arc::clone(self.gate));
        let task = tokio::spawn(web::serve(listener, router, gate, ends.clone(), self.drain.subscribe()));
        tracing::info!("listening on {address}");
        Served { place, address, port, ends, task }
    }
}
