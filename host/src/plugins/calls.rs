//! The calls of the contract, in the host's own words.

use std::sync::Arc;

use super::contract::{About, Job, MinionReturn};
use super::instance::{CallError, Instance, Running};
use super::load::Interface;
use crate::connections::Purpose;
use crate::items::{Item, Kind, Refusal};

/// An item on its way into a guest.
#[derive(Clone)]
pub(crate) struct Delivery {
    /// Whatever has it: a guest runs on a thread of its own.
    pub(crate) given: Arc<dyn AsRef<Item> + Send + Sync>,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) accepted: u64,
    pub(crate) redelivered: bool,
}

impl Delivery {
    pub(crate) fn item(&self) -> &Item {
        (*self.given).as_ref()
    }
}

/// One call: runs it within the limits, checks its answer, and commits.
macro_rules! call {
    ($instance:ident, $purpose:ident, $name:ident($($value:expr),*), $check:expr) => {{
        let (time, mut running) = $instance.begin(Purpose::$purpose)?;
        let (plugin, meter) = (Arc::clone(&$instance.plugin), running.meter());
        let called = async move {
            let Running { store, guest } = &mut running;
            let answer = plugin.calls.$name(store, guest $(, $value)*);
            let answer = tokio::time::timeout(time, answer).await;
            (running, answer)
        };
        let called = $instance.plugin.guests.run(meter, &$instance.plugin.excess, called).await;
        $instance.end(called, $check).await
    }};
}

/// A question to the job cache.
macro_rules! question {
    ($purpose:ident $name:ident() -> $answer:ty) => {
        pub(crate) async fn $name(&mut self) -> Result<$answer, CallError> {
            self.answers_questions()?;
            call!(self, $purpose, $name(), |_| Ok(()))
        }
    };
    ($purpose:ident $name:ident($arg:ident: &str) -> $answer:ty) => {
        pub(crate) async fn $name(&mut self, $arg: &str) -> Result<$answer, CallError> {
            self.answers_questions()?;
            let $arg = $arg.to_owned();
            call!(self, $purpose, $name(&$arg), |_| Ok(()))
        }
    };
    ($purpose:ident $name:ident($arg:ident: $type:ty) -> $answer:ty) => {
        pub(crate) async fn $name(&mut self, $arg: $type) -> Result<$answer, CallError> {
            self.answers_questions()?;
            call!(self, $purpose, $name($arg), |_| Ok(()))
        }
    };
}

impl Instance {
    fn answers_questions(&self) -> Result<(), CallError> {
        match self.plugin.exports.contains(&Interface::JobCache) {
            true => Ok(()),
            false => Err(CallError::Missing(Interface::JobCache)),
        }
    }

    pub(crate) async fn describe(&mut self) -> Result<About, CallError> {
        call!(self, Read, describe(), |_| Ok(()))
    }

    /// Runs `lifecycle.setup`, where there is one.
    pub(crate) async fn setup(&mut self) -> Result<(), CallError> {
        call!(self, SetUp, setup(), |()| Ok(()))
    }

    /// Stores a batch of items of one kind; gives those that were not stored.
    pub(crate) async fn store(
        &mut self,
        kind: Kind,
        batch: Vec<Delivery>,
    ) -> Result<Vec<Refusal>, CallError> {
        let count = batch.len();
        call!(self, Write, store(kind, &batch), |refusals| check_refusals(refusals, count))
    }

    question!(Read get_load(jid: &str) -> Option<String>);
    question!(Read get_jid(jid: &str) -> Vec<MinionReturn>);
    question!(Read get_fun(fun: &str) -> Vec<MinionReturn>);
    question!(Read get_jids(limit: Option<u32>) -> Vec<Job>);
    question!(Read get_minions() -> Vec<String>);
    question!(Write clean(before: u64) -> u64);
}

fn check_refusals(refusals: &[Refusal], batch: usize) -> Result<(), String> {
    let mut refused = vec![false; batch];
    for refusal in refusals {
        match refused.get_mut(refusal.index) {
            Some(twice) if *twice => return Err(format!("it refused the item {} twice", refusal.index)),
            Some(refused) => *refused = true,
            None => return Err(format!("it refused the item {} of a batch of {batch}", refusal.index)),
        }
    }
    Ok(())
}
