//! HTTP to the origins that a returner is allowed.
//!
//! # Invariants
//! - No request leaves for an origin (scheme, host and port) that is not listed; redirects
//!   are answers like others, and no proxy of the environment's is asked.
//! - A name is no way to this machine or its network link ([`names`]).
//! - What the host adds to a request does not come back in its answer, as it was sent.

mod secrets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::OpenError;
use super::answer::{AnswerBounds, AnswerSize};
use super::names::{Host, Names};
use crate::config::{Headers, Limits, OWN_HEADERS};

use secrets::Secrets;

/// Sends requests for one returner.
pub(crate) struct HttpClient {
    client: Client,
    origins: BTreeSet<String>,
    /// What goes with every request, by origin.
    headers: BTreeMap<String, HeaderMap>,
    bounds: HttpBounds,
    requests: Semaphore,
    names: Arc<Names>,
}

/// The most headers of one request, and bytes of them and of its URL.
const MOST_HEADERS: usize = 256;
const MOST_HEADER_BYTES: usize = 64 << 10;
const MOST_URL: usize = 64 << 10;

/// The bounds of one returner's requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HttpBounds {
    /// Of one request, its answer read.
    pub(crate) time: Duration,
    pub(crate) answer: AnswerBounds,
    /// How many are under way at once; further ones wait.
    pub(crate) requests: usize,
}

impl HttpBounds {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            time: limits.host_call,
            answer: AnswerBounds { bytes: limits.answer, rows: limits.rows },
            requests: limits.requests as usize,
        }
    }
}

pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// A value that is no text is left out, and so is a name that holds what the host has added.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct HttpError {
    pub(crate) message: String,
    pub(crate) retryable: bool,
}

impl HttpError {
    fn wrong(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }

    fn outage(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: true }
    }
}

impl HttpClient {
    /// `origins` and `headers` as the configuration has them, checked; none is nothing allowed.
    pub(crate) fn new(
        returner: &str,
        origins: &[String],
        headers: &Headers,
        bounds: HttpBounds,
        names: &Arc<Names>,
    ) -> Result<Self, OpenError> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(Arc::clone(names))))
            .connect_timeout(bounds.time)
            .build();
        let client = client.map_err(|error| OpenError::new(returner, error))?;
        let known = |text: &String| Some(origin(&Url::parse(text).ok()?));
        // An origin can be written in two ways, each with headers.
        let mut own: BTreeMap<String, HeaderMap> = BTreeMap::new();
        for (text, headers) in headers {
            let Some(origin) = known(text) else { continue };
            own.entry(origin).or_default().extend(headers.iter().filter_map(|(name, secret)| {
                let mut value = HeaderValue::from_str(secret.expose()).ok()?;
                value.set_sensitive(true);
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
            }));
        }
        Ok(Self {
            client,
            origins: origins.iter().filter_map(known).collect(),
            headers: own,
            bounds,
            requests: Semaphore::new(bounds.requests),
            names: Arc::clone(names),
        })
    }

    /// How many requests may be under way at once.
    pub(crate) fn at_once(&self) -> usize {
        self.bounds.requests
    }

    /// Whether the origin of a URL is listed.
    pub(crate) fn allows(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.origins.contains(&origin(&url)))
    }

    /// Those of the origins.
    pub(crate) fn hosts(&self) -> Vec<Host> {
        let host = |origin: &String| {
            let url = Url::parse(origin).ok()?;
            Some(Host::new(
                url.host_str()?.trim_matches(['[', ']']),
                url.port_or_known_default()?,
                &self.names,
            ))
        };
        self.origins.iter().filter_map(host).collect()
    }

    /// Sends a request and reads the whole answer, within the bounds.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let size = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        for (what, size, bound) in [
            ("headers", request.headers.len(), MOST_HEADERS),
            ("bytes of headers", size, MOST_HEADER_BYTES),
            ("bytes of a URL", request.url.len(), MOST_URL),
        ] {
            if size > bound {
                return Err(HttpError::wrong(format!("{size} {what} are more than {bound}")));
            }
        }
        let url = Url::parse(&request.url)
            .map_err(|error| HttpError::wrong(format!("`{}` is no URL: {error}", request.url)))?;
        let origin = origin(&url);
        if !self.origins.contains(&origin) {
            let allowed: Vec<&str> = self.origins.iter().map(String::as_str).collect();
            let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            return Err(HttpError::wrong(format!("`{origin}` is not allowed; allowed: {allowed}")));
        }
        let HttpBounds { time, requests, .. } = self.bounds;
        let begun = Instant::now();
        let Ok(_permit) = timeout(time, self.requests.acquire()).await else {
            let message = format!("{requests} others (`limits.requests`) were under way for {time:?}");
            return Err(HttpError::outage(message));
        };
        let waited = begun.elapsed();
        let Ok(answer) = timeout(time.saturating_sub(waited), self.exchange(&origin, url, request)).await
        else {
            let mut message = format!("`{origin}` did not answer within {time:?}");
            if waited > time / 2 {
                message = format!(
                    "{message}, of which {waited:.1?} went by until one of {requests} (`limits.requests`) had ended"
                );
            }
            return Err(HttpError::outage(message));
        };
        answer
    }

    async fn exchange(
        &self,
        origin: &str,
        url: Url,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        // TRACE, and what servers take for it, would tell the guest what the host has added.
        let is_free = |method: &Method| {
            !["CONNECT", "TRACE", "TRACK"].iter().any(|kept| method.as_str().eq_ignore_ascii_case(kept))
        };
        let method = Method::from_bytes(request.method.as_bytes()).ok().filter(is_free);
        let wrong = || HttpError::wrong(format!("`{}` is no method that can be used", request.method));
        let method = method.ok_or_else(wrong)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let wrong = || HttpError::wrong(format!("the header `{name}` cannot be sent"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            if OWN_HEADERS.contains(&name) {
                return Err(HttpError::wrong(format!("the header `{name}` is the host's own to set")));
            }
            let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            headers.try_append(name.clone(), value).map_err(|_| wrong())?;
        }
        // In the place of what the guest says of the same name.
        let own = self.headers.get(origin).cloned().unwrap_or_default();
        let secrets = Secrets::of(&own);
        let sent = self.client.request(method, url).headers(headers).headers(own);
        let failed = |error: reqwest::Error| failed(origin, &error);
        let answer = sent.body(request.body).send().await.map_err(failed)?;
        let text = |value: &HeaderValue| {
            let value = secrets.hidden(value.as_bytes().to_vec());
            HeaderValue::from_bytes(&value).ok()?.to_str().ok().map(str::to_owned)
        };
        let headers = answer.headers().iter().filter(|(name, _)| !secrets.are_in_name(name));
        let headers = headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?)));
        let (status, headers) = (answer.status().as_u16(), headers.collect());
        let mut body = Vec::new();
        let mut held = AnswerSize::within(AnswerBounds { rows: u64::MAX, ..self.bounds.answer });
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(failed)?;
            held.add(chunk.len()).map_err(|error| HttpError::wrong(error.to_string()))?;
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status, headers, body: secrets.hidden(body) })
    }
}

/// What the innermost cause says, and never the whole URL, which may hold a token.
fn failed(origin: &str, error: &reqwest::Error) -> HttpError {
    let cause = std::iter::successors(std::error::Error::source(error), |error| error.source()).last();
    let cause = cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string);
    HttpError::outage(format!("`{origin}`: {cause}"))
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Looks names up, and leaves out where no name may lead.
struct Resolver(Arc<Names>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let names = Arc::clone(&self.0);
        Box::pin(async move {
            let found = names.look_up(name.as_str()).await?;
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
