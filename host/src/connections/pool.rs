//! A few connections to one server, kept between uses.
//!
//! A connection comes back only when its user says so ([`Lease::give_back`]).
//! Everything else throws it away: a lease that is dropped, be it by an error, a
//! timeout or a cancelled call, may stand in the middle of the protocol or of a
//! transaction. Knows nothing about protocols; [`Server`] does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// The most connections of one returner to one server.
pub(super) const CONNECTIONS: usize = 4;

/// How long a connection may have been idle to be used without a look at it.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// How long an idle connection may take to show that it lives.
pub(super) const PING: Duration = Duration::from_secs(1);

/// What a pool connects to. Its methods keep to their own bounds of time.
pub(crate) trait Server: Send + Sync + 'static {
    type Connection: Send + 'static;
    type Error: Send + 'static;

    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Whether a connection that was idle for this long still works.
    fn is_alive(
        &self,
        connection: &mut Self::Connection,
        idle: Duration,
    ) -> impl Future<Output = bool> + Send;

    /// Takes leave of the server, as far as there is anything to say.
    fn disconnect(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send;
}

pub(super) struct Pool<S: Server> {
    shared: Arc<Shared<S>>,
}

struct Shared<S: Server> {
    server: S,
    size: usize,
    idle: Mutex<Vec<Idle<S::Connection>>>,
    places: Arc<Semaphore>,
}

struct Idle<C> {
    connection: C,
    since: Instant,
}

/// A connection in use.
pub(super) struct Lease<S: Server> {
    pub(super) connection: S::Connection,
    shared: Arc<Shared<S>>,
    // Freed after the connection, so that there are never more than `size`.
    _place: OwnedSemaphorePermit,
}

/// Why there is no connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeaseError<E> {
    /// All of them, this many, stayed in use.
    Busy(usize),
    Closed,
    /// The time ran out while the server was asked.
    Slow,
    Server(E),
}

impl<S: Server> Pool<S> {
    pub(super) fn new(server: S, size: usize) -> Self {
        let shared =
            Shared { server, size, idle: Mutex::new(Vec::new()), places: Arc::new(Semaphore::new(size)) };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn server(&self) -> &S {
        &self.shared.server
    }

    /// An idle connection that lives, or a new one, within `bound`.
    pub(super) async fn lease(&self, bound: Duration) -> Result<Lease<S>, LeaseError<S::Error>> {
        let deadline = Instant::now() + bound;
        let place = match timeout_at(deadline, Arc::clone(&self.shared.places).acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(LeaseError::Closed),
            Err(_) => return Err(LeaseError::Busy(self.shared.size)),
        };
        let connection = timeout_at(deadline, self.connection()).await.map_err(|_| LeaseError::Slow)?;
        let connection = connection.map_err(LeaseError::Server)?;
        Ok(Lease { connection, shared: Arc::clone(&self.shared), _place: place })
    }

    async fn connection(&self) -> Result<S::Connection, S::Error> {
        match self.idle().await {
            Some(connection) => Ok(connection),
            None => self.connect().await,
        }
    }

    /// On the host's own threads: a driver may have the system look up a name, on a thread that is
    /// as nice as the one that begins it (see [`blocking`](super::blocking)).
    async fn connect(&self) -> Result<S::Connection, S::Error> {
        let shared = Arc::clone(&self.shared);
        let connecting = tokio::spawn(async move { shared.server.connect().await });
        match AbortOnDropHandle::new(connecting).await {
            Ok(connected) => connected,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and with it whoever waits.
            Err(_) => std::future::pending().await,
        }
    }

    async fn idle(&self) -> Option<S::Connection> {
        // Its own statement: the lock must not be held while the server is asked.
        let newest = self.shared.idle.lock().pop();
        let Idle { mut connection, since } = newest?;
        if self.shared.server.is_alive(&mut connection, since.elapsed()).await {
            return Some(connection);
        }
        // What killed this one killed the older ones.
        self.shared.idle.lock().push(Idle { connection, since });
        tokio::spawn(self.shared.end_idle());
        None
    }

    /// Gives out no more, and ends what is idle. What is in use ends with its use.
    pub(super) async fn close(&self) {
        self.shared.places.close();
        self.shared.end_idle().await;
    }
}

/// Whoever replaces a pool by another one has calls under way that still use it: it ends with the
/// last of them, and takes leave of the server then.
impl<S: Server> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.places.close();
        // Without a runtime nothing is left that a server would wait for.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.shared.end_idle());
        }
    }
}

