//! `wasi:http`, for those who bring a library for it: the same requests to the same origins
//! as the contract's `http`.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::Semaphore;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtxView, WasiHttpHooks, WasiHttpView as _,
};

use super::http::{asked, error_page, shown};
use crate::config::OWN_HEADERS;
use crate::connections::{HttpClient, HttpRequest, HttpResponse};
use crate::plugins::asked::{Bench, Fault};
use crate::plugins::state::GuestState;

/// The largest body of a request, in bytes: it is sent when the guest has ended it.
const MOST_SENT: usize = 64 << 20;

/// The most bytes of one write to a body. Two of them wait in each body, which the guest may hold
/// as many of as it may hold resources, and send none.
const CHUNK: usize = 16 << 10;

/// The most bytes of the headers of one request, of which it may hold as many.
pub(in crate::plugins) const HEADERS: usize = 32 << 10;

/// The most bytes of a method and of an authority, which WASI's own implementation takes as long as
/// they are.
const WORD: usize = 4 << 10;

const TYPES: &str = "wasi:http/types@0.2.12";

/// Puts what bounds the words of a request in the place of WASI's own.
pub(in crate::plugins) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    type Request = Resource<HostOutgoingRequest>;
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, GuestState>, (request, method): (Request, Method)| {
            let length = if let Method::Other(word) = &method { word.len() } else { 0 };
            let set = |mut http: WasiHttpCtxView<'_>| http.set_method(request, method);
            Ok((if length > WORD { Err(()) } else { set(store.data_mut().http())? },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, GuestState>, (request, authority): (Request, Option<String>)| {
            let length = authority.as_ref().map_or(0, String::len);
            let set = |mut http: WasiHttpCtxView<'_>| http.set_authority(request, authority);
            Ok((if length > WORD { Err(()) } else { set(store.data_mut().http())? },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Sends the requests of one guest.
#[derive(Clone)]
pub(in crate::plugins) struct Requests {
    client: Option<Arc<HttpClient>>,
    bench: Option<Arc<dyn Bench>>,
    /// For a request from its body, which is collected here, to the answer's, which the guest
    /// reads when it likes: both are the host's memory.
    turns: Arc<Semaphore>,
}

/// How many turns there are.
fn at_once(client: Option<&HttpClient>) -> usize {
    client.map_or(1, HttpClient::at_once)
}

impl Requests {
    pub(in crate::plugins) fn new(client: Option<Arc<HttpClient>>, bench: Option<Arc<dyn Bench>>) -> Self {
        let turns = Arc::new(Semaphore::new(at_once(client.as_deref())));
        Self { client, bench, turns }
    }

    /// Whether a request has no answer yet, or one that the guest has not read.
    pub(in crate::plugins) fn are_under_way(&self) -> bool {
        self.turns.available_permits() < at_once(self.client.as_deref())
    }

    /// The answer to a request, as the contract's `http` gives it.
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let client = self.client.as_ref().filter(|client| client.allows(&request.url));
        let send = async |request| match client {
            Some(client) => {
                client.send(request).await.map_err(|error| Error::InternalError(Some(error.message)))
            }
            None => Err(Error::HttpRequestDenied),
        };
        let Some(bench) = &self.bench else { return send(request).await };
        let asked = asked(&request);
        let result = match bench.fault(&asked) {
            Some(Fault::Away) => Err(Error::ConnectionRefused),
            Some(Fault::Hangs) => Err(Error::ConnectionReadTimeout),
            Some(fault @ Fault::Refuses) => Err(Error::InternalError(Some(fault.message().to_owned()))),
            Some(within) if client.is_some() => error_page(within).ok_or(Error::HttpProtocolError),
            _ => match bench.respond(&request, client.is_some()) {
                Some(response) => Ok(response),
                None => send(request).await,
            },
        };
        bench.answered(
            &asked,
            &match &result {
                Ok(response) => shown(response),
                Err(error) => format!("error: {error:?}"),
            },
        );
        result
    }
}

/// Whether the rest of an exchange went well; there is none, the whole answer is read.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

type Answer = Result<(http::Response<WasiBody>, Rest), Error>;

impl WasiHttpHooks for Requests {
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    /// The host sets it.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let requests = self.clone();
        Box::new(async move { requests.exchange(request).await })
    }
}

impl Requests {
    async fn exchange(&self, request: http::Request<WasiBody>) -> Answer {
        let (head, body) = request.into_parts();
        let url = head.uri.to_string();
        // Before the body is waited for.
        let allowed = self.client.as_ref().is_some_and(|client| client.allows(&url));
        if !allowed && self.bench.is_none() {
            return Err(Error::HttpRequestDenied);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|closed| Error::InternalError(Some(closed.to_string())))?;
        let too_large = |_| Error::HttpRequestBodySize(Some(MOST_SENT as u64));
        let body = Limited::new(body, MOST_SENT).collect().await.map_err(too_large)?.to_bytes();
        let mut headers = Vec::new();
        for (name, value) in head.headers.iter().filter(|(name, _)| !OWN_HEADERS.contains(name)) {
            let value = value.to_str().map_err(|_| Error::HttpRequestHeaderSize {
                field_name: Some(name.to_string()),
                field_size: None,
            })?;
            headers.push((name.to_string(), value.to_owned()));
        }
        let method = head.method.to_string();
        let answer = self.answer(HttpRequest { method, url, headers, body: body.to_vec() }).await?;
        let mut response = http::Response::builder().status(answer.status);
        for (name, value) in answer.headers {
            response = response.header(name, value);
        }
        let never = |error: std::convert::Infallible| match error {};
        let body = Full::new(Bytes::from(answer.body)).map_err(never).map_frame(move |frame| {
            let _until_it_is_dropped = &turn;
            frame
        });
        let body = body.boxed_unsync();
        let response = response.body(body).map_err(|error| Error::InternalError(Some(error.to_string())))?;
        Ok((response, Box::new(std::future::ready(Ok(())))))
    }
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

    use super::*;
    use crate::plugins::state::RESOURCES;

    /// As a guest does to which nothing is granted.
    #[tokio::test]
    async fn bodies_that_nobody_sends_take_little() {
        let mut requests = Requests::new(None, None);
        let (mut held, mut bytes) = (Vec::new(), 0);
        for _ in 0..RESOURCES {
            let (chunks, size) =
                (requests.p2_outgoing_body_buffer_chunks(), requests.p2_outgoing_body_chunk_size());
            let (mut body, waiting) = HostOutgoingBody::new(StreamContext::Request, None, chunks, size);
            let mut stream = body.take_output_stream().expect("its stream");
            while let Ok(room @ 1..) = stream.check_write() {
                stream.write(Bytes::from(vec![7; room])).expect("there is room");
                bytes += room;
            }
            held.push((body, stream, waiting));
        }
        assert!(bytes >= RESOURCES * CHUNK && bytes + RESOURCES * HEADERS <= 64 << 20, "{bytes}");
    }
}
