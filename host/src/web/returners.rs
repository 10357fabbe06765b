//! How the returners are doing: `GET /v1/returners`, `/readyz`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::App;
use super::problem::Problem;
use crate::delivery::{Lane, LastError, Returner};

#[derive(Debug, Serialize)]
pub(super) struct Returners {
    returners: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    state: &'static str,
    /// Items that are not stored yet.
    depth: u64,
    /// The age of the oldest of them, in milliseconds.
    oldest_ms: Option<u64>,
    stored: u64,
    retried: u64,
    /// Items that wait on their own to be tried again.
    waiting: usize,
    dead: u64,
    last_error: Option<Failure>,
    plugin: Plugin,
    grants: Grants,
    limits: Limits,
}

#[derive(Debug, Serialize)]
struct Failure {
    message: String,
    at: String,
    next_try_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Plugin {
    name: String,
    version: Option<String>,
    sha256: String,
    file: Option<PathBuf>,
    exports: Vec<&'static str>,
    imports: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Grants {
    connections: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Limits {
    memory: u64,
    time_ms: u64,
    cpu_ms: u64,
    host_call_ms: u64,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Returners> {
    Json(Returners { returners: app.lanes.all().iter().map(|lane| entry(lane)).collect() })
}

/// Ready as long as intake takes items: a server that is away is a lane's trouble.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match app.journal.append(Vec::new()).await {
        Ok(_) => Ok("ready\n"),
        Err(error) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    }
}

fn entry(lane: &Lane) -> Entry {
    let returner = &lane.returner;
    let standing = lane.standing();
    let status = standing.status;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Entry {
        name: returner.name.clone(),
        state: status.state.name(),
        depth: standing.depth,
        oldest_ms: status.oldest.map(|accepted| now.saturating_sub(accepted)),
        stored: status.stored,
        retried: status.retried,
        waiting: status.waiting(),
        dead: status.dead,
        last_error: status.last_error.map(failure),
        plugin: plugin(returner),
        grants: Grants { connections: returner.connections.clone() },
        limits: limits(returner),
    }
}

fn failure(error: LastError) -> Failure {
    let at = humantime::format_rfc3339_millis(error.at).to_string();
    let wait = error.next_try.and_then(|next| next.checked_duration_since(Instant::now()));
    Failure { message: error.message, at, next_try_ms: wait.map(|wait| wait.as_millis() as u64) }
}

fn plugin(returner: &Returner) -> Plugin {
    let plugin = &returner.plugin;
    Plugin {
        name: plugin.name.clone(),
        version: plugin.version.clone(),
        sha256: plugin.sha256.clone(),
        file: plugin.file.clone(),
        exports: plugin.exports.iter().map(|interface| interface.name()).collect(),
        imports: plugin.imports.clone(),
    }
}

fn limits(returner: &Returner) -> Limits {
    let limits = &returner.grants.limits;
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    Limits {
        memory: limits.memory,
        time_ms: millis(limits.time),
        cpu_ms: millis(limits.cpu),
        host_call_ms: millis(limits.host_call),
    }
}