impl<S: Server> Shared<S> {
    /// Takes the idle ones away at once. Ending them, which may wait for a disk, is for the future
    /// that it gives.
    fn end_idle(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<S> {
        let idle = std::mem::take(&mut *self.idle.lock());
        let shared = Arc::clone(self);
        async move {
            join_all(idle.into_iter().map(|idle| shared.server.disconnect(idle.connection))).await;
        }
    }
}

impl<S: Server> Lease<S> {
    pub(super) fn server(&self) -> &S {
        &self.shared.server
    }

    /// Keeps the connection for the next one. It must be as a new one is: no
    /// transaction, no answer on its way.
    pub(super) fn give_back(self) {
        let Self { connection, shared, _place } = self;
        let mut idle = shared.idle.lock();
        idle.push(Idle { connection, since: Instant::now() });
        drop(idle);
        if shared.places.is_closed() {
            tokio::spawn(shared.end_idle());
        }
    }

    /// Throws the connection away because the server broke it: the idle ones are of
    /// no use either, and the next user must not have to find out one by one.
    pub(super) fn broken(self) {
        tokio::spawn(self.shared.end_idle());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        connected: AtomicUsize,
        dead: AtomicBool,
        /// How many it took leave of.
        left: AtomicUsize,
    }

    impl Server for Counting {
        type Connection = usize;
        type Error = ();

        async fn connect(&self) -> Result<usize, ()> {
            if self.dead.load(Ordering::Relaxed) {
                return Err(());
            }
            Ok(self.connected.fetch_add(1, Ordering::Relaxed))
        }

        async fn is_alive(&self, _: &mut usize, _: Duration) -> bool {
            !self.dead.load(Ordering::Relaxed)
        }

        async fn disconnect(&self, _: usize) {
            self.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    const SOON: Duration = Duration::from_millis(20);

    async fn leased(pool: &Pool<Counting>) -> Lease<Counting> {
        pool.lease(SOON).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[tokio::test]
    async fn only_what_is_given_back_is_used_again() {
        let pool = Pool::new(Counting::default(), 2);
        leased(&pool).await.give_back();
        let again = leased(&pool).await;
        assert_eq!(again.connection, 0);
        drop(again);
        assert_eq!(leased(&pool).await.connection, 1);
    }

    #[tokio::test]
    async fn there_are_never_more_than_the_pool_holds() {
        let pool = Pool::new(Counting::default(), 2);
        let both = (leased(&pool).await, leased(&pool).await);
        assert_eq!(pool.lease(SOON).await.err(), Some(LeaseError::Busy(2)));
        drop(both);
        leased(&pool).await;
    }

    #[tokio::test]
    async fn a_dead_connection_takes_the_idle_ones_with_it() {
        let pool = Pool::new(Counting::default(), 3);
        let (one, two, three) = (leased(&pool).await, leased(&pool).await, leased(&pool).await);
        one.give_back();
        two.give_back();
        three.broken();
        assert_eq!(leased(&pool).await.connection, 3);

        leased(&pool).await.give_back();
        pool.server().dead.store(true, Ordering::Relaxed);
        assert_eq!(pool.lease(SOON).await.err(), Some(LeaseError::Server(())));
        pool.server().dead.store(false, Ordering::Relaxed);
        assert_eq!(leased(&pool).await.connection, 5);
    }

    #[tokio::test]
    async fn a_closed_pool_gives_and_keeps_nothing() {
        let pool = Pool::new(Counting::default(), 2);
        let last = leased(&pool).await;
        pool.close().await;
        last.give_back();
        assert!(pool.shared.idle.lock().is_empty());
        assert_eq!(pool.lease(SOON).await.err(), Some(LeaseError::Closed));
        tokio::task::yield_now().await;
        assert_eq!(pool.server().left.load(Ordering::Relaxed), 1);
    }

    /// Else a server would count it as a client that went wrong.
    #[tokio::test]
    async fn a_pool_that_is_dropped_takes_leave_also_of_what_is_given_back_later() {
        let pool = Pool::new(Counting::default(), 2);
        let (used, idle) = (leased(&pool).await, leased(&pool).await);
        idle.give_back();
        let shared = Arc::clone(&pool.shared);
        drop(pool);
        tokio::task::yield_now().await;
        assert_eq!(shared.server.left.load(Ordering::Relaxed), 1);
        used.give_back();
        tokio::task::yield_now().await;
        assert_eq!(shared.server.left.load(Ordering::Relaxed), 2);
    }
}
