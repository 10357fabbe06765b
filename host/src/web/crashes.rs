//! `GET /v1/crashes`, `/v1/crashes/{id}`: guests that were stopped.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::App;
use super::problem::Problem;
use crate::delivery::{Report, Summary};

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    crashes: Vec<Summary>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Listed>, Problem> {
    Ok(Json(Listed { crashes: read(move || app.lanes.crashes.list()).await? }))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Report>, Problem> {
    let Path(id) = id?;
    let found = read(move || app.lanes.crashes.show(id)).await?;
    found.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no report of a crash {id}"))
            .hint("the newest 50 are kept; `/v1/crashes` lists them")
    })
}

/// They are files.
async fn read<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
