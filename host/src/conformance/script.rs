//! What happens at a check's bench: the calls of the guest are counted, one of them fails, and
//! HTTP is answered in its server's place.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::connections::{HttpRequest, HttpResponse};
use crate::plugins::{Asked, Bench, Fault};

/// The longest text of a call in a message, in bytes.
const MOST: usize = 160;

#[derive(Debug, Default)]
pub(super) struct Script(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The calls since [`Script::begin`].
    calls: Vec<String>,
    /// Which of them fails, from 0.
    fault: Option<(usize, Fault)>,
    /// The call that failed.
    failed: Option<Failed>,
    /// The requests that the stand-in took.
    taken: Vec<String>,
    /// What went out by TCP.
    sent: Vec<u8>,
}

/// A call that was made to fail.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) call: String,
    /// What it would have sent is not seen.
    pub(super) by_socket: bool,
}

impl Script {
    /// Counts anew; the call of this number fails.
    pub(super) fn begin(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.0.lock();
        state.calls.clear();
        state.failed = None;
        state.fault = fault;
    }

    /// No further call fails.
    pub(super) fn disarm(&self) {
        self.0.lock().fault = None;
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.0.lock().calls.len()
    }

    /// The call that failed, if it was made.
    pub(super) fn failed(&self) -> Option<Failed> {
        self.0.lock().failed.clone()
    }

    /// Those of these words that are in a request that was taken; none where no request was.
    pub(super) fn told<'w>(&self, words: impl Iterator<Item = &'w str>) -> Option<BTreeSet<&'w str>> {
        let state = self.0.lock();
        let is_told = |word: &&str| state.taken.iter().any(|request| request.contains(word));
        (!state.taken.is_empty()).then(|| words.filter(is_told).collect())
    }

    /// The same of what went out by TCP.
    pub(super) fn sent<'w>(&self, words: impl Iterator<Item = &'w str>) -> Option<BTreeSet<&'w str>> {
        let state = self.0.lock();
        let text = String::from_utf8_lossy(&state.sent);
        (!state.sent.is_empty()).then(|| words.filter(|word| text.contains(word)).collect())
    }

    /// Whether something went out that no store takes back.
    pub(super) fn has_told(&self) -> bool {
        let state = self.0.lock();
        !state.taken.is_empty() || !state.sent.is_empty()
    }
}

impl Bench for Script {
    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut state = self.0.lock();
        let number = state.calls.len();
        let mut call = asked.to_string();
        if call.len() > MOST {
            call.truncate(call.floor_char_boundary(MOST));
            call.push_str("...");
        }
        let fault = state.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let fault = fault.filter(|fault| asked.faults().contains(fault));
        if fault.is_some() {
            state.failed = Some(Failed { call: call.clone(), by_socket: asked.is_by_socket() });
        } else if let Some(bytes) = asked.bytes() {
            state.sent.extend_from_slice(bytes);
        }
        state.calls.push(call);
        fault
    }

    fn answered(&self, _: &Asked, _: &str) {}

    fn respond(&self, request: &HttpRequest, allowed: bool) -> Option<HttpResponse> {
        if !allowed {
            return None;
        }
        let text = format!("{} {}\n{}", request.method, request.url, String::from_utf8_lossy(&request.body));
        self.0.lock().taken.push(text);
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Some(HttpResponse { status: 200, headers, body: b"{}".to_vec() })
    }
}
