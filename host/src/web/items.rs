//! Taking items in: `POST /v1/returns`, `/v1/loads`, `/v1/events` and
//! `/v1/jobs/{jid}/minions`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::BodyDataStream;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use super::App;
use super::problem::Problem;
use super::receiving::{SHORT, Share};
use super::seats::Origin;
use super::serve::Arrival;
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
    /// Returners that are to store all of it yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<String>,
    /// Returners that have rejected some of it: those are dead letters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<String>,
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
    body: Body,
) -> Result<Response, Problem> {
    let Path(jid) = jid?;
    let params = parameters(params)?;
    let receipt = app.intake.take_minions(&jid, body.bytes, params.named()).await;
    answer(&app, receipt, params.wait).await
}

async fn take(app: &App, kind: Kind, params: Parameters, body: Body) -> Result<Response, Problem> {
    let params = parameters(params)?;
    let receipt = app.intake.take(kind, body.bytes, params.named()).await;
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
        rejected: Vec::new(),
    };
    let Some(Wait::Stored) = wait else { return Ok((StatusCode::ACCEPTED, Json(answer)).into_response()) };
    let bound = app.lanes.settings().host.barrier;
    let unstored = receipt.stored(bound).await?;
    let stored = unstored.waiting.is_empty() && unstored.rejected.is_empty();
    (answer.waiting, answer.rejected, answer.stored) = (unstored.waiting, unstored.rejected, Some(stored));
    let status = if stored { StatusCode::OK } else { StatusCode::ACCEPTED };
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

/// The whole body, or a problem that says how long it may be. Its bytes count as being taken in
/// until the last that has them drops them: that is whoever reads them, also when the client has
/// left.
pub(super) struct Body {
    pub(super) bytes: Bytes,
}

/// A body, and its share of what may be taken in at once, where it is long.
struct Received {
    bytes: BytesMut,
    _share: Option<Share>,
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromRequest<Arc<App>> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        match tokio::time::timeout(BODY_TIME, receive(request, app)).await {
            Ok(body) => body,
            Err(_) => {
                app.metrics.intake.refused("too-slow");
                let detail = format!("the body did not arrive within {BODY_TIME:?}");
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail).hint("send it in parts"))
            }
        }
    }
}

async fn receive(request: Request, app: &App) -> Result<Body, Problem> {
    if let Some(encoding) = encoding(request.headers()) {
        app.metrics.intake.refused("encoded");
        let detail = format!("the body is encoded (`Content-Encoding: {encoding}`)");
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
        return Err(problem.hint("send the JSON as it is, without that header"));
    }
    let max = app.lanes.settings().host.max_body;
    let too_large = || {
        app.metrics.intake.refused("too-large");
        let detail = format!("the body is longer than {} (`host.max_body`)", bytesize::ByteSize(max));
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).hint("send it in parts")
    };
    let from = request.extensions().get::<Origin>().copied();
    let arrival = request.extensions().get::<Arrival>().cloned();
    let mut share: Option<Share> = None;
    let mut body = request.into_body().into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = next(&mut body, share.as_ref(), app).await? {
        if (bytes.len() + chunk.len()) as u64 > max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
        if bytes.len() <= SHORT {
            continue;
        }
        let (share, more) = match &mut share {
            Some(share) => (share, chunk.len()),
            none => (none.insert(app.receiving.share(from)), bytes.len()),
        };
        if !share.grow(more, max) {
            app.metrics.intake.refused("busy");
            return Err(Problem::busy("too much is being received at once"));
        }
    }
    if share.as_ref().is_some_and(|share| !share.arrived()) {
        return Err(lost(app));
    }
    arrival.iter().for_each(Arrival::arrived);
    Ok(Body { bytes: Bytes::from_owner(Received { bytes, _share: share }) })
}

/// What was done to a body that the host would have to undo (RFC 9110, 8.4).
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("?").trim();
    Some(encoding).filter(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity"))
}

/// The next piece of a body; a problem where another has its room now.
async fn next(body: &mut BodyDataStream, share: Option<&Share>, app: &App) -> Result<Option<Bytes>, Problem> {
    let left = async {
        match share {
            Some(share) => share.lost().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = left => Err(lost(app)),
        chunk = body.next() => chunk.transpose().map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the body was broken off: {error}"))
        }),
    }
}

fn lost(app: &App) -> Problem {
    app.metrics.intake.refused("too-slow");
    Problem::busy("the body came slowly, and its room was needed for those of others")
}

#[cfg(test)]
mod tests {
    use super::super::receiving::Receiving;
    use super::*;

    #[test]
    fn a_body_counts_as_long_as_somebody_reads_it() {
        let (of, largest) = (Receiving::default(), 256 << 20);
        let share = of.share(None);
        assert!(share.grow(400 << 20, largest));
        let bytes = Bytes::from_owner(Received { bytes: BytesMut::from("four"), _share: Some(share) });
        let body = Body { bytes };
        let reader = body.bytes.clone();
        drop(body);
        assert_eq!(&*reader, b"four");
        assert!(!of.share(None).grow(200 << 20, largest), "the client has left");
        drop(reader);
        assert!(of.share(None).grow(200 << 20, largest));
    }
}
