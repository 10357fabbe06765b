//! `http`: requests to origins that the configuration allows.

use crate::connections::{HttpError, HttpRequest};
use crate::plugins::contract::salt::returner::http::{Error, Host, Request, Response};
use crate::plugins::state::GuestState;

impl Host for GuestState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        if let Err(message) = self.fits([request.body.len()]) {
            return Ok(Err(Error { message, retryable: false }));
        }
        let Request { method, url, headers, body } = request;
        self.note(|| format!("http: {method} {url}"), [&body]);
        let told = self.asked.take();
        if self.is_trial() {
            return Ok(Ok(Response { status: 200, headers: Vec::new(), body: Vec::new() }));
        }
        let request = HttpRequest { method, url, headers, body };
        let result = self
            .host_call(async |state| match &state.grants.http {
                Some(client) => client.send(request).await,
                None => Err(HttpError { message: "no HTTP is allowed".to_owned(), retryable: false }),
            })
            .await;
        self.tell(told, || match &result {
            Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => format!("error: {}", error.message),
        });
        Ok(match result {
            Ok(answer) => Ok(Response { status: answer.status, headers: answer.headers, body: answer.body }),
            Err(HttpError { message, retryable }) => {
                let returner = &self.grants.returner;
                let hint = if retryable { String::new() } else { format!(" (`{returner}.allow_http`)") };
                Err(Error { message: format!("{message}{hint}"), retryable })
            }
        })
    }
}
