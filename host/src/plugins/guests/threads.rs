//! The threads that calls run on: each has one, which nobody else has meanwhile.
//!
//! # Invariants
//! - A call waits for no other's thread while there are fewer than [`MOST`] and the system gives
//!   more. So who gets a processor is for the system to say, which shares it out also where a
//!   guest, or a function of the host's for it, does not come back.
//! - A thread cannot become less nice again. So it is used for calls that may be as nice, and else
//!   another one is begun, by a thread of the host's own.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{getpriority_process, setpriority_process};

use crate::connections::begins_no_threads;

use super::excess::LEAST;

/// The most threads: those of 64 lanes that returns ask for with what they have when nothing else
/// is configured, and as many again, and of as many returners. What is more waits until one is free.
const MOST: usize = 1024;

/// For how long a thread that has nothing to do is kept.
const KEPT: Duration = Duration::from_secs(10);

/// The nicest that a thread can be.
const NICEST: i32 = 19;

/// What a thread is to do.
pub(super) type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(super) struct Threads {
    state: Mutex<State>,
    /// How nice the host's own are.
    host: i32,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    /// What came when there could be no more threads.
    waiting: VecDeque<Job>,
    count: usize,
    /// Of the thread that was begun last.
    number: u64,
    ended: bool,
}

struct Idle {
    number: u64,
    nicer: i32,
    jobs: Sender<Job>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("count", &self.count).field("idle", &self.idle.len()).finish()
    }
}

thread_local! {
    /// How much nicer than the host's own this one is.
    static NICER: Cell<i32> = const { Cell::new(0) };
}

impl Threads {
    /// With one that is there for as long as these are.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let host = getpriority_process(None).unwrap_or(0);
        let threads = Arc::new(Self { state: Mutex::default(), host });
        threads.begin(&mut threads.state.lock(), Box::new(|| {})).map_err(|(_, error)| error)?;
        Ok(threads)
    }

    /// Has a thread do it that is as much nicer than the host's own, or less so.
    pub(super) fn run(self: &Arc<Self>, nicer: i32, job: Job) {
        let mut state = self.state.lock();
        let fit = state.idle.iter().enumerate().filter(|(_, idle)| idle.nicer <= nicer);
        let fittest = fit.max_by_key(|(place, idle)| (idle.nicer, *place)).map(|(place, _)| place);
        let job = match fittest.map(|place| state.idle.remove(place)) {
            // It has not ended: it takes itself off the list first.
            Some(idle) => match idle.jobs.send(job) {
                Ok(()) => return,
                Err(unsent) => unsent.0,
            },
            None => job,
        };
        if state.count < MOST {
            match self.begin(&mut state, job) {
                Ok(()) => return,
                Err((job, _)) => state.waiting.push_back(job),
            }
        } else {
            state.waiting.push_back(job);
        }
        // One that is too nice is better than none.
        if let Some(idle) = state.idle.pop()
            && let Some(job) = state.waiting.pop_front()
        {
            let _ = idle.jobs.send(job);
        }
    }

    /// Begins another thread; gives the job back where there can be none.
    fn begin(self: &Arc<Self>, state: &mut State, job: Job) -> Result<(), (Job, io::Error)> {
        let (jobs, first) = channel();
        let (threads, number) = (Arc::clone(self), state.number + 1);
        let begun = std::thread::Builder::new().name("guest".to_owned()).spawn(move || {
            become_nicer(threads.host, LEAST);
            if let Ok(job) = first.recv() {
                threads.work(number, job);
            }
        });
        match begun {
            Ok(_) => {
                (state.count, state.number) = (state.count + 1, number);
                // The thread waits for it.
                let _ = jobs.send(job);
                Ok(())
            }
            Err(error) => Err((job, error)),
        }
    }

    fn work(&self, number: u64, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            // Whoever waits for it is told; the thread goes on.
            let _ = catch_unwind(AssertUnwindSafe(job));
            next = self.next(number);
        }
    }

    /// What this thread is to do next; none if it is to end.
    fn next(&self, number: u64) -> Option<Job> {
        let (jobs, receiver) = channel();
        {
            let mut state = self.state.lock();
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.ended {
                state.count -= 1;
                return None;
            }
            state.idle.push(Idle { number, nicer: NICER.get(), jobs });
        }
        loop {
            match receiver.recv_timeout(KEPT) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => {
                    self.state.lock().count -= 1;
                    return None;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let mut state = self.state.lock();
            let place = state.idle.iter().position(|idle| idle.number == number);
            // Where it is not on the list any more, something is on its way.
            if let Some(place) = place
                && state.count > 1
            {
                state.idle.remove(place);
                state.count -= 1;
                return None;
            }
        }
    }

    /// Makes this thread as much nicer than the host's own, if it is one of these and is not yet.
    pub(super) fn become_nicer(&self, nicer: i32) {
        if nicer > NICER.get() {
            become_nicer(self.host, nicer);
        }
    }

    /// Those that have nothing to do end, and the others with what they do.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.idle.clear();
    }
}

/// As the host itself, where that is not allowed.
fn become_nicer(host: i32, nicer: i32) {
    let _ = setpriority_process(None, (host + nicer).min(NICEST));
    NICER.set(nicer);
    if nicer > LEAST {
        begins_no_threads();
    }
}
