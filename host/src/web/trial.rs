//! `POST /v1/trials`: a component on the last items of a returner, without a trace.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::App;
use super::items::Body;
use super::problem::Problem;
use crate::delivery::{Comparison, TrialError, Tried};

/// How many items, where nothing else is asked for.
const LAST: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    returner: String,
    last: Option<usize>,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    items: usize,
    /// Both were given them as items that come again.
    redelivered: bool,
    present: Side,
    other: Side,
    /// Items of which something else came; the first of them are told.
    differing: usize,
    outcomes: Vec<Outcome>,
    only_present: Vec<String>,
    only_other: Vec<String>,
    other_values: usize,
}

#[derive(Debug, Serialize)]
struct Side {
    plugin: String,
    stored: usize,
    refused: usize,
    failed: usize,
    calls: usize,
    took_ms: f64,
    memory: u64,
}

#[derive(Debug, Serialize)]
struct Outcome {
    item: String,
    present: String,
    other: String,
}

pub(super) async fn run(
    State(app): State<Arc<App>>,
    params: Result<Query<Params>, QueryRejection>,
    component: Body,
) -> Result<Json<Answer>, Problem> {
    let Query(Params { returner, last }) = params?;
    let compared = app.lanes.trial(&returner, component.bytes.to_vec(), last.unwrap_or(LAST)).await?;
    let Comparison {
        items,
        present,
        other,
        redelivered,
        outcomes,
        differing,
        only_present,
        only_other,
        other_values,
    } = compared;
    let outcome = |(item, present, other)| Outcome { item, present, other };
    Ok(Json(Answer {
        items,
        redelivered,
        present: side(&present),
        other: side(&other),
        differing,
        outcomes: outcomes.into_iter().map(outcome).collect(),
        only_present,
        only_other,
        other_values,
    }))
}

fn side(tried: &Tried) -> Side {
    Side {
        plugin: tried.plugin.clone(),
        stored: tried.stored,
        refused: tried.refused,
        failed: tried.failed,
        calls: tried.calls(),
        took_ms: tried.took.as_secs_f64() * 1e3,
        memory: tried.memory,
    }
}

impl From<TrialError> for Problem {
    fn from(error: TrialError) -> Self {
        let detail = error.to_string();
        match error {
            TrialError::Route(error) => error.into(),
            TrialError::Load(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            TrialError::Nothing(_) => Problem::new(StatusCode::CONFLICT, detail).hint(
                "send it something; the newest items of each returner are remembered until the host stops",
            ),
        }
    }
}
