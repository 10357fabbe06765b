//! Talking to a running host.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client as Http, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Failure, HostArgs};
use crate::config::Settings;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) struct Client {
    http: Http,
    base: String,
    /// For messages.
    place: String,
}

/// An answer that is no success.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: StatusCode,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
    pub(super) items: Vec<BadItem>,
    pub(super) known: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BadItem {
    pub(super) index: usize,
    pub(super) reason: String,
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
        let (base, socket) = match &args.url {
            Some(url) => match url.strip_prefix("unix:") {
                Some(path) => {
                    ("http://localhost".to_owned(), Some(PathBuf::from(path.trim_start_matches("//"))))
                }
                None => (url.trim_end_matches('/').to_owned(), None),
            },
            None => {
                let loaded = Settings::load(args.config.file().as_deref());
                let host = loaded.map_err(|errors| Failure::usage(errors.to_string()))?.settings.host;
                match host.listen {
                    Some(address) => (format!("http://{address}"), None),
                    None => ("http://localhost".to_owned(), host.socket),
                }
            }
        };
        let place = socket.as_ref().map_or_else(|| base.clone(), |path| format!("unix:{}", path.display()));
        let mut http = Http::builder().connect_timeout(CONNECT).no_proxy();
        if let Some(path) = socket {
            http = http.unix_socket(path);
        }
        let http = http.build().map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self { http, base, place })
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.call(Method::GET, path, query).await
    }

    /// A request without a body.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.answer(self.request(method, path, query)).await.map_err(Failure::from)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<T, NoAnswer> {
        self.answer(self.request(Method::POST, path, query).body(body)).await
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = format!("{}{path}", self.base);
        for (at, (name, value)) in query.iter().enumerate() {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            url += &format!("{}{name}={value}", if at == 0 { '?' } else { '&' });
        }
        self.http.request(method, url)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, NoAnswer> {
        let unreachable = |error: reqwest::Error| {
            let cause =
                std::iter::successors(std::error::Error::source(&error), |error| error.source()).last();
            let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
            NoAnswer::Unreachable(format!(
                "no answer from {}: {cause}\n  hint: is the host running (`returner serve`)? `--url` names another",
                self.place
            ))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            let answer = serde_json::from_slice(&body);
            return answer.map_err(|error| {
                NoAnswer::Unreachable(format!("{} is no returner host: {error}", self.place))
            });
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            detail: String::from_utf8_lossy(&body).into_owned(),
            ..Problem::default()
        });
        Err(NoAnswer::Refused(Problem { status, ..problem }))
    }
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

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.detail)?;
        if !self.known.is_empty() {
            write!(f, "\n  hint: there are `{}`", self.known.join("`, `"))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
