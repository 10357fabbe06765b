//! `DELETE /v1/lanes/{name}`: what is kept for a returner that is not in the configuration,
//! its dead letters included.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::App;
use super::problem::Problem;
use crate::delivery::DropError;
use crate::journal::DeadFilter;

#[derive(Debug, Serialize)]
pub(super) struct Dropped {
    dropped: u64,
    /// Dead letters that are gone with them.
    dead_letters: u64,
}

/// A client that leaves does not break it off.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Dropped>, Problem> {
    let Path(name) = name?;
    let dropped = tokio::spawn(async move {
        let dropped = app.lanes.drop_orphan(&name).await?;
        let filter = DeadFilter { returner: Some(name), ..DeadFilter::default() };
        let dead_letters = app.dead_letters.drop_all(filter).await?;
        Ok::<_, DropError>(Dropped { dropped, dead_letters })
    });
    let broke =
        |error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("dropping it broke: {error}"));
    Ok(Json(dropped.await.map_err(broke)??))
}

impl From<DropError> for Problem {
    fn from(error: DropError) -> Self {
        let detail = error.to_string();
        match error {
            DropError::Runs(_) => Problem::new(StatusCode::CONFLICT, detail)
                .hint("take it out of the configuration first, and reload"),
            DropError::Unknown { known, .. } => Problem::new(StatusCode::NOT_FOUND, detail).known(known),
            DropError::Journal(error) => error.into(),
        }
    }
}
