//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::delivery::{BuildError, RouteError};
use crate::intake::{BadItem, Refused};
use crate::job_cache::AskError;
use crate::journal::{AppendError, JournalError};
use crate::plugins::CallError;

/// What says that an answer is one, and so a host's.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// Seconds after which a client may try again what the journal refused.
const RETRY_SECONDS: u32 = 5;

/// An error that becomes an answer. Boxed, because every handler's result holds one.
#[derive(Debug)]
pub(super) struct Problem(Box<Details>);

#[derive(Debug, Serialize)]
struct Details {
    title: String,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The items that are bad, where it is about items.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Bad>,
    /// The names that there are, where it is about one that there is not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    known: Vec<String>,
    #[serde(skip)]
    retry_after: Option<u32>,
    #[serde(skip)]
    challenge: bool,
}

#[derive(Debug, Serialize)]
struct Bad {
    index: usize,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (detail, hint) = hinted(&detail.into());
        Self(Box::new(Details {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
            hint,
            items: Vec::new(),
            known: Vec::new(),
            retry_after: None,
            challenge: false,
        }))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    fn items(mut self, items: Vec<BadItem>) -> Self {
        let bad = |BadItem { index, reason }: BadItem| {
            let (reason, hint) = hinted(&reason);
            Bad { index, reason, hint }
        };
        self.0.items = items.into_iter().map(bad).collect();
        self
    }

    pub(super) fn known(mut self, known: Vec<String>) -> Self {
        self.0.known = known;
        self
    }

    /// Nothing is wrong with what was sent, only with the moment.
    pub(super) fn busy(detail: &str) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after()
    }

    /// Asks whoever it is to say so.
    pub(super) fn challenge(mut self) -> Self {
        self.0.challenge = true;
        self
    }

    fn retry_after(mut self) -> Self {
        self.0.retry_after = Some(RETRY_SECONDS);
        self
    }
}

/// A message for people without its hints, and those, for programs.
pub(crate) fn hinted(text: &str) -> (String, Option<String>) {
    const HINT: &str = "\n  hint: ";
    match text.split_once(HINT) {
        Some((message, hints)) => (message.to_owned(), Some(hints.replace(HINT, "; "))),
        None => (text.to_owned(), None),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (retry_after, challenge) = (self.0.retry_after, self.0.challenge);
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let text = rejection.body_text();
        let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
        Problem::new(StatusCode::BAD_REQUEST, format!("a parameter of the query is wrong: {reason}"))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Malformed(_) => Problem::new(StatusCode::BAD_REQUEST, detail)
                .hint("send one JSON object, an array of them, or one object a line"),
            Refused::Empty => Problem::new(StatusCode::BAD_REQUEST, detail),
            Refused::TooMany | Refused::TooManyMinions => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).hint("send them in parts")
            }
            Refused::Items { items, .. } => Problem::new(StatusCode::BAD_REQUEST, detail).items(items),
            Refused::Route(error) => error.into(),
            Refused::Quota(error) => Problem::busy(&error.to_string()),
            Refused::Journal(error) => error.into(),
        }
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        let detail = error.to_string();
        match error {
            RouteError::Unknown { known, .. } => Problem::new(StatusCode::NOT_FOUND, detail).known(known),
            RouteError::Kind { .. } | RouteError::Nobody { .. } | RouteError::Variant(_) => {
                Problem::new(StatusCode::BAD_REQUEST, detail)
            }
            RouteError::TooMany => Problem::new(StatusCode::TOO_MANY_REQUESTS, detail),
            RouteError::Build(error) => match *error {
                BuildError::Journal(error) => error.into(),
                _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
            },
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after()
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        let detail = error.to_string();
        match error {
            JournalError::Item { .. } => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
            JournalError::Read(_) | JournalError::Write(_) | JournalError::Behind | JournalError::Stopped => {
                Problem::busy(&detail)
            }
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let detail = error.to_string();
        match error {
            AskError::Route(error) => error.into(),
            AskError::NoJobCache { .. } => Problem::new(StatusCode::BAD_REQUEST, detail),
            AskError::Behind { .. } => Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(),
            AskError::Call { error: CallError::Busy { .. }, .. } => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after()
            }
            AskError::Call { .. } => Problem::new(StatusCode::BAD_GATEWAY, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever sends items looks at that, and comes again.
    #[test]
    fn a_journal_that_cannot_make_a_lane_asks_to_come_again() {
        let route = || RouteError::Build(Box::new(JournalError::Behind.into()));
        for problem in [Problem::from(route()), Refused::Route(route()).into(), JournalError::Behind.into()] {
            let response = problem.into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[RETRY_AFTER], "5");
        }
        let broken = Problem::from(JournalError::Item { seq: 1, reason: String::new() }).into_response();
        assert_eq!(broken.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!broken.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn a_message_and_its_hints_are_told_apart() {
        for (text, message, hint) in [
            ("it is bad", "it is bad", None),
            ("it is\nbad\n  hint: mend it", "it is\nbad", Some("mend it")),
            ("bad\n  hint: there are `a`\n  hint: mend it", "bad", Some("there are `a`; mend it")),
        ] {
            assert_eq!(hinted(text), (message.to_owned(), hint.map(str::to_owned)));
        }
    }
}
