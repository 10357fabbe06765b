//! `http`: requests to origins that the configuration allows.
//!
//! No origin can be allowed yet, so every request is denied.

use crate::plugins::contract::salt::returner::http::{Error, Host, Request, Response};
use crate::plugins::state::GuestState;

impl Host for GuestState {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        let origin = match url::Url::parse(&request.url) {
            Ok(url) => url.origin().ascii_serialization(),
            Err(error) => return Ok(Err(Error { message: format!("not a URL: {error}"), retryable: false })),
        };
        let message = format!("denied: `{origin}` is not allowed to `{}`", self.grants.returner);
        Ok(Err(Error { message, retryable: false }))
    }
}
