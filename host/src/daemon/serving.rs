//! Where the host listens, which can change while it runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::HostSettings;
use crate::web::{self, Listener, ServeError};

pub(super) struct Serving {
    router: Router,
    tcp: Option<Served<SocketAddr>>,
    unix: Option<Served<PathBuf>>,
}

/// A listener at work.
struct Served<P> {
    /// As the configuration says it.
    place: P,
    address: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Listeners that are new in a version of the configuration, and do not serve yet.
pub(super) struct Bound {
    tcp: Change<SocketAddr>,
    unix: Change<PathBuf>,
}

enum Change<P> {
    Same,
    Gone,
    New(P, Listener),
}

impl Serving {
    pub(super) fn new(router: Router) -> Self {
        Self { router, tcp: None, unix: None }
    }

    /// Binds what the settings say and is not served yet.
    pub(super) async fn bind(&self, settings: &HostSettings) -> Result<Bound, ServeError> {
        let tcp = match (settings.listen, &self.tcp) {
            (Some(place), Some(served)) if served.place == place => Change::Same,
            (Some(place), _) => Change::New(place, Listener::tcp(place).await?),
            (None, _) => Change::Gone,
        };
        let unix = match (&settings.socket, &self.unix) {
            (Some(place), Some(served)) if served.place == *place => Change::Same,
            (Some(place), _) => Change::New(place.clone(), Listener::unix(place)?),
            (None, _) => Change::Gone,
        };
        Ok(Bound { tcp, unix })
    }

    /// Serves what was bound. Requests that are under way where it listened before may end.
    pub(super) fn change(&mut self, bound: Bound, drain: Duration) {
        let router = &self.router;
        change(&mut self.tcp, bound.tcp, router, drain);
        change(&mut self.unix, bound.unix, router, drain);
    }

    /// Where it listens, for people.
    pub(super) fn addresses(&self) -> Vec<String> {
        let tcp = self.tcp.as_ref().map(|served| served.address.clone());
        tcp.into_iter().chain(self.unix.as_ref().map(|served| served.address.clone())).collect()
    }

    /// Takes nothing more in, and lets requests under way end.
    pub(super) async fn stop(self) {
        let tcp = self.tcp.map(Served::stop);
        let unix = self.unix.map(Served::stop);
        for task in tcp.into_iter().chain(unix) {
            let _ = task.await;
        }
    }
}

impl<P> Served<P> {
    fn stop(self) -> JoinHandle<()> {
        self.stop.cancel();
        self.task
    }
}

fn change<P>(served: &mut Option<Served<P>>, change: Change<P>, router: &Router, drain: Duration) {
    let new = match change {
        Change::Same => return,
        Change::Gone => None,
        Change::New(place, listener) => {
            let (stop, address) = (CancellationToken::new(), listener.address());
            let task = tokio::spawn(web::serve(listener, router.clone(), stop.clone(), drain));
            tracing::info!("listening on {address}");
            Some(Served { place, address, stop, task })
        }
    };
    // Its task ends on its own.
    if let Some(old) = std::mem::replace(served, new) {
        drop(old.stop());
    }
}
