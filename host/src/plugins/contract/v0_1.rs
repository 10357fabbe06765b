//! `salt:returner@0.1.0`, which is `wit/`.
//!
//! Guests take borrowed records, so that handing over a batch copies each text once: into the
//! guest's memory.
//!
//! `loads` has `add-minions` before `store`: wasmtime 48 generates for a function of that name a
//! variable that hides the store from the functions after it.

use std::collections::BTreeSet;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use super::{About, Answer, Exports, Job, MinionReturn, Version};
use crate::items::{Failure, Item, Kind, Refusal};
use crate::plugins::calls::Delivery;
use crate::plugins::load::Interface;
use crate::plugins::state::GuestState;
use crate::plugins::words;

use exports::salt::returner as guest;
use salt::returner::types as wit;

wasmtime::component::bindgen!({
    path: "../wit",
    world: "full-returner",
    imports: { default: async | trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub(super) const VERSION: Version = Version { number: "0.1.0", link, find };

fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use salt::returner as imports;
    imports::config::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::sql::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::redis::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::mongo::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::http::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

/// Where in a component its exports are.
struct Found {
    about: Option<guest::about::GuestIndices>,
    lifecycle: Option<guest::lifecycle::GuestIndices>,
    returns: guest::returns::GuestIndices,
    loads: Option<guest::loads::GuestIndices>,
    events: Option<guest::events::GuestIndices>,
    job_cache: Option<guest::job_cache::GuestIndices>,
}

fn find(pre: &InstancePre<GuestState>, exports: &BTreeSet<Interface>) -> wasmtime::Result<Box<dyn Exports>> {
    macro_rules! optional {
        ($interface:ident, $module:ident) => {
            match exports.contains(&Interface::$interface) {
                true => Some(guest::$module::GuestIndices::new(pre)?),
                false => None,
            }
        };
    }
    Ok(Box::new(Found {
        about: optional!(About, about),
        lifecycle: optional!(Lifecycle, lifecycle),
        returns: guest::returns::GuestIndices::new(pre)?,
        loads: optional!(Loads, loads),
        events: optional!(Events, events),
        job_cache: optional!(JobCache, job_cache),
    }))
}

/// A question to the job cache: its answer is another version's, too.
macro_rules! question {
    ($name:ident, $call:ident, ($($arg:ident: $type:ty)?), $answer:ty) => {
        fn $name<'a>(
            &'a self,
            store: &'a mut Store<GuestState>,
            guest: &'a Instance
            $(, $arg: $type)?
        ) -> Answer<'a, $answer> {
            Box::pin(async move {
                let Some(indices) = &self.job_cache else { return Ok(Err(missing(Interface::JobCache))) };
                let answer = indices.load(&mut *store, guest)?.$call(store $(, $arg)?).await?;
                Ok(answer.map(Into::<Own<$answer>>::into).map(|own| own.0).map_err(Failure::from))
            })
        }
    };
}

impl Exports for Found {
    fn describe<'a>(&'a self, store: &'a mut Store<GuestState>, guest: &'a Instance) -> Answer<'a, About> {
        Box::pin(async move {
            let Some(indices) = &self.about else { return Ok(Err(missing(Interface::About))) };
            let about = indices.load(&mut *store, guest)?.call_describe(store).await?;
            Ok(Ok(About { name: about.name, version: about.version, options: about.options }))
        })
    }

    fn setup<'a>(&'a self, store: &'a mut Store<GuestState>, guest: &'a Instance) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(indices) = &self.lifecycle else { return Ok(Ok(())) };
            let answer = indices.load(&mut *store, guest)?.call_setup(store).await?;
            Ok(answer.map_err(Failure::from))
        })
    }

    fn store<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        kind: Kind,
        batch: &'a [Delivery],
    ) -> Answer<'a, Vec<Refusal>> {
        Box::pin(async move {
            let answer = match kind {
                Kind::Return => {
                    let returns = self.returns.load(&mut *store, guest)?;
                    let keys: Vec<String> = batch.iter().map(key).collect();
                    let batch: Vec<_> = batch.iter().zip(&keys).filter_map(job_return).collect();
                    returns.call_store(store, &batch).await?
                }
                Kind::Load => {
                    let Some(indices) = &self.loads else { return Ok(Err(missing(Interface::Loads))) };
                    let loads = indices.load(&mut *store, guest)?;
                    let names = Names::of(batch);
                    loads.call_store(store, &names.loads()).await?
                }
                Kind::Minions => {
                    let Some(indices) = &self.loads else { return Ok(Err(missing(Interface::Loads))) };
                    let loads = indices.load(&mut *store, guest)?;
                    let names = Names::of(batch);
                    loads.call_add_minions(store, &names.minions()).await?
                }
                Kind::Event => {
                    let Some(indices) = &self.events else { return Ok(Err(missing(Interface::Events))) };
                    let events = indices.load(&mut *store, guest)?;
                    let keys: Vec<String> = batch.iter().map(key).collect();
                    let batch: Vec<_> = batch.iter().zip(&keys).filter_map(event).collect();
                    events.call_store(store, &batch).await?
                }
            };
            let refusals = answer.map(|refusals| refusals.into_iter().map(Refusal::from).collect());
            Ok(refusals.map_err(Failure::from))
        })
    }

    question!(get_load, call_get_load, (jid: &'a str), Option<String>);
    question!(get_jid, call_get_jid, (jid: &'a str), Vec<MinionReturn>);
    question!(get_fun, call_get_fun, (fun: &'a str), Vec<MinionReturn>);
    question!(get_jids, call_get_jids, (limit: Option<u32>), Vec<Job>);
    question!(get_minions, call_get_minions, (), Vec<String>);
    question!(clean, call_clean, (before: u64), u64);
}

/// An answer in the host's own words.
struct Own<T>(T);

impl From<Option<String>> for Own<Option<String>> {
    fn from(load: Option<String>) -> Self {
        Self(load)
    }
}

impl From<Vec<String>> for Own<Vec<String>> {
    fn from(minions: Vec<String>) -> Self {
        Self(minions)
    }
}

impl From<u64> for Own<u64> {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Vec<guest::job_cache::Job>> for Own<Vec<Job>> {
    fn from(jobs: Vec<guest::job_cache::Job>) -> Self {
        Self(jobs.into_iter().map(|guest::job_cache::Job { jid, load }| Job { jid, load }).collect())
    }
}

impl From<Vec<guest::job_cache::MinionReturn>> for Own<Vec<MinionReturn>> {
    fn from(returns: Vec<guest::job_cache::MinionReturn>) -> Self {
        let own = |guest::job_cache::MinionReturn { minion, jid, full }| MinionReturn { minion, jid, full };
        Self(returns.into_iter().map(own).collect())
    }
}

fn missing(interface: Interface) -> Failure {
    Failure::Reject(format!("the plugin does not export `{interface}`"))
}

fn key(delivery: &Delivery) -> String {
    match delivery.item() {
        Item::Return(item) => item.key.to_string(),
        Item::Event(item) => item.key.to_string(),
        Item::Load(_) | Item::Minions(_) => String::new(),
    }
}

fn job_return<'a>((delivery, key): (&'a Delivery, &'a String)) -> Option<wit::JobReturn<'a>> {
    let Item::Return(item) = delivery.item() else { return None };
    Some(wit::JobReturn {
        jid: &item.jid,
        minion: &item.minion,
        fun: &item.fun,
        success: item.success,
        retcode: item.retcode,
        value: item.value(),
        full: &item.full,
        key,
        accepted: delivery.accepted,
        redelivered: delivery.redelivered,
    })
}

fn event<'a>((delivery, key): (&'a Delivery, &'a String)) -> Option<wit::Event<'a>> {
    let Item::Event(item) = delivery.item() else { return None };
    Some(wit::Event {
        tag: &item.tag,
        data: item.data(),
        master: item.master.as_deref().unwrap_or_default(),
        key,
        accepted: delivery.accepted,
        redelivered: delivery.redelivered,
    })
}

/// The minions of loads as slices, which the records borrow.
struct Names<'a>(Vec<(&'a Delivery, Vec<&'a str>)>);

impl<'a> Names<'a> {
    fn of(batch: &'a [Delivery]) -> Self {
        let minions = |delivery: &'a Delivery| match delivery.item() {
            Item::Load(item) => item.minions.iter().map(String::as_str).collect(),
            Item::Minions(item) => item.minions.iter().map(String::as_str).collect(),
            Item::Return(_) | Item::Event(_) => Vec::new(),
        };
        Self(batch.iter().map(|delivery| (delivery, minions(delivery))).collect())
    }

    fn loads(&self) -> Vec<wit::JobLoad<'_>> {
        let mut loads = Vec::with_capacity(self.0.len());
        for (delivery, minions) in &self.0 {
            let Item::Load(item) = delivery.item() else { continue };
            loads.push(wit::JobLoad {
                jid: &item.jid,
                fun: &item.fun,
                full: &item.full,
                minions,
                accepted: delivery.accepted,
                redelivered: delivery.redelivered,
            });
        }
        loads
    }

    fn minions(&self) -> Vec<wit::JobMinions<'_>> {
        let mut all = Vec::with_capacity(self.0.len());
        for (delivery, minions) in &self.0 {
            let Item::Minions(item) = delivery.item() else { continue };
            all.push(wit::JobMinions {
                jid: &item.jid,
                minions,
                accepted: delivery.accepted,
                redelivered: delivery.redelivered,
            });
        }
        all
    }
}

impl From<wit::Failure> for Failure {
    fn from(failure: wit::Failure) -> Self {
        match failure {
            wit::Failure::Retry(retry) => Failure::Retry {
                message: words::line(&retry.message),
                after: retry.after.map(|millis| Duration::from_millis(millis.into())),
            },
            wit::Failure::Reject(reason) => Failure::Reject(words::line(&reason)),
        }
    }
}

impl From<wit::Refusal> for Refusal {
    fn from(refusal: wit::Refusal) -> Self {
        Refusal { index: refusal.index as usize, failure: refusal.failure.into() }
    }
}
