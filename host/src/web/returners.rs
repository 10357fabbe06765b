//! How the returners and the journal are doing: `GET /v1/returners`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::configuration::Configuration;
use super::journal::{self, Journal};
use super::moments::{millis, moment, moment_of};
use super::problem::Problem;
use super::salt_events::{self, SaltEvents};
use super::{App, age};
use crate::delivery::{self, Lane, Orphan, Returner};
use crate::journal::now;

#[derive(Debug, Serialize)]
pub(super) struct Returners {
    returners: Vec<Entry>,
    /// What earlier configurations had and this one has not; their items are kept.
    orphaned: Vec<Orphaned>,
    configuration: Configuration,
    journal: Journal,
    /// Of a host that follows Salt's event bus, or did and missed something.
    salt_events: Option<SaltEvents>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    state: &'static str,
    /// Items that are not stored yet.
    depth: u64,
    /// The age of the oldest of them, in milliseconds.
    oldest_ms: Option<u64>,
    /// When the oldest of them was accepted.
    behind_since: Option<String>,
    stored: u64,
    retried: u64,
    dead: u64,
    failing: Option<Failing>,
    held: Option<Held>,
    last_error: Option<LastError>,
    went_back: Option<WentBack>,
    /// The last that its plugin wrote into the log as a warning.
    warning: Option<Warning>,
    plugin: Plugin,
    grants: Grants,
    limits: Limits,
}

/// Failures one after the other, with nothing that went well in between.
#[derive(Debug, Serialize)]
struct Failing {
    since: String,
    for_ms: u64,
    tries: u32,
    /// What it does next.
    next: String,
    /// How long until then, at the latest; none if it is being tried.
    next_try_ms: Option<u64>,
}

/// Items that wait to be tried again on their own. The rest is about the oldest of them.
#[derive(Debug, Serialize)]
struct Held {
    items: usize,
    tries: u32,
    reason: String,
    next_try_ms: Option<u64>,
}

/// Also of a returner that is well again.
#[derive(Debug, Serialize)]
struct LastError {
    message: String,
    /// It made an item a dead letter.
    of_dead_letter: bool,
    at: String,
    ago_ms: u64,
}

/// Its newest plugin was worse than the one before, which runs again.
#[derive(Debug, Serialize)]
struct WentBack {
    from: String,
    to: String,
    stored: u64,
    rejected: u64,
    reason: String,
    at: String,
}

#[derive(Debug, Serialize)]
struct Warning {
    message: String,
    at: String,
}

#[derive(Debug, Serialize)]
struct Orphaned {
    name: String,
    depth: u64,
    dead: u64,
}

