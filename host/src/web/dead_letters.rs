//! Dead letters: `GET`, `DELETE /v1/dead-letters`, `GET /v1/dead-letters/{id}`,
//! `POST /v1/dead-letters/replay`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::App;
use super::jobs::raw;
use super::moments::{millis, moment_of};
use super::problem::Problem;
use crate::journal::{DeadFilter, JournalError, KeptDeadLetter, now};

/// How many a list has if it is not asked for another number, and at most.
const LISTED: usize = 100;
const MOST_LISTED: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// Ids, separated by commas.
    id: Option<String>,
    returner: Option<String>,
    /// Words of the reason.
    reason: Option<String>,
    older_than: Option<String>,
    newer_than: Option<String>,
    /// Every one, where nothing else says which.
    #[serde(default)]
    all: bool,
    /// The last id of the page before.
    after: Option<i64>,
    limit: Option<usize>,
}

type Parameters = Result<Query<Params>, QueryRejection>;

#[derive(Debug, Serialize)]
pub(super) struct Listed {
    dead_letters: Vec<Entry>,
    /// There are more: ask again with this as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    id: i64,
    returner: String,
    kind: &'static str,
    title: String,
    reason: String,
    /// The plugin that rejected it, and its version.
    plugin: String,
    tries: u32,
    at: String,
    accepted: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Whole {
    #[serde(flatten)]
    entry: Entry,
    /// The last that the plugin printed.
    stderr: String,
    item: Box<RawValue>,
}

pub(super) async fn list(State(app): State<Arc<App>>, params: Parameters) -> Result<Json<Listed>, Problem> {
    let Query(params) = params?;
    let limit = params.limit.unwrap_or(LISTED).clamp(1, MOST_LISTED);
    let mut found = app.dead_letters.list(params.filter(&app).await?, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|last| last.id).filter(|_| more);
    Ok(Json(Listed { dead_letters: found.iter().map(entry).collect(), next }))
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    id: Result<Path<i64>, PathRejection>,
) -> Result<Json<Whole>, Problem> {
    let Path(id) = id?;
    let found = app.dead_letters.show(id).await?;
    let found =
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no dead letter {id}")))?;
    let entry = entry(&found.letter);
    Ok(Json(Whole { entry, stderr: found.stderr, item: raw(found.body)? }))
}

pub(super) async fn replay(
    State(app): State<Arc<App>>,
    params: Parameters,
) -> Result<Json<serde_json::Value>, Problem> {
    let filter = params?.chosen(&app).await?;
    let replayed = to_its_end(async move { app.dead_letters.replay(filter).await }).await?;
    Ok(Json(json!({ "replayed": replayed })))
}

pub(super) async fn remove(
    State(app): State<Arc<App>>,
    params: Parameters,
) -> Result<Json<serde_json::Value>, Problem> {
    let filter = params?.chosen(&app).await?;
    let dropped = to_its_end(async move { app.dead_letters.drop_all(filter).await }).await?;
    Ok(Json(json!({ "dropped": dropped })))
}

/// Does a change to its end, also where the client no longer waits: the journal and the
/// lanes must hear of the same.
async fn to_its_end(
    change: impl Future<Output = Result<u64, JournalError>> + Send + 'static,
) -> Result<u64, Problem> {
    let ended = tokio::spawn(change).await;
    ended
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        .map_err(Problem::from)
}

impl Params {
    async fn filter(&self, app: &App) -> Result<DeadFilter, Problem> {
        let bad = |name: &str, reason: &dyn std::fmt::Display| {
            Problem::new(StatusCode::BAD_REQUEST, format!("`{name}`: {reason}"))
        };
        let ago = |name: &str, age: &Option<String>| match age {
            Some(age) => match humantime::parse_duration(age) {
                Ok(age) => Ok(Some(now().saturating_sub(millis(age)))),
                Err(error) => Err(bad(name, &error).hint("for example `2h` or `30d`")),
            },
            None => Ok(None),
        };
        // An empty text would fit every one.
        for (name, value) in [("returner", &self.returner), ("reason", &self.reason)] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(bad(name, &"it is empty"));
            }
        }
        // Nobody is told that a returner has none because its name is misspelt.
        if let Some(name) = &self.returner
            && let Err(unknown) = app.lanes.get(name)
            && !app.dead_letters.had_lane(name).await?
        {
            return Err(unknown.into());
        }
        let ids = self.id.iter().flat_map(|ids| ids.split(',')).map(|id| id.trim().parse::<i64>());
        Ok(DeadFilter {
            returner: self.returner.clone(),
            reason: self.reason.clone(),
            before: ago("older_than", &self.older_than)?,
            since: ago("newer_than", &self.newer_than)?,
            after: self.after.unwrap_or(0),
            ids: ids.collect::<Result<_, _>>().map_err(|error| bad("id", &error))?,
        })
    }

    /// As [`filter`](Self::filter), for what changes them: nobody means all by saying
    /// nothing.
    async fn chosen(&self, app: &App) -> Result<DeadFilter, Problem> {
        let named = [&self.id, &self.returner, &self.reason, &self.older_than, &self.newer_than];
        if !self.all && named.iter().all(|name| name.is_none()) {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "nothing says which dead letters are meant");
            return Err(problem.hint(
                "name them by `id`, `returner`, `reason`, `older_than` or `newer_than`, or say `all=true`",
            ));
        }
        self.filter(app).await
    }
}

fn entry(letter: &KeptDeadLetter) -> Entry {
    Entry {
        id: letter.id,
        returner: letter.returner.clone(),
        kind: letter.kind.name(),
        title: letter.title.clone(),
        reason: letter.reason.clone(),
        plugin: letter.plugin.clone(),
        tries: letter.tries,
        at: moment_of(letter.at),
        accepted: moment_of(letter.accepted),
    }
}
