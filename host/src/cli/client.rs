//! Talking to a running host.
//!
//! Promises: what is sent goes to the host that was named, and to no other that this one names;
//! and whatever listens there, a command ends.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client as Http, Identity, Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::body::{self, Unread};
use super::problem::Problem;
use super::{ConfigArgs, Failure, HostArgs, Reach};
use crate::config::Settings;
use crate::daemon;
use crate::web::PROBLEM;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a question may take, and the body of any answer; a host that hangs takes connections
/// and says nothing.
const ANSWER: Duration = Duration::from_secs(60);

/// How long a change may take: far longer than any that ends.
const CHANGE: Duration = Duration::from_hours(1);

/// The most characters that are shown of a place to which somebody sends.
const MOST_SHOWN: usize = 200;

/// How often a request is made again whose connection broke off under its body.
const AGAIN: usize = 5;

pub(super) struct Client {
    http: Http,
    base: String,
    /// For messages.
    place: String,
    token: Option<SecretString>,
}

/// What the host is shown, and what it has to show; PEM with the path that it is from.
#[derive(Default)]
pub(super) struct Shown<'a> {
    pub(super) token: Option<SecretString>,
    pub(super) ca: Option<(&'a Path, Vec<u8>)>,
    pub(super) identity: Option<(&'a Path, Vec<u8>)>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    Unreachable(String),
    Refused(Problem),
}

impl Client {
    /// The host of `--url`, or else the one that the configuration describes.
    pub(super) fn new(args: &HostArgs) -> Result<Self, Failure> {
        Self::of(&args.config, &args.reach)
    }

    /// As [`new`](Self::new), where the arguments are apart.
    pub(super) fn of(config: &ConfigArgs, reach: &Reach) -> Result<Self, Failure> {
        let (base, socket) = place(config, reach)?;
        let shown = Shown {
            token: token(reach)?,
            ca: reach.ca.as_deref().map(|path| Ok::<_, Failure>((path, read(path)?))).transpose()?,
            identity: reach
                .identity
                .as_deref()
                .map(|path| Ok::<_, Failure>((path, read(path)?)))
                .transpose()?,
        };
        Self::at(base, socket, shown)
    }

    /// The host at a URL, or behind a socket.
    pub(super) fn at(base: String, socket: Option<PathBuf>, shown: Shown<'_>) -> Result<Self, Failure> {
        let place = socket.as_ref().map_or_else(|| base.clone(), |path| format!("unix:{}", path.display()));
        let mut http = Http::builder().connect_timeout(CONNECT).no_proxy().redirect(Policy::none());
        if let Some(path) = socket {
            http = http.unix_socket(path);
        }
        if let Some((path, pem)) = shown.ca {
            let known = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(path, &error))?;
            http = http.tls_certs_only(known);
        }
        if let Some((path, pem)) = shown.identity {
            http = http.identity(Identity::from_pem(&pem).map_err(|error| unusable(path, &error))?);
        }
        let http = http.build().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self { http, base, place, token: shown.token })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.ask(path, query).await.map_err(Failure::from)
    }

    /// As [`get`](Self::get), for whoever must know why there is no answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, NoAnswer> {
        self.answer(self.request(Method::GET, path, query).send().await).await
    }

    /// As [`get`](Self::get); none where the host knows of nothing there.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<T>, Failure> {
        match self.ask(path, query).await {
            Ok(answer) => Ok(Some(answer)),
            Err(NoAnswer::Refused(problem)) if problem.is_a_hosts(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A request without a body.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.answer(self.request(method, path, query).send().await).await.map_err(Failure::from)
    }

    /// Who refuses a body for its length does so before all of it came. A host reads on for a while,
    /// and a proxy may close the connection: whether the answer is seen before the next write fails
    /// is chance. So it is asked again; of a body that did not go out whole nothing was taken.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<T, NoAnswer> {
        let body = Bytes::from(body);
        let send = || self.request(Method::POST, path, query).body(body.clone()).send();
        let mut sent = send().await;
        for _ in 0..AGAIN {
            match &sent {
                Err(error) if is_broken_off(error) => sent = send().await,
                _ => break,
            }
        }
        self.answer(sent).await
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = format!("{}{path}", self.base);
        for (at, (name, value)) in query.iter().enumerate() {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            url += &format!("{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        let within = if method == Method::GET { ANSWER } else { CHANGE };
        let request = self.http.request(method, url).timeout(within);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        sent: Result<Response, reqwest::Error>,
    ) -> Result<T, NoAnswer> {
        let response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(self.sent_elsewhere(&response));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_of_a_host = kind.is_some_and(|kind| kind.starts_with(PROBLEM.as_bytes()));
        let most = if status.is_success() { body::MOST } else { body::MOST_OF_A_PROBLEM };
        let body = body::read(response, most, ANSWER).await.map_err(|error| match error {
            Unread::Broken(error) => self.unreachable(&error),
            error => NoAnswer::Unreachable(format!("no answer from {}: {error}", self.place)),
        })?;
        if status.is_success() {
            let answer = serde_json::from_slice(&body);
            return answer.map_err(|error| {
                NoAnswer::Unreachable(format!("{} is no returner host: {error}", self.place))
            });
        }
        let problem = serde_json::from_slice(&body).ok().filter(|_| is_of_a_host);
        let problem = problem.unwrap_or_else(|| Problem {
            is_another: true,
            detail: format!("{} answers {status} in other words than a returner host", self.place),
            hint: Some("another program listens there, or stands in front of the host".to_owned()),
            ..Problem::default()
        });
        Err(NoAnswer::Refused(Problem { status, ..problem }))
    }

    fn unreachable(&self, error: &reqwest::Error) -> NoAnswer {
        let cause = cause(error).map_or_else(|| error.to_string(), ToString::to_string);
        NoAnswer::Unreachable(format!(
            "no answer from {}: {cause}\n  hint: is the host running (`returner serve`)? `--url` names another",
            self.place
        ))
    }

    /// A host never does that, and whoever does will do it again.
    fn sent_elsewhere(&self, response: &Response) -> NoAnswer {
        let status = response.status();
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        // It may be as long as whoever answers likes.
        let to: String = to.unwrap_or("nowhere").chars().take(MOST_SHOWN).collect();
        NoAnswer::Refused(Problem {
            status,
            detail: format!("{} sends elsewhere ({status}, to {to}), which is not followed", self.place),
            hint: Some("name the host itself by `--url`".to_owned()),
            ..Problem::default()
        })
    }
}

/// What an error comes of in the end.
fn cause(error: &reqwest::Error) -> Option<&(dyn Error + 'static)> {
    let mut cause = error.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause)
}

