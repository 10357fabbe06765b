//! Taking items in: `POST /v1/returns`, `/v1/loads`, `/v1/events` and
//! `/v1/jobs/{jid}/minions`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::App;
use super::problem::Problem;
use crate::intake::{Receipt, Refused};
use crate::items::Kind;

/// The time that a client has to send the body of a request: connections are few.
const BODY_TIME: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// Names, separated by commas.
    returner: Option<String>,
    wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wait {
    Stored,
}

#[derive(Debug, Serialize)]
struct Answer {
    accepted: usize,
    duplicates: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assigned: Vec<Assigned>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<bool>,
    /// Returners that have not stored all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Assigned {
    index: usize,
    jid: Arc<str>,
}

type Parameters = Result<Query<Params>, QueryRejection>;

pub(super) async fn returns(
    State(app): State<Arc<App>>,
    params: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    take(&app, Kind::Return, params, body).await
}

pub(super) async fn loads(
    State(app): State<Arc<App>>,
    params: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    take(&app, Kind::Load, params, body).await
}

pub(super) async fn events(
    State(app): State<Arc<App>>,
    params: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    take(&app, Kind::Event, params, body).await
}

pub(super) async fn minions(
    State(app): State<Arc<App>>,
    jid: Result<Path<String>, PathRejection>,
    params: Parameters,
    Body(body): Body,
) -> Result<Response, Problem> {
    let Path(jid) = jid?;
    let params = parameters(params)?;
    let receipt = app.intake.take_minions(&jid, &body, params.named().as_deref()).await;
    answer(&app, receipt, params.wait).await
}

async fn take(app: &App, kind: Kind, params: Parameters, Body(body): Body) -> Result<Response, Problem> {
    let params = parameters(params)?;
    let receipt = app.intake.take(kind, body, params.named().as_deref()).await;
    answer(app, receipt, params.wait).await
}

async fn answer(
    app: &App,
    receipt: Result<Receipt, Refused>,
    wait: Option<Wait>,
) -> Result<Response, Problem> {
    let mut receipt = receipt?;
    let assigned = std::mem::take(&mut receipt.assigned);
    let mut answer = Answer {
        accepted: receipt.accepted,
        duplicates: receipt.duplicates,
        assigned: assigned.into_iter().map(|(index, jid)| Assigned { index, jid }).collect(),
        stored: None,
        waiting: Vec::new(),
    };
    let Some(Wait::Stored) = wait else { return Ok((StatusCode::ACCEPTED, Json(answer)).into_response()) };
    let bound = app.lanes.settings().host.barrier;
    answer.waiting = match tokio::time::timeout(bound, receipt.stored()).await {
        Ok(behind) => behind,
        Err(_) => receipt.waiting(),
    };
    answer.stored = Some(answer.waiting.is_empty());
    let status = if answer.waiting.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)).into_response())
}

impl Params {
    fn named(&self) -> Option<Vec<String>> {
        let names = self.returner.as_deref()?.split(',').map(str::trim).filter(|name| !name.is_empty());
        Some(names.map(str::to_owned).collect())
    }
}

fn parameters(params: Parameters) -> Result<Params, Problem> {
    match params {
        Ok(Query(params)) if params.named().is_some_and(|names| names.is_empty()) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "`returner` names no returner"))
        }
        Ok(Query(params)) => Ok(params),
        Err(rejection) => Err(rejection.into()),
    }
}

/// The whole body, or a problem that says how long it may be.
pub(super) struct Body(Bytes);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let Ok(body) = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, app)).await else {
            app.metrics.intake.refused("too-slow");
            let detail = format!("the body did not arrive within {BODY_TIME:?}");
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).hint("send it in parts"));
        };
        match body {
            Ok(body) => Ok(Self(body)),
            Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
                app.metrics.intake.refused("too-large");
                let bound = bytesize::ByteSize(app.max_body);
                let detail = format!("the body is longer than {bound} (`host.max_body`)");
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).hint("send it in parts"))
            }
            Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, error.body_text())),
        }
    }
}
