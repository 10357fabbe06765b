//! The traits that a returner implements, and the adapter from them to the exports
//! of the contract.

use std::marker::PhantomData;

use crate::bindings::exports::salt::returner as exports;
use crate::{Failure, JobReturn, Refusal};

/// What became of a batch.
///
/// `Ok(vec![])` says that all of it is stored, `Ok(refusals)` that all of it is but
/// the items named, `Err` that none of it is.
pub type Outcome = Result<Vec<Refusal>, Failure>;

/// Stores returns: what every returner does.
pub trait Returner {
    /// The options that it reads with [`config::get`](crate::config::get); another one in
    /// the configuration is an error.
    const OPTIONS: &'static [&'static str] = &[];

    /// Creates what is missing: tables, indexes. Runs after loading and after each reload of
    /// the configuration, before anything is stored, in one of several instances; and again
    /// while storing fails.
    ///
    /// # Errors
    /// The host stores nothing through this returner until a later `setup` succeeds.
    fn setup() -> Result<(), Failure> {
        Ok(())
    }

    /// Stores a batch, oldest first. An empty batch is answered with `Ok(vec![])`.
    ///
    /// Do not answer `Ok` before the server has confirmed.
    ///
    /// # Errors
    /// None of the batch is stored. The host tries again, or halves the batch until
    /// it has found the item that is to blame.
    fn store(batch: Vec<JobReturn>) -> Outcome;
}

/// What the component says of itself; `export!` takes it from the package.
#[doc(hidden)]
pub trait Package {
    const NAME: &'static str;
    const VERSION: &'static str;
}

/// The component of a returner.
#[doc(hidden)]
#[derive(Debug)]
pub struct Adapter<T>(PhantomData<T>);

#[cfg(not(feature = "full"))]
impl<T: Returner + Package> Adapter<T> {
    /// Where nothing is exported, `export!` checks the type's traits with this.
    #[doc(hidden)]
    pub fn is_returner() {}
}

#[cfg(feature = "full")]
impl<T: FullReturner + Package> Adapter<T> {
    /// Where nothing is exported, `export!` checks the type's traits with this.
    #[doc(hidden)]
    pub fn is_returner() {}
}

impl<T: Returner + Package> exports::about::Guest for Adapter<T> {
    fn describe() -> exports::about::Description {
        exports::about::Description {
            name: T::NAME.to_owned(),
            version: T::VERSION.to_owned(),
            options: T::OPTIONS.iter().map(|&option| option.to_owned()).collect(),
        }
    }
}

impl<T: Returner> exports::lifecycle::Guest for Adapter<T> {
    fn setup() -> Result<(), Failure> {
        T::setup()
    }
}

impl<T: Returner> exports::returns::Guest for Adapter<T> {
    fn store(batch: Vec<JobReturn>) -> Outcome {
        T::store(batch)
    }
}

#[cfg(feature = "full")]
pub use full::{Events, FullReturner, Job, JobCache, Loads, MinionReturn};

#[cfg(feature = "full")]
mod full {
    use super::{Adapter, Outcome, Returner, exports};
    use crate::{Event, Failure, JobLoad, JobMinions};

    pub use exports::job_cache::{Job, MinionReturn};

    /// A returner for everything that Salt asks of one.
    pub trait FullReturner: Returner + Loads + Events + JobCache {}

    impl<T: Returner + Loads + Events + JobCache> FullReturner for T {}

    /// Stores loads: what the master published to start a job.
    pub trait Loads {
        /// Stores a batch of loads. The first load of a job wins: Salt sends one again
        /// with every return of the job, and the later ones say less.
        ///
        /// # Errors
        /// None of the batch is stored.
        fn store(batch: Vec<JobLoad>) -> Outcome;

        /// Adds minions to those that are expected to answer a job.
        ///
        /// # Errors
        /// None of the batch is stored.
        fn add_minions(batch: Vec<JobMinions>) -> Outcome;
    }

    /// Stores events of the master's event bus.
    pub trait Events {
        /// Stores a batch of events, oldest first.
        ///
        /// # Errors
        /// None of the batch is stored.
        fn store(batch: Vec<Event>) -> Outcome;
    }

    /// Answers questions about what was stored.
    ///
    /// # Errors
    /// Each function fails with why it has no answer.
    pub trait JobCache {
        /// The load of a job as JSON, with `Minions` where minions are known; none if
        /// the job is unknown.
        fn get_load(jid: String) -> Result<Option<String>, Failure>;

        /// The returns of a job, one a minion and function.
        fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure>;

        /// The newest return of a function from each minion.
        fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure>;

        /// The newest jobs, newest last; all of them if there is no limit.
        fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure>;

        /// The minions that ever answered.
        fn get_minions() -> Result<Vec<String>, Failure>;

        /// Deletes jobs, their returns and events that are older than this moment, in
        /// milliseconds since 1970-01-01 UTC. Says how many jobs and events went.
        fn clean(before: u64) -> Result<u64, Failure>;
    }

    impl<T: FullReturner> exports::loads::Guest for Adapter<T> {
        fn store(batch: Vec<JobLoad>) -> Outcome {
            <T as Loads>::store(batch)
        }

        fn add_minions(batch: Vec<JobMinions>) -> Outcome {
            T::add_minions(batch)
        }
    }

    impl<T: FullReturner> exports::events::Guest for Adapter<T> {
        fn store(batch: Vec<Event>) -> Outcome {
            <T as Events>::store(batch)
        }
    }

    impl<T: FullReturner> exports::job_cache::Guest for Adapter<T> {
        fn get_load(jid: String) -> Result<Option<String>, Failure> {
            T::get_load(jid)
        }

        fn get_jid(jid: String) -> Result<Vec<MinionReturn>, Failure> {
            T::get_jid(jid)
        }

        fn get_fun(fun: String) -> Result<Vec<MinionReturn>, Failure> {
            T::get_fun(fun)
        }

        fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
            T::get_jids(limit)
        }

        fn get_minions() -> Result<Vec<String>, Failure> {
            T::get_minions()
        }

        fn clean(before: u64) -> Result<u64, Failure> {
            T::clean(before)
        }
    }
}