/// The other side closed the connection before all was written.
fn is_broken_off(error: &reqwest::Error) -> bool {
    let cause = cause(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// A URL, and a Unix socket if it is by that. What the configuration says of the socket
/// goes before the address: who may open it needs no token.
fn place(config: &ConfigArgs, reach: &Reach) -> Result<(String, Option<PathBuf>), Failure> {
    if let Some(url) = &reach.url {
        return checked(url);
    }
    let loaded = Settings::load(config.file().as_deref());
    let unread = |errors| {
        Failure::usage(format!(
            "{errors}\n  hint: `--url` (or RETURNER_URL) asks a host without its configuration"
        ))
    };
    let host = loaded.map_err(unread)?.settings.host;
    // One that runs knows better than a file that was changed since.
    if let Some(url) = daemon::noted(&host.data) {
        return Ok(reached(&url));
    }
    Ok(match (host.socket, host.listen) {
        (Some(socket), _) => (LOCAL.to_owned(), Some(socket.path)),
        (None, Some(address)) => {
            let scheme = if host.access.tls.is_some() { "https" } else { "http" };
            (format!("{scheme}://{}", reachable(address)), None)
        }
        (None, None) => (LOCAL.to_owned(), None),
    })
}

/// Where a host is found that says so itself.
fn reached(url: &str) -> (String, Option<PathBuf>) {
    let (base, socket) = named(url);
    let address = base.split_once("://").and_then(|(scheme, address)| Some((scheme, address.parse().ok()?)));
    match address {
        Some((scheme, address)) if socket.is_none() => (format!("{scheme}://{}", reachable(address)), None),
        _ => (base, socket),
    }
}

/// What stands for the host in a URL, where it is behind a socket.
const LOCAL: &str = "http://localhost";

/// The place that a URL names.
pub(super) fn named(url: &str) -> (String, Option<PathBuf>) {
    match url.strip_prefix("unix:") {
        Some(path) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            (LOCAL.to_owned(), Some(PathBuf::from(path)))
        }
        None => (url.trim_end_matches('/').to_owned(), None),
    }
}

/// As [`named`], of what a person wrote.
fn checked(url: &str) -> Result<(String, Option<PathBuf>), Failure> {
    let (base, socket) = named(url);
    let is_one = match &socket {
        Some(path) => !path.as_os_str().is_empty(),
        None => Url::parse(&base).is_ok_and(|url| matches!(url.scheme(), "http" | "https")),
    };
    match is_one {
        true => Ok((base, socket)),
        false => Err(Failure::usage(format!(
            "`{url}` (`--url`, `$RETURNER_URL`) is no URL of a host\n  hint: `http://HOST:PORT`, `https://HOST:PORT` or \
             `unix:PATH`, as in `http://127.0.0.1:4510`"
        ))),
    }
}

/// Who listens everywhere is found here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback =
            if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

fn token(reach: &Reach) -> Result<Option<SecretString>, Failure> {
    let variable = std::env::var("RETURNER_TOKEN").ok().filter(|token| !token.is_empty());
    let text = match (variable, &reach.token_file) {
        (Some(token), _) => token,
        (None, Some(path)) => String::from_utf8_lossy(&read(path)?).into_owned(),
        (None, None) => return Ok(None),
    };
    Ok(Some(SecretString::from(text.trim())).filter(|token| !token.expose_secret().is_empty()))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", path.display())))
}

fn unusable(path: &Path, error: &reqwest::Error) -> Failure {
    Failure::usage(format!("`{}` cannot be used: {error}\n  hint: it must be a PEM file", path.display()))
}

/// One part of a path, escaped.
pub(super) fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Unreachable(message) => Failure::unreachable(message),
            NoAnswer::Refused(problem) => Failure::refused(problem.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Else a web server's page of what it has not would be a job that is not there.
    #[tokio::test]
    async fn what_another_program_says_is_not_a_hosts() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let client = Client::at(base, None, Shown::default()).expect("a client");
        for (status, kind, is_a_hosts) in [
            ("404 Not Found", PROBLEM, true),
            ("404 Not Found", "application/json", false),
            ("502 Bad Gateway", "text/html", false),
        ] {
            let server = async {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(socket.read_u8().await.expect("a request"));
                }
                let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n");
                let answer = format!("{head}Content-Length: 16\r\n\r\n{{\"detail\": \"no\"}}");
                socket.write_all(answer.as_bytes()).await.expect("the client reads");
            };
            let (answer, ()) = tokio::join!(client.ask::<Value>("/v1/jobs/1", &[]), server);
            let Err(NoAnswer::Refused(problem)) = answer else { panic!("{answer:?}") };
            assert_eq!(problem.is_a_hosts(StatusCode::NOT_FOUND), is_a_hosts, "{problem}");
            assert_eq!(problem.may_pass(), status.starts_with("502"), "{problem}");
            assert_eq!(problem.to_string().contains("in other words"), !is_a_hosts, "{problem}");
        }
    }

    /// The items would go with it.
    #[tokio::test]
    async fn nothing_is_sent_to_where_a_server_sends() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let [here, there] = [TcpListener::bind("127.0.0.1:0").await, TcpListener::bind("127.0.0.1:0").await]
            .map(|listener| listener.expect("a free port"));
        let base = format!("http://{}", here.local_addr().expect("an address"));
        let to = format!("http://{}/v1/returns", there.local_addr().expect("an address"));
        let answer = format!("HTTP/1.1 307 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let client = Client::at(base, None, Shown::default()).expect("a client");
        let redirects = async {
            let (mut socket, _) = here.accept().await.expect("a client");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\nbody") {
                asked.push(socket.read_u8().await.expect("a request"));
            }
            socket.write_all(answer.as_bytes()).await.expect("the client reads");
            std::future::pending::<()>().await;
        };
        let sent = tokio::select! {
            sent = client.post::<Value>("/v1/returns", &[], b"body".to_vec()) => sent,
            () = redirects => unreachable!("it does not end"),
            _ = there.accept() => panic!("it was followed"),
        };
        let Err(NoAnswer::Refused(problem)) = sent else { panic!("{sent:?}") };
        let message = problem.to_string();
        assert!(message.contains("307") && message.contains(&to) && message.contains("`--url`"), "{message}");
    }
}
