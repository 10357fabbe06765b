//! Where guests run, and what they use of the processors there.
//!
//! # Invariants
//! - A call has a thread to itself ([`threads`]) while it is under way: neither the host's own
//!   threads nor another guest wait for one that computes, be it in its own code, in a function of
//!   the host's or in being instantiated. The system shares the processors out between them, and
//!   the longer a plugin's calls compute the less it gets ([`excess`]).
//! - What a guest waits for (timers, sockets, tasks of a client) is the host's own: its calls are
//!   polled within the runtime that began them.
//! - A call that nobody waits for any more is ended at the guest's next epoch, and its fiber
//!   with it.

mod excess;
mod meter;
mod threads;

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use excess::LEAST;
use threads::Threads;

pub(super) use excess::Excess;
pub(super) use meter::{Meter, Spent};

/// Threads for guests.
pub(super) struct Guests(Arc<Threads>);

impl Guests {
    pub(super) fn new() -> io::Result<Self> {
        Threads::new().map(Self)
    }

    /// Runs a call on a thread of its own; `meter` is the guest's, `excess` the plugin's. If nobody
    /// waits any more, the call is ended.
    ///
    /// # Errors
    /// If the host's own code panicked in it: gives what it said.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        meter: Arc<Meter>,
        excess: &Arc<Excess>,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let (mut answered, answer) = oneshot::channel();
        let (host, threads) = (Handle::current(), Arc::clone(&self.0));
        let (nicer, excess) = (excess.nicer(), Arc::clone(excess));
        let job = move || {
            threads.become_nicer(nicer);
            let call = Box::pin(AssertUnwindSafe(call).catch_unwind());
            let call = Metered { call, taken: Duration::ZERO, meter, excess, threads };
            let done = host.block_on(async {
                tokio::select! {
                    // First: what it waits for may have ended with the host.
                    biased;
                    () = answered.closed() => None,
                    done = call => Some(done),
                }
            });
            if let Some(done) = done {
                // Nobody may wait for it by now.
                let _ = answered.send(done.map_err(|panic| said(&*panic)));
            }
        };
        self.0.run(nicer, Box::new(job));
        answer.await.unwrap_or_else(|_| Err("its thread gave it up".to_owned()))
    }

    /// Ends what is not needed any more, which may take a while: an instance gives back memory.
    pub(super) fn end(&self, ended: impl Send + 'static) {
        let host = Handle::try_current().ok();
        let job = move || {
            // What is given back may need the runtime, too.
            let _within = host.as_ref().map(Handle::enter);
            drop(ended);
        };
        self.0.run(LEAST, Box::new(job));
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// A call whose use of the processors is measured, and which makes its thread nicer.
struct Metered<C> {
    call: Pin<Box<C>>,
    /// What it has taken of a processor so far.
    taken: Duration,
    meter: Arc<Meter>,
    excess: Arc<Excess>,
    threads: Arc<Threads>,
}

impl<C: Future> Future for Metered<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let Self { call, taken, meter, excess, threads } = &mut *self;
        let before = meter.spent();
        meter.begin();
        let polled = call.as_mut().poll(context);
        meter.end();
        let after = *taken + meter.spent().since(before).cpu;
        excess.note(*taken, after);
        *taken = after;
        if polled.is_pending() {
            threads.become_nicer(excess.nicer());
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::available_parallelism;
    use std::time::Instant;

    use rustix::process::getpriority_process;

    use super::meter::thread_time;
    use super::*;

    fn compute(time: Duration) {
        let begun = thread_time();
        while Duration::from_nanos(thread_time() - begun) < time {}
    }

    fn nice() -> i32 {
        getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn the_time_of_a_function_that_does_not_yield_counts_and_waiting_does_not() {
        let (guests, meter) = (Guests::new().unwrap(), Arc::new(Meter::default()));
        let call = async {
            compute(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(300)).await;
            std::thread::current().name().map(str::to_owned)
        };
        let thread = guests.run(Arc::clone(&meter), &Arc::default(), call).await.unwrap();
        assert_eq!(thread.as_deref(), Some("guest"));
        let Spent { cpu: used, time } = meter.spent();
        assert!(used >= Duration::from_millis(200) && used < Duration::from_millis(300), "{used:?}");
        assert!(time >= used, "{time:?}");
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let guests = Guests::new().unwrap();
        let call = async {
            if Instant::now().elapsed() < Duration::MAX {
                panic!("too many headers")
            }
        };
        let said = guests.run(Arc::default(), &Arc::default(), call).await.unwrap_err();
        assert_eq!(said, "too many headers");
    }

    /// More guests that compute than there are processors, and do not even yield: another one and the
    /// host go on, and they end with those who wait for them.
    #[tokio::test]
    async fn guests_that_compute_hold_up_nobody_and_end_when_nobody_waits() {
        let (guests, ended) = (Guests::new().unwrap(), Arc::new(AtomicU64::new(0)));
        struct Ends(Arc<AtomicU64>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (excess, go_on) = (Arc::<Excess>::default(), Arc::new(AtomicBool::new(true)));
        let busy = (0..3 * available_parallelism().map_or(1, usize::from)).map(|_| {
            let (ends, go_on) = (Ends(Arc::clone(&ended)), Arc::clone(&go_on));
            let endless = async move {
                let _ends = ends;
                while go_on.load(Ordering::Relaxed) {
                    compute(Duration::from_millis(10));
                }
                loop {
                    compute(Duration::from_millis(10));
                    tokio::task::yield_now().await;
                }
            };
            guests.run(Arc::default(), &excess, endless)
        });
        let count = busy.len() as u64;
        let busy = futures_util::future::join_all(busy);
        let others = async {
            for _ in 0..1000 {
                guests.run(Arc::default(), &Arc::default(), async {}).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = busy => unreachable!("they compute for ever"),
            () = others => {}
        }
        go_on.store(false, Ordering::Relaxed);
        while ended.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A thread that has become nicer is not given to those who are not meant.
    #[tokio::test]
    async fn who_computes_is_nicer_than_its_neighbours() {
        let (guests, own) = (Guests::new().unwrap(), nice());
        let as_nice = |nicer: i32| (own + nicer).min(19);
        let (bad, good) = (Arc::<Excess>::default(), Arc::<Excess>::default());
        let computes = async {
            compute(Duration::from_millis(600));
            tokio::task::yield_now().await;
            nice()
        };
        assert_eq!(guests.run(Arc::default(), &bad, computes).await.unwrap(), as_nice(15));
        for _ in 0..3 {
            let neighbour = guests.run(Arc::default(), &good, async { nice() });
            assert_eq!(neighbour.await.unwrap(), as_nice(LEAST));
            let again = guests.run(Arc::default(), &bad, async { nice() });
            assert_eq!(again.await.unwrap(), as_nice(15));
        }
    }

    /// What a guest has the host's pool do is done by threads that take after the host's own.
    #[tokio::test]
    async fn a_thread_of_the_hosts_pool_is_not_as_nice_as_the_guest_that_needs_it() {
        let (guests, own) = (Guests::new().unwrap(), nice());
        let call = async {
            compute(Duration::from_millis(200));
            tokio::task::yield_now().await;
            (nice(), crate::connections::spawn_blocking(nice).await.unwrap())
        };
        let (guest, pool) = guests.run(Arc::default(), &Arc::default(), call).await.unwrap();
        assert_eq!((guest, pool), ((own + 10).min(19), own));
    }
}
