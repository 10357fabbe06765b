//! `http`: requests to origins that the configuration allows.

use std::sync::Arc;

use crate::connections::{HttpError, HttpRequest, HttpResponse};
use crate::plugins::asked::{Asked, CallFailure, Fault};
use crate::plugins::contract::v0_1::salt::returner::http::{Error, Host, Request, Response};
use crate::plugins::state::{Grants, GuestState};

impl Host for GuestState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        let Request { method, url, headers, body } = request;
        let request = HttpRequest { method, url, headers, body };
        let asked = self.asked(|| asked(&request));
        let work = async |state: &mut Self, within: Option<Fault>| {
            state.fits([request.body.len()]).map_err(refused)?;
            exchange(Arc::clone(&state.grants), request, within).await
        };
        let result = self.answer_with(asked, work, shown).await;
        Ok(result.map(|HttpResponse { status, headers, body }| Response { status, headers, body }))
    }
}

/// Under what a returner is granted.
async fn exchange(
    grants: Arc<Grants>,
    request: HttpRequest,
    within: Option<Fault>,
) -> Result<HttpResponse, Error> {
    let allowed = grants.http.as_ref().is_some_and(|client| client.allows(&request.url));
    if let Some(response) = within.filter(|_| allowed).and_then(error_page) {
        return Ok(response);
    }
    if let Some(response) = grants.bench.as_ref().and_then(|bench| bench.respond(&request, allowed)) {
        return Ok(response);
    }
    let sent = match &grants.http {
        Some(client) => client.send(request).await,
        None => Err(HttpError { message: "no HTTP is allowed".to_owned(), retryable: false }),
    };
    sent.map_err(|HttpError { message, retryable }| {
        let hint = if retryable { String::new() } else { format!(" (`{}.allow_http`)", grants.returner) };
        Error { message: format!("{message}{hint}"), retryable }
    })
}

/// A request as a call of the host.
pub(super) fn asked(request: &HttpRequest) -> Asked {
    let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}").into_bytes());
    let handed: Vec<Vec<u8>> = headers.chain([request.body.clone()]).collect();
    Asked::one(format!("http.send {} {}", request.method, request.url), handed).by_http()
}

/// What a server answers that will not do what it is asked for.
pub(super) fn error_page(fault: Fault) -> Option<HttpResponse> {
    let body = fault.message().as_bytes().to_vec();
    fault.status().map(|status| HttpResponse { status, headers: Vec::new(), body })
}

/// A response for people.
pub(super) fn shown(response: &HttpResponse) -> String {
    format!("{} {}", response.status, String::from_utf8_lossy(&response.body))
}

fn refused(message: String) -> Error {
    Error { message, retryable: false }
}

impl CallFailure for Error {
    fn of(fault: Fault) -> Self {
        Self { message: fault.message().to_owned(), retryable: fault.is_retryable() }
    }

    fn message(&self) -> &str {
        &self.message
    }
}
