//! How the journal is doing: `/readyz`, and a part of `GET /v1/returners`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::App;
use super::problem::Problem;
use crate::delivery;
use crate::journal::{AppendError, Journal as Queue, JournalError};
use crate::telemetry;

/// How long the journal may take to say that it takes items in. A disk that hangs must
/// not make whoever asks hang too.
const PROBE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
pub(super) struct Journal {
    bytes: u64,
    /// `host.max_journal`.
    limit: u64,
    taking_in: bool,
    /// Why not.
    refuses: Option<Refusal>,
    /// None before the first one.
    commits: Option<Commits>,
    /// What is kept for those returners that returns asked for by `ret_kwargs`.
    asked_for: AskedFor,
}

#[derive(Debug, Serialize)]
struct AskedFor {
    bytes: u64,
    limit: u64,
    refuses: Option<Refusal>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    /// One word, as in the metrics.
    reason: &'static str,
    message: String,
    /// Where it is full, the returner that is furthest behind; none where dead letters and keys
    /// fill it.
    behind: Option<String>,
}

/// How long the newest commits took: written and flushed.
#[derive(Debug, Serialize)]
struct Commits {
    count: usize,
    median_ms: f64,
    slowest_ms: f64,
}

/// Ready as long as intake takes items: a server that is away is a lane's trouble.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    match refusal(&app.journal).await {
        None => Ok("ready\n"),
        Some(refusal) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, refusal.message)),
    }
}

pub(super) async fn look(app: &App) -> Result<Journal, JournalError> {
    let metrics = &app.metrics.journal;
    let refuses = refusal(&app.journal).await;
    Ok(Journal {
        bytes: metrics.bytes(),
        limit: metrics.limit(),
        taking_in: refuses.is_none(),
        refuses,
        commits: metrics.commits().map(Commits::from),
        asked_for: app.lanes.asked_for().await?.into(),
    })
}

/// Why the journal takes nothing in, if it does not.
pub(super) async fn refusal(journal: &Queue) -> Option<Refusal> {
    match tokio::time::timeout(PROBE, journal.append(Vec::new())).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.into()),
        Err(_) => {
            let bound = humantime::format_duration(PROBE);
            let message = format!("the journal did not answer within {bound}");
            Some(Refusal { reason: "slow", message, behind: None })
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let (reason, message) = (error.reason(), error.to_string());
        let behind = if let AppendError::Full { behind, .. } = error { behind } else { None };
        Self { reason, message, behind }
    }
}

impl From<delivery::AskedFor> for AskedFor {
    fn from(asked: delivery::AskedFor) -> Self {
        let delivery::AskedFor { bytes, limit, refuses } = asked;
        let refuses =
            refuses.map(|error| Refusal { reason: "quota", message: error.to_string(), behind: None });
        Self { bytes, limit, refuses }
    }
}

impl From<telemetry::Commits> for Commits {
    fn from(commits: telemetry::Commits) -> Self {
        // To the microsecond: a disk's flush takes some dozens of them.
        let millis = |duration: Duration| duration.as_micros() as f64 / 1000.0;
        Self { count: commits.count, median_ms: millis(commits.median), slowest_ms: millis(commits.slowest) }
    }
}
