//! The configuration of the running host: `POST /v1/reload`, and what became of the last one.
//!
//! Reading it again is the daemon's work; this asks for it and waits.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::App;
use super::problem::Problem;
use crate::config::Difference;

/// Asks for the configuration to be read again.
#[derive(Debug)]
pub(crate) struct Order {
    /// Only say what would change.
    pub(crate) dry_run: bool,
    /// What becomes of it, or everything that is wrong.
    pub(crate) reply: oneshot::Sender<Result<Reread, String>>,
}

/// A version that is good.
#[derive(Debug)]
pub(crate) struct Reread {
    /// What differs from what ran before.
    pub(crate) differences: Vec<Difference>,
    /// What is likely not meant as it is.
    pub(crate) warnings: Vec<String>,
}

/// What the host says of its configuration.
#[derive(Debug)]
pub(crate) struct Reloads {
    orders: mpsc::Sender<Order>,
    last: Mutex<Last>,
}

#[derive(Debug, Clone)]
struct Last {
    files: Vec<String>,
    taken: SystemTime,
    error: Option<(String, SystemTime)>,
}

/// How it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Configuration {
    /// In the order in which they were read; none for the defaults.
    files: Vec<String>,
    /// Since when the present version runs.
    since: String,
    /// Why a newer one was refused, until a good one comes.
    pub(super) error: Option<Refusal>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    message: String,
    at: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// Whether it is in effect now.
    applied: bool,
    changes: Vec<Change>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    subject: String,
    change: String,
    widens: bool,
}

impl Reloads {
    pub(crate) fn new(files: Vec<String>, orders: mpsc::Sender<Order>) -> Self {
        Self { orders, last: Mutex::new(Last { files, taken: SystemTime::now(), error: None }) }
    }

    /// A version was taken.
    pub(crate) fn taken(&self, files: Vec<String>) {
        *self.last.lock() = Last { files, taken: SystemTime::now(), error: None };
    }

    /// It was read again, and is what runs.
    pub(crate) fn unchanged(&self) {
        self.last.lock().error = None;
    }

    /// A version was refused.
    pub(crate) fn refused(&self, message: &str) {
        self.last.lock().error = Some((message.to_owned(), SystemTime::now()));
    }

    pub(super) fn look(&self) -> Configuration {
        let Last { files, taken, error } = self.last.lock().clone();
        let shown = |at| humantime::format_rfc3339_seconds(at).to_string();
        let error = error.map(|(message, at)| Refusal { message, at: shown(at) });
        Configuration { files, since: shown(taken), error }
    }
}

pub(super) async fn reload(
    State(app): State<Arc<App>>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(Params { dry_run }) = params?;
    let (reply, answer) = oneshot::channel();
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping");
    app.configuration.orders.send(Order { dry_run, reply }).await.map_err(|_| stopping())?;
    match answer.await.map_err(|_| stopping())? {
        Ok(Reread { differences, warnings }) => {
            let applied = !dry_run && !differences.is_empty();
            let change =
                |Difference { subject, change, widens }: Difference| Change { subject, change, widens };
            let changes = differences.into_iter().map(change).collect();
            Ok(Json(Answer { applied, changes, warnings }))
        }
        // Each error has its own hint.
        Err(errors) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{errors}\nnothing was changed: the version before it runs on"),
        )),
    }
}
