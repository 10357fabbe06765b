//! How following Salt's event bus is going, and what was missed of it:
//! `GET /v1/salt-events`, `DELETE /v1/salt-events/gaps?until=`.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::App;
use super::problem::Problem;
use super::returners::{Params, moment};

#[derive(Debug, Default, Serialize)]
pub(super) struct SaltEvents {
    /// None where the configuration names no bus.
    address: Option<String>,
    connected_since: Option<String>,
    /// Why it is not connected.
    error: Option<String>,
    /// Returns that were stored without what Salt left out of them, since the host started.
    trimmed: u64,
    /// When nothing was heard, oldest first.
    gaps: Vec<Gap>,
}

#[derive(Debug, Serialize)]
struct Gap {
    from: String,
    until: String,
    /// The same in milliseconds since 1970-01-01 UTC.
    from_ms: u64,
    until_ms: u64,
}

/// None where the host never followed a bus.
pub(super) fn look(app: &App) -> Option<SaltEvents> {
    let at = |millis| moment(UNIX_EPOCH + Duration::from_millis(millis));
    let gaps: Vec<Gap> = app
        .salt_events
        .gaps
        .known()
        .into_iter()
        .map(|gap| Gap { from: at(gap.from), until: at(gap.until), from_ms: gap.from, until_ms: gap.until })
        .collect();
    match app.salt_events.standing() {
        Some(standing) => Some(SaltEvents {
            address: Some(standing.address),
            connected_since: standing.connected.map(moment),
            error: standing.error,
            trimmed: app.salt_events.trimmed(),
            gaps,
        }),
        None if gaps.is_empty() => None,
        None => Some(SaltEvents { gaps, ..SaltEvents::default() }),
    }
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    params: Result<Query<Params>, QueryRejection>,
) -> Result<Json<SaltEvents>, Problem> {
    let Query(Params {}) = params?;
    Ok(Json(look(&app).unwrap_or_default()))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Until {
    /// In milliseconds since 1970-01-01 UTC.
    until: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Filled {
    filled: usize,
}

/// The gaps that ended by then are filled: whoever filled them says so.
pub(super) async fn filled(
    State(app): State<Arc<App>>,
    params: Result<Query<Until>, QueryRejection>,
) -> Result<Json<Filled>, Problem> {
    let Query(Until { until }) = params?;
    Ok(Json(Filled { filled: app.salt_events.gaps.filled(until) }))
}
