//! HTTP to the origins that a returner is allowed.
//!
//! # Invariants
//! - No request leaves for an origin (scheme, host and port) that is not listed; redirects
//!   are answers like others, and no proxy of the environment's is asked.
//! - A name is no way to this machine or its network link ([`names`]).
//! - What the host adds to a request does not come back in its answer, as it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use memchr::memmem;
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

/// What the host has added to a request, and an answer may repeat.
struct Secrets(Vec<Vec<u8>>);

/// What stands in the place of one.
const HIDDEN: &[u8] = b"[REDACTED]";

/// A shorter one stands in answers by chance.
const SHORTEST: usize = 4;

impl Secrets {
    /// The values, and what stands in them behind the name of a scheme: `Bearer`, `Basic`.
    fn of(own: &HeaderMap) -> Self {
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        for value in own.values().map(HeaderValue::as_bytes) {
            let behind = value.iter().position(|byte| *byte == b' ').map(|at| value[at + 1..].trim_ascii());
            secrets.extend([Some(value), behind].into_iter().flatten().map(<[u8]>::to_vec));
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // The whole one before its parts.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// Whether one stands in a header's name, which has lost its case.
    fn are_in_name(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|secret| memmem::find(name, &secret.to_ascii_lowercase()).is_some())
    }

    /// An answer without them.
    fn hidden(&self, mut answer: Vec<u8>) -> Vec<u8> {
        for secret in &self.0 {
            let finder = memmem::Finder::new(secret);
            // Never longer than what it hides: the answer has its bound.
            let mark = &HIDDEN[..HIDDEN.len().min(secret.len())];
            if finder.find(&answer).is_none() {
                continue;
            }
            let (mut without, mut rest) = (Vec::with_capacity(answer.len()), answer.as_slice());
            while let Some(at) = finder.find(rest) {
                without.extend_from_slice(&rest[..at]);
                without.extend_from_slice(mark);
                rest = &rest[at + secret.len()..];
            }
            without.extend_from_slice(rest);
            answer = without;
        }
        answer
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

#[cfg(test)]
mod tests {
    use super::*;

    fn client(origins: &[&str]) -> HttpClient {
        client_within(origins, Duration::from_secs(5))
    }

    fn client_within(origins: &[&str], time: Duration) -> HttpClient {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let answer = AnswerBounds { bytes: 1 << 20, rows: 1 };
        let bounds = HttpBounds { time, answer, requests: 2 };
        HttpClient::new("audit", &origins, &Headers::new(), bounds, &Names::new()).unwrap()
    }

    async fn get(
        client: &HttpClient,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<HttpResponse, HttpError> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request =
            HttpRequest { method: "GET".to_owned(), url: url.to_owned(), headers, body: Vec::new() };
        client.send(request).await
    }

    #[tokio::test]
    async fn only_a_listed_origin_is_asked() {
        let client = client(&["https://hooks.example.com", "http://127.0.0.1:8080/"]);
        for url in [
            "http://hooks.example.com/",
            "https://hooks.example.com:8443/",
            "https://hooks.example.com.evil.example/",
            "https://hooks.example.com@evil.example/",
            "http://127.0.0.1/",
            "http://localhost:8080/",
            "http://[::1]:8080/",
            "file:///etc/passwd",
            "no url",
        ] {
            let error = get(&client, url, &[]).await.err().expect("it is refused");
            assert!(
                !error.retryable
                    && (error.message.contains("not allowed") || error.message.contains("no URL")),
                "{url}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn no_more_requests_than_allowed_are_under_way_and_who_waited_for_that_is_told() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", silent.local_addr().expect("an address"));
        let client = client_within(&[&url], Duration::from_millis(500));
        let held = std::cell::RefCell::new(Vec::new());
        let server = async {
            // Held and never answered.
            while let Ok((stream, _)) = silent.accept().await {
                held.borrow_mut().push(stream);
            }
        };
        let late = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            get(&client, &url, &[]).await
        };
        let look = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            held.borrow().len()
        };
        let requests = async { tokio::join!(get(&client, &url, &[]), get(&client, &url, &[]), late, look) };
        let (one, two, three, under_way) = tokio::select! {
            () = server => unreachable!("it accepts for ever"),
            answers = requests => answers,
        };
        for (answer, limit) in [(one, false), (two, false), (three, true)] {
            let error = answer.err().expect("nobody answers");
            assert_eq!(error.message.contains("`limits.requests`"), limit, "{error}");
            assert!(error.retryable, "{error}");
        }
        assert_eq!(under_way, 2);
    }

    #[test]
    fn what_the_host_has_added_is_hidden_in_answers() {
        let own = |name, value| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        let secrets = Secrets::of(&own(reqwest::header::AUTHORIZATION, "Bearer s3cret-token"));
        for (answer, told) in [
            ("Authorization: Bearer s3cret-token", "Authorization: [REDACTED]"),
            ("a s3cret-token, s3cret-tokens", "a [REDACTED], [REDACTED]s"),
            ("Bearer of s3cret", "Bearer of s3cret"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8(secrets.hidden(answer.into())).as_deref(), Ok(told));
        }
        for (name, holds) in [("X-S3cret-TOKEN", true), ("xs3cret-token1", true), ("X-S3cret", false)] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            assert_eq!(secrets.are_in_name(&name), holds, "{name}");
        }
        let upper = Secrets::of(&own(reqwest::header::AUTHORIZATION, "Basic QWxhZGRpbg"));
        assert!(upper.are_in_name(&HeaderName::from_static("x-qwxhzgrpbg")));
        let little = Secrets::of(&own(reqwest::header::COOKIE, "a=b=c"));
        assert_eq!(little.hidden(b"<a=b=c>".to_vec()), b"<[REDA>");
        let short = Secrets::of(&own(reqwest::header::COOKIE, "a=1"));
        assert_eq!(short.hidden(b"a=1".to_vec()), b"a=1");
    }

    #[tokio::test]
    async fn a_header_that_is_named_after_a_secret_does_not_come() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let added = BTreeMap::from([("authorization".to_owned(), "Bearer S3cret-Token".into())]);
        let origins = Headers::from([(url.clone(), added)]);
        let plain = client(&[&url]);
        let client =
            HttpClient::new("audit", std::slice::from_ref(&url), &origins, plain.bounds, &plain.names);
        let client = client.expect("good settings");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0);
            }
            let answer = b"HTTP/1.1 200 OK\r\nX-S3cret-Token: 1\r\nX-Own: 2\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("it is read");
        };
        let (answer, ()) = tokio::join!(get(&client, &url, &[]), server);
        let names: Vec<String> =
            answer.expect("an answer").headers.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["x-own", "content-length"]);
    }

    #[tokio::test]
    async fn a_request_has_bounds() {
        let client = client(&["http://127.0.0.1:9"]);
        let url = "http://127.0.0.1:9/".to_owned();
        let many: Vec<(String, String)> =
            (0..40_000).map(|number| (format!("x-{number}"), String::new())).collect();
        let long = vec![("x".to_owned(), "x".repeat(MOST_HEADER_BYTES))];
        for (headers, url, said) in [
            (many, url.clone(), "40000 headers"),
            (long, url.clone(), "bytes of headers"),
            (Vec::new(), url + &"x".repeat(MOST_URL), "bytes of a URL"),
        ] {
            let request = HttpRequest { method: "GET".to_owned(), url, headers, body: Vec::new() };
            let error = client.send(request).await.err().expect("it is refused");
            assert!(!error.retryable && error.message.contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn the_hosts_own_headers_are_its_own() {
        let client = client(&["http://127.0.0.1:9"]);
        for name in ["Host", "content-length", "Transfer-Encoding", "bad name"] {
            let error =
                get(&client, "http://127.0.0.1:9/", &[(name, "x")]).await.err().expect("it is refused");
            assert!(!error.retryable, "{name}: {error}");
        }
        for method in ["TRACE", "trace", "Track", "CONNECT", "no method"] {
            let (method, url) = (method.to_owned(), "http://127.0.0.1:9/".to_owned());
            let request = HttpRequest { method, url, headers: Vec::new(), body: Vec::new() };
            let error = client.send(request).await.err().expect("it is refused");
            assert!(!error.retryable && error.message.contains("no method that can be used"), "{error}");
        }
        let error = get(&client, "http://127.0.0.1:9/secret-token", &[]).await.err().expect("nobody listens");
        assert!(error.retryable && !error.message.contains("secret-token"), "{error}");
    }
}
