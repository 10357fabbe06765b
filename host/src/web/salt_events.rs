//! How following Salt's event bus is going, and what was missed of it:
//! `GET /v1/salt-events`, `DELETE /v1/salt-events/gaps?from=&until=`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::App;
use super::moments::moment_of;
use super::problem::Problem;
use super::returners::Params;
use crate::intake;

#[derive(Debug, Default, Serialize)]
pub(super) struct SaltEvents {
    /// None where the configuration names no bus.
    address: Option<String>,
    connected_since: Option<String>,
    /// Whether a message has come since then.
    hears: bool,
    /// From when on nothing is heard now, in milliseconds since 1970-01-01 UTC.
    missing_since_ms: Option<u64>,
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

/// None where the host never followed a bus, and nothing was left out elsewhere.
pub(super) fn look(app: &App) -> Option<SaltEvents> {
    let gaps: Vec<Gap> = app
        .salt_events
        .gaps
        .known()
        .into_iter()
        .map(|gap| Gap {
            from: moment_of(gap.from),
            until: moment_of(gap.until),
            from_ms: gap.from,
            until_ms: gap.until,
        })
        .collect();
    match app.salt_events.link() {
        Some(link) => Some(SaltEvents {
            address: Some(link.address),
            connected_since: link.connected.map(moment_of),
            hears: link.hears,
            missing_since_ms: app.salt_events.missing_since(),
            error: link.error,
            trimmed: app.salt_events.trimmed(),
            gaps,
        }),
        None => {
            // A master's job cache gets trimmed returns without a bus.
            let trimmed = app.salt_events.trimmed();
            (!gaps.is_empty() || trimmed > 0).then(|| SaltEvents { gaps, trimmed, ..SaltEvents::default() })
        }
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
pub(super) struct Filled {
    /// As the list of gaps has it.
    from: u64,
    until: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    filled: bool,
}

/// This gap is filled: whoever filled it says so.
pub(super) async fn filled(
    State(app): State<Arc<App>>,
    params: Result<Query<Filled>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(Filled { from, until }) = params?;
    let filled = tokio::task::block_in_place(|| app.salt_events.gaps.filled(intake::Gap { from, until }));
    Ok(Json(Answer { filled }))
}
