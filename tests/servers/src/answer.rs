//! What the host answered, and what a test claims of it.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

/// An answer of the host.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
    /// The request, for messages.
    request: String,
}

impl Answer {
    pub(crate) async fn of(request: String, response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, text: response.text().await?, request })
    }

    /// Claims the status.
    ///
    /// # Panics
    ///
    /// If it is another.
    #[track_caller]
    pub fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text);
        self
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.text) {
            Ok(value) => value,
            Err(error) => panic!("{}: the answer is not JSON ({error}): {}", self.request, self.text),
        }
    }

    /// Claims an error of this status in the form that all errors have
    /// (`application/problem+json` with a title, the status and a detail); gives it.
    ///
    /// # Panics
    ///
    /// If it is anything else.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        self.expect(status);
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{}: {}", self.request, self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for field in ["title", "detail"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "no `{field}` in {problem}"
            );
        }
        problem
    }

    /// Claims an error that says this in its detail or its hint; gives it.
    ///
    /// # Panics
    ///
    /// If it is anything else.
    #[track_caller]
    pub fn problem_saying(&self, status: u16, words: &str) -> Value {
        let problem = self.problem(status);
        assert!(self.text.contains(words), "nothing about `{words}` in {problem}");
        problem
    }

    /// Claims a refusal (400) that names exactly these items by index, each with a reason
    /// that has these words.
    ///
    /// # Panics
    ///
    /// If it is anything else.
    #[track_caller]
    pub fn refuses(&self, items: &[(u64, &str)]) {
        let problem = self.problem(400);
        let named = problem["items"].as_array().cloned().unwrap_or_default();
        let indices: Vec<Option<u64>> = named.iter().map(|item| item["index"].as_u64()).collect();
        let expected: Vec<Option<u64>> = items.iter().map(|(index, _)| Some(*index)).collect();
        assert_eq!(indices, expected, "{problem}");
        for ((index, words), item) in items.iter().zip(&named) {
            let reason = item["reason"].as_str().unwrap_or_default();
            assert!(reason.contains(words), "item {index}: nothing about `{words}` in `{reason}`");
        }
    }
}
