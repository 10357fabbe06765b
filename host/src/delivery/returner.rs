//! A returner that runs: a plugin, what it is granted, and how it is fed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::build::Connections;
use crate::config::{Limits, ReturnerSettings};
use crate::items::Kind;
use crate::plugins::{CallError, Grants, Instance, Interface, LogBudget, Need, Plugin};

/// How long a look at its servers may take that only asks whether they are back.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) struct Returner {
    /// Its name is that of its lane.
    pub(crate) settings: ReturnerSettings,
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) grants: Arc<Grants>,
    /// What is granted, by the host's names.
    pub(super) open: Connections,
    /// When `setup` was run again last; held while it runs.
    pub(super) set_up_again: tokio::sync::Mutex<Option<Instant>>,
    /// Bounds what the host says of its plugin's refusals and traps.
    pub(super) told: LogBudget,
    readers: Readers,
}

/// Instances that answer questions, apart from those that store.
struct Readers {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Instance>>,
}

impl Returner {
    pub(super) fn new(
        settings: ReturnerSettings,
        plugin: Arc<Plugin>,
        grants: Grants,
        open: Connections,
    ) -> Self {
        // At least one, as the configuration has seen to.
        let readers = (settings.limits.instances as usize).saturating_sub(settings.delivery.workers).max(1);
        let readers = Readers { permits: Arc::new(Semaphore::new(readers)), idle: Mutex::default() };
        Self {
            told: LogBudget::new(settings.limits.log_lines.max(1)),
            settings,
            plugin,
            grants: Arc::new(grants),
            open,
            set_up_again: tokio::sync::Mutex::default(),
            readers,
        }
    }

    /// Whether the other one would do the same in the same way.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_connections = || {
            self.open.len() == other.open.len()
                && self
                    .open
                    .iter()
                    .all(|(name, open)| other.open.get(name).is_some_and(|other| other.is_same(open)))
        };
        self.settings == other.settings && self.plugin.sha256 == other.plugin.sha256 && same_connections()
    }

    /// Grants that its plugin never uses, and imports that nothing is granted for.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let (name, plugin) = (&self.settings.name, self.plugin.title());
        let needs = self.plugin.needs();
        let unused = |key: String, interface: &str| {
            format!(
                "`{key}` is never used: `{plugin}` does not import `{interface}`\n  hint: take the grant back"
            )
        };
        let mut warnings = Vec::new();
        let mut granted = Vec::new();
        for (guest, connection) in &self.grants.connections {
            let Some(need) = Need::of_connection(connection.kind()) else { continue };
            granted.push(need);
            if !needs.contains(&need) {
                warnings.push(unused(format!("{name}.connections.{guest}"), need.interface()));
            }
        }
        for (guest, narrowed) in &self.grants.narrowed {
            let never: Vec<String> = narrowed.never().iter().map(|command| format!("`{command}`")).collect();
            if !never.is_empty() {
                warnings.push(format!(
                    "`{name}.connections.{guest}` grants {}, which is never let through: no such command is known here, or it \
                     is about the server or scripts\n  hint: see how it is spelt; a plugin that needs one of the latter has \
                     to be granted the whole connection",
                    never.join(", ")
                ));
            }
        }
        let ReturnerSettings { allow_http, allow_connect, .. } = &self.settings;
        for (key, peers, uses) in [
            ("allow_http", allow_http, &[Need::Http, Need::WasiHttp][..]),
            ("allow_connect", allow_connect, &[Need::WasiSockets]),
        ] {
            if !peers.is_empty() {
                granted.extend(uses);
                if !uses.iter().any(|need| needs.contains(need)) {
                    warnings.push(unused(format!("{name}.{key}"), uses[0].interface()));
                }
            }
        }
        // Python's and other languages' tools import all of the contract, whatever is used.
        if [Need::Sql, Need::Redis, Need::Mongo, Need::Http].iter().all(|need| needs.contains(need)) {
            return warnings;
        }
        let denied = needs.into_iter().filter(|need| need.is_telling() && !granted.contains(need));
        let denied: Vec<String> = denied.map(|need| format!("`{}`", need.interface())).collect();
        if !denied.is_empty() {
            warnings.push(format!(
                "`{plugin}` imports {}, and `{name}` is granted nothing for it: such calls are denied",
                denied.join(", ")
            ));
        }
        warnings
    }

    /// Asks an instance that does nothing else. A question waits for those before it as long
    /// as a call may take.
    pub(crate) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut Instance) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let Limits { time: waited, instances, .. } = self.settings.limits;
        let permit = Arc::clone(&self.readers.permits).acquire_owned();
        let Ok(Ok(seat)) = tokio::time::timeout(waited, permit).await else {
            return Err(CallError::Busy { instances, waited });
        };
        let idle = self.readers.idle.lock().pop();
        // The instance has the seat, and not who asks: they may leave, and it ends later.
        let mut instance = match idle {
            Some(mut instance) => {
                instance.seat(Some(seat));
                instance
            }
            None => Instance::seated(&self.plugin, &self.grants, Some(seat)).await?,
        };
        let answer = question(&mut instance).await;
        if !instance.is_broken() && !instance.has_grown() {
            // In this order: whoever gets the seat finds the instance.
            let mut idle = self.readers.idle.lock();
            instance.seat(None);
            idle.push(instance);
        }
        answer
    }

    /// Whether the host may say another line in which its plugin has a part; says how many were
    /// left out before.
    pub(super) fn may_tell(&self) -> bool {
        let left_out = self.told.speaks();
        if let Some(lines @ 1..) = left_out {
            tracing::warn!(
                returner = self.settings.name,
                "{lines} lines about its plugin's refusals and traps were left out (`limits.log_lines`)"
            );
        }
        left_out.is_some()
    }

    /// The interface that stores items of a kind.
    pub(crate) fn interface(kind: Kind) -> Interface {
        match kind {
            Kind::Return => Interface::Returns,
            Kind::Load | Kind::Minions => Interface::Loads,
            Kind::Event => Interface::Events,
        }
    }

    pub(crate) fn stores(&self, kind: Kind) -> bool {
        self.plugin.exports.contains(&Self::interface(kind))
    }

    pub(crate) async fn instance(&self) -> Result<Instance, CallError> {
        Instance::new(&self.plugin, &self.grants).await
    }

    /// Runs the plugin's `setup` in an instance that does nothing else.
    pub(crate) async fn set_up(&self) -> Result<(), CallError> {
        self.instance().await?.setup().await
    }

    /// Which of the servers that it is granted answer.
    pub(super) async fn servers_answer(&self) -> Vec<bool> {
        let Grants { connections, http, peers, .. } = &*self.grants;
        let bounded = |look: BoxFuture<'static, bool>| async {
            tokio::time::timeout(LOOK, look).await.unwrap_or(false)
        };
        let connections = connections.values().map(|connection| {
            let connection = Arc::clone(connection);
            async move { connection.check().await.is_ok() }.boxed()
        });
        let http = http.iter().flat_map(|http| http.hosts());
        let hosts = http.chain(peers.iter().flat_map(|peers| peers.hosts()));
        let hosts = hosts.map(|host| async move { host.takes_connections().await }.boxed());
        join_all(connections.chain(hosts).map(bounded)).await
    }

    /// Whether an item may be tried again and again to find out what its servers think of it: who
    /// is told of something by HTTP or a socket may be told each time.
    pub(super) fn can_be_probed(&self) -> bool {
        let Grants { connections, http, peers, .. } = &*self.grants;
        !connections.is_empty() && http.is_none() && peers.is_none()
    }
}
