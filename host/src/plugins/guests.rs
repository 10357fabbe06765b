//! The threads that guests run on, and the processor time that they use there.
//!
//! # Invariants
//! - A guest runs on these threads only: however many of them compute, the host's own threads
//!   are free for what comes in, for questions and for the journal.
//! - What a guest waits for (timers, sockets, tasks of a client) is the host's own: its calls are
//!   polled here, within the runtime that began them.
//! - A call that nobody waits for any more is ended at the guest's next epoch, and its fiber
//!   with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::Duration;

use rustix::process::{getpriority_process, setpriority_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// How much nicer a guest's thread is than the host's own. A thread that one of these begins is
/// as nice; of tokio's those are the ones that run statements.
const NICER: i32 = 5;

/// The nicest that a thread can be.
const NICEST: i32 = 19;

/// Threads for guests: as many as there are processors.
pub(super) struct Guests(Option<Runtime>);

impl Guests {
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(available_parallelism().map_or(1, usize::from)).thread_name("guest");
        // A guest that comes back from a server, or begins, takes turns with those that compute.
        builder.global_queue_interval(2);
        builder.on_thread_start(|| {
            // As the host itself, where that is not allowed.
            let _ = getpriority_process(None)
                .and_then(|own| setpriority_process(None, (own + NICER).min(NICEST)));
        });
        builder.enable_all().build().map(Some).map(Self)
    }

    /// Runs a call on these threads; `meter` is the guest's. If nobody waits any more, the call
    /// is ended.
    ///
    /// # Errors
    /// If the host's own code panicked in it: gives what it said.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        meter: Arc<Meter>,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let Some(runtime) = &self.0 else { return Err("its threads have ended".to_owned()) };
        let call = Metered { call: Some(Box::pin(call)), meter, host: Handle::current() };
        match AbortOnDropHandle::new(runtime.spawn(call)).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.is_panic() => Err(said(&*error.into_panic())),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Guests {
    /// A runtime must not be waited for where others run.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The processor time of one guest's calls: that of the threads on which they were polled, in
/// nanoseconds. Whatever was done there is in it: the guest's own code, and the host's functions
/// that it called.
#[derive(Debug)]
pub(super) struct Meter {
    used: AtomicU64,
    /// What the thread had used when the poll under way began; [`NONE`](Self::NONE) where none is.
    begun: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { used: AtomicU64::new(0), begun: AtomicU64::new(Self::NONE) }
    }
}

impl Meter {
    const NONE: u64 = u64::MAX;

    /// So far. In a poll only its own thread asks.
    pub(super) fn used(&self) -> Duration {
        let used = self.used.load(Ordering::Relaxed);
        let under_way = match self.begun.load(Ordering::Relaxed) {
            Self::NONE => 0,
            begun => thread_time().saturating_sub(begun),
        };
        Duration::from_nanos(used + under_way)
    }

    fn begin(&self) {
        self.begun.store(thread_time(), Ordering::Relaxed);
    }

    fn end(&self) {
        let begun = self.begun.swap(Self::NONE, Ordering::Relaxed);
        self.used.fetch_add(thread_time().saturating_sub(begun), Ordering::Relaxed);
    }
}

/// The processor time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A call, polled within the host's own runtime, whose processor time is measured.
struct Metered<T> {
    call: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    meter: Arc<Meter>,
    host: Handle,
}

impl<T> Future for Metered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Self { call, meter, host } = &mut *self;
        let Some(running) = call else { return Poll::Pending };
        let _within = host.enter();
        meter.begin();
        let polled = running.as_mut().poll(context);
        if polled.is_ready() {
            *call = None;
        }
        meter.end();
        polled
    }
}

impl<T> Drop for Metered<T> {
    /// What is given back at the end of a call may need the runtime, too.
    fn drop(&mut self) {
        let _within = self.host.enter();
        self.call = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;

    fn compute(time: Duration) {
        let begun = thread_time();
        while Duration::from_nanos(thread_time() - begun) < time {}
    }

    #[tokio::test]
    async fn the_time_of_a_function_that_does_not_yield_counts_and_waiting_does_not() {
        let (guests, meter) = (Guests::new().unwrap(), Arc::new(Meter::default()));
        let call = async {
            compute(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(300)).await;
            std::thread::current().name().map(str::to_owned)
        };
        let thread = guests.run(Arc::clone(&meter), call).await.unwrap();
        assert_eq!(thread.as_deref(), Some("guest"));
        let used = meter.used();
        assert!(used >= Duration::from_millis(200) && used < Duration::from_millis(300), "{used:?}");
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let guests = Guests::new().unwrap();
        let call = async {
            if Instant::now().elapsed() < Duration::MAX {
                panic!("too many headers")
            }
        };
        assert_eq!(guests.run(Arc::default(), call).await.unwrap_err(), "too many headers");
    }

    /// More guests that compute than there are threads hold up nothing of the host's, and end with
    /// those who wait for them.
    #[tokio::test]
    async fn guests_that_compute_leave_the_host_its_threads_and_end_when_nobody_waits() {
        let (guests, ended) = (Guests::new().unwrap(), Arc::new(AtomicU64::new(0)));
        struct Ends(Arc<AtomicU64>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let began = Arc::new(AtomicBool::new(false));
        let busy = (0..3 * available_parallelism().map_or(1, usize::from)).map(|_| {
            let (ends, began) = (Ends(Arc::clone(&ended)), Arc::clone(&began));
            guests.run(Arc::default(), async move {
                let _ends = ends;
                loop {
                    compute(Duration::from_millis(10));
                    began.store(true, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        });
        let count = busy.len() as u64;
        let busy = futures_util::future::join_all(busy);
        let host = async {
            // Only where the host has a thread of its own does this one come to its end.
            while !began.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = busy => unreachable!("they compute for ever"),
            () = host => {}
        }
        while ended.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