#[derive(Debug, Serialize)]
struct Plugin {
    name: String,
    version: Option<String>,
    /// Of the contract, that it was built for.
    contract: &'static str,
    sha256: String,
    file: Option<PathBuf>,
    exports: Vec<&'static str>,
    imports: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Grants {
    connections: BTreeMap<String, String>,
    /// What of them, where that is not all.
    narrowed: BTreeMap<String, String>,
    allow_http: Vec<String>,
    /// The names of the headers that the host adds there.
    http_headers: BTreeMap<String, Vec<String>>,
    allow_connect: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Limits {
    memory: u64,
    time_ms: u64,
    cpu_ms: u64,
    host_call_ms: u64,
    answer: u64,
    rows: u64,
    statement: u64,
    requests: u64,
    log_lines: u64,
    instances: u64,
}

/// There are none, and none is overlooked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Json<Returners>, Problem> {
    let Query(Params {}) = params?;
    let mut returners = Vec::new();
    for lane in app.lanes.all() {
        returners.push(entry(&lane).await);
    }
    let orphaned = app.lanes.orphans().await?.into_iter();
    let orphaned = orphaned.map(|Orphan { name, depth, dead }| Orphaned { name, depth, dead }).collect();
    let configuration = app.configuration.look();
    let salt_events = salt_events::look(&app);
    Ok(Json(Returners {
        returners,
        orphaned,
        configuration,
        journal: journal::look(&app).await?,
        salt_events,
    }))
}

async fn entry(lane: &Lane) -> Entry {
    let returner = lane.returner();
    let backlog = lane.backlog().await;
    let status = backlog.status;
    Entry {
        name: lane.name().to_owned(),
        state: status.state.name(),
        depth: backlog.depth,
        oldest_ms: backlog.oldest.map(|oldest| millis(age(oldest))),
        behind_since: backlog.oldest.map(moment_of),
        stored: status.stored,
        retried: status.retried,
        dead: status.dead,
        failing: status.failing.map(Failing::from),
        held: status.held.map(Held::from),
        last_error: status.last_error.map(LastError::from),
        went_back: status.went_back.map(WentBack::from),
        warning: returner.grants.log.warning().map(|(message, at)| Warning { message, at: moment(at) }),
        plugin: plugin(&returner),
        grants: grants(&returner),
        limits: limits(&returner),
    }
}

impl From<delivery::WentBack> for WentBack {
    fn from(went: delivery::WentBack) -> Self {
        let delivery::WentBack { from, to, stored, rejected, reason, at } = went;
        Self { from, to, stored, rejected, reason, at: moment(at) }
    }
}

impl From<delivery::Failing> for Failing {
    fn from(failing: delivery::Failing) -> Self {
        Self {
            since: moment(failing.since),
            for_ms: millis(failing.lasted),
            tries: failing.tries,
            next: failing.next.to_string(),
            next_try_ms: failing.next_in.map(millis),
        }
    }
}

impl From<delivery::HeldItems> for Held {
    fn from(held: delivery::HeldItems) -> Self {
        // By the clock that says when it is tried.
        let wait = held.oldest.not_before.saturating_sub(now());
        Self {
            items: held.count,
            tries: held.oldest.tries,
            reason: held.oldest.reason.to_string(),
            next_try_ms: (wait > 0).then_some(wait),
        }
    }
}

impl From<delivery::LastError> for LastError {
    fn from(error: delivery::LastError) -> Self {
        let delivery::LastError { message, of_dead_letter, at, ago } = error;
        Self { message, of_dead_letter, at: moment(at), ago_ms: millis(ago) }
    }
}

fn plugin(returner: &Returner) -> Plugin {
    let plugin = &returner.plugin;
    Plugin {
        name: plugin.name.clone(),
        version: plugin.version.clone(),
        contract: plugin.contract,
        sha256: plugin.sha256.clone(),
        file: plugin.file.clone(),
        exports: plugin.exports.iter().map(|interface| interface.name()).collect(),
        imports: plugin.imports.clone(),
    }
}

fn grants(returner: &Returner) -> Grants {
    let narrowed = returner.settings.narrowed.iter();
    let headers = returner.settings.http_headers.iter();
    Grants {
        connections: returner.settings.connections.clone(),
        allow_http: returner.settings.allow_http.clone(),
        http_headers: headers
            .map(|(origin, headers)| (origin.clone(), headers.keys().cloned().collect()))
            .collect(),
        allow_connect: returner.settings.allow_connect.clone(),
        narrowed: narrowed.map(|(guest, narrowing)| (guest.clone(), narrowing.to_string())).collect(),
    }
}

fn limits(returner: &Returner) -> Limits {
    let limits = &returner.grants.limits;
    Limits {
        memory: limits.memory,
        time_ms: millis(limits.time),
        cpu_ms: millis(limits.cpu),
        host_call_ms: millis(limits.host_call),
        answer: limits.answer,
        rows: limits.rows,
        statement: limits.statement,
        requests: limits.requests,
        log_lines: limits.log_lines,
        instances: limits.instances,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_waits_by_the_journal_s_clock() {
        let held = |not_before| {
            let reason = "r".into();
            let oldest = crate::journal::Held { seq: 1, tries: 1, not_before, reason, redelivered: false };
            Held::from(delivery::HeldItems { count: 1, oldest }).next_try_ms
        };
        assert!(held(now() + 60_000).is_some_and(|wait| (50_000..=60_000).contains(&wait)));
        assert_eq!(held(now()), None);
    }
}
