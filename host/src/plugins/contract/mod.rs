//! The versions of the contract that the host speaks, each in a file of its own.
//!
//! A component exports the interfaces of one version and is called as that one says; what it
//! imports may be of any. The rest of the host knows items, failures and answers in its own
//! words, so a version that comes is a file more, and a component that was built for an older
//! one goes on working. (Numbers after the second dot are additions: wasmtime links those.)

#[cfg(test)]
mod next;
pub(super) mod v0_1;

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Linker};

use super::calls::Delivery;
use super::load::Interface;
use super::state::GuestState;
use crate::items::{Failure, Kind, Refusal};

/// The contract's package.
pub(super) const PACKAGE: &str = "salt:returner";

/// Those that this host speaks, oldest first.
pub(crate) static SPOKEN: [Version; 1] = [v0_1::VERSION];

/// One version of the contract.
pub(crate) struct Version {
    pub(crate) number: &'static str,
    /// Gives guests what they import of it. Linking grants nothing: each call asks the grants.
    link: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
    find: Find,
}

/// Finds the exports that a component has of those of a version.
type Find = fn(&InstancePre<GuestState>, &BTreeSet<Interface>) -> wasmtime::Result<Box<dyn Exports>>;

/// What a guest answers, if it comes back.
pub(super) type Answer<'a, T> = BoxFuture<'a, wasmtime::Result<Result<T, Failure>>>;

/// The exports of a component, called as its version of the contract says. What a component
/// does not export is not called.
pub(super) trait Exports: Send + Sync {
    fn describe<'a>(&'a self, store: &'a mut Store<GuestState>, guest: &'a Instance) -> Answer<'a, About>;

    /// Ok where there is none.
    fn setup<'a>(&'a self, store: &'a mut Store<GuestState>, guest: &'a Instance) -> Answer<'a, ()>;

    /// Items of one kind.
    fn store<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        kind: Kind,
        batch: &'a [Delivery],
    ) -> Answer<'a, Vec<Refusal>>;

    fn get_load<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        jid: &'a str,
    ) -> Answer<'a, Option<String>>;

    fn get_jid<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        jid: &'a str,
    ) -> Answer<'a, Vec<MinionReturn>>;

    fn get_fun<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        fun: &'a str,
    ) -> Answer<'a, Vec<MinionReturn>>;

    fn get_jids<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        limit: Option<u32>,
    ) -> Answer<'a, Vec<Job>>;

    fn get_minions<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
    ) -> Answer<'a, Vec<String>>;

    /// `before` in milliseconds since 1970-01-01 UTC.
    fn clean<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        before: u64,
    ) -> Answer<'a, u64>;
}

/// What a component says of itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) options: Vec<String>,
}

/// A job of a job cache.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) jid: String,
    /// JSON, with `Minions` where minions are known.
    pub(crate) load: String,
}

/// A return of a job cache.
#[derive(Debug)]
pub(crate) struct MinionReturn {
    pub(crate) minion: String,
    pub(crate) jid: String,
    /// The whole return, as JSON.
    pub(crate) full: String,
}

impl Version {
    pub(super) fn link(&self, linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
        (self.link)(linker)
    }

    pub(super) fn find(
        &self,
        pre: &InstancePre<GuestState>,
        exports: &BTreeSet<Interface>,
    ) -> wasmtime::Result<Box<dyn Exports>> {
        (self.find)(pre, exports)
    }

    /// The name under which a component exports an interface of it.
    pub(super) fn export(&self, interface: Interface) -> String {
        format!("{PACKAGE}/{interface}@{}", self.number)
    }
}

/// The version of the contract in the name of an import or export, if it is one of it.
pub(super) fn version_in(name: &str) -> Option<&str> {
    let (_, version) = name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
    Some(version)
}
