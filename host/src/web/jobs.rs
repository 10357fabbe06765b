//! Questions about what was stored, and deleting what is old.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::App;
use super::problem::Problem;
use crate::plugins::MinionReturn;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    returner: Option<String>,
    limit: Option<u32>,
    older_than: Option<String>,
}

type Parameters = Result<Query<Params>, QueryRejection>;

#[derive(Debug, Serialize)]
struct Job {
    jid: String,
    load: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct Return {
    minion: String,
    jid: String,
    full: Box<RawValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Debug, Serialize)]
pub(super) struct Returns {
    returns: Vec<Return>,
}

pub(super) async fn jobs(State(app): State<Arc<App>>, params: Parameters) -> Result<Json<Jobs>, Problem> {
    let Query(params) = params?;
    let jobs = app.job_cache.jobs(params.returner.as_deref(), params.limit).await?;
    let jobs = jobs.into_iter().map(|job| Ok(Job { jid: job.jid, load: raw(job.load)? }));
    Ok(Json(Jobs { jobs: jobs.collect::<Result<_, Problem>>()? }))
}

pub(super) async fn load(
    State(app): State<Arc<App>>,
    jid: Result<Path<String>, PathRejection>,
    params: Parameters,
) -> Result<Json<impl Serialize>, Problem> {
    let Path(jid) = jid?;
    let Query(params) = params?;
    match app.job_cache.load(params.returner.as_deref(), &jid).await? {
        Some(load) => Ok(Json(Job { jid, load: raw(load)? })),
        None => Err(Problem::new(StatusCode::NOT_FOUND, format!("the job `{jid}` has no load"))
            .hint(format!("`/v1/jobs/{jid}/returns` has what was returned to it, also without one"))),
    }
}

pub(super) async fn returns(
    State(app): State<Arc<App>>,
    jid: Result<Path<String>, PathRejection>,
    params: Parameters,
) -> Result<Json<Returns>, Problem> {
    let Path(jid) = jid?;
    let Query(params) = params?;
    list(app.job_cache.returns(params.returner.as_deref(), &jid).await?)
}

pub(super) async fn function(
    State(app): State<Arc<App>>,
    fun: Result<Path<String>, PathRejection>,
    params: Parameters,
) -> Result<Json<Returns>, Problem> {
    let Path(fun) = fun?;
    let Query(params) = params?;
    list(app.job_cache.function(params.returner.as_deref(), &fun).await?)
}

pub(super) async fn minions(
    State(app): State<Arc<App>>,
    params: Parameters,
) -> Result<Json<serde_json::Value>, Problem> {
    let Query(params) = params?;
    let minions = app.job_cache.minions(params.returner.as_deref()).await?;
    Ok(Json(json!({ "minions": minions })))
}

pub(super) async fn clean(
    State(app): State<Arc<App>>,
    params: Parameters,
) -> Result<Json<serde_json::Value>, Problem> {
    let Query(params) = params?;
    let bad = |detail: String| {
        Problem::new(StatusCode::BAD_REQUEST, detail).hint("for example `DELETE /v1/jobs?older_than=30d`")
    };
    let older_than = params.older_than.ok_or_else(|| bad("`older_than` is missing".to_owned()))?;
    let age =
        humantime::parse_duration(&older_than).map_err(|error| bad(format!("`older_than`: {error}")))?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let before = since_epoch.saturating_sub(age).as_millis() as u64;
    let deleted = app.job_cache.clean(params.returner.as_deref(), before).await?;
    Ok(Json(json!({ "deleted": deleted })))
}

fn list(returns: Vec<MinionReturn>) -> Result<Json<Returns>, Problem> {
    let returns = returns
        .into_iter()
        .map(|found| Ok(Return { minion: found.minion, jid: found.jid, full: raw(found.full)? }));
    Ok(Json(Returns { returns: returns.collect::<Result<_, Problem>>()? }))
}

/// What a store gave back as JSON goes out as it is.
pub(super) fn raw(text: String) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(text).map_err(|error| {
        Problem::new(StatusCode::BAD_GATEWAY, format!("what is stored is not JSON: {error}"))
    })
}
