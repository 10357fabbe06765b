//! What happens at a check's bench: the calls of the guest are counted, one of them fails, and
//! HTTP is answered in its server's place.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::connections::{HttpRequest, HttpResponse};
use crate::plugins::{Asked, Bench, Fault};

/// The longest text of a call in a message, in bytes.
const MOST: usize = 160;

#[derive(Debug)]
pub(super) struct Script {
    state: Mutex<State>,
    /// What every request is answered.
    answer: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// The calls since [`Script::begin`].
    calls: Vec<String>,
    /// Which of them fails, from 0.
    fault: Option<(usize, Fault)>,
    /// The call that failed.
    failed: Option<Failed>,
    /// What went out that no store shows, by its way: the requests that the stand-in took, and
    /// what peers by TCP were sent.
    told: BTreeMap<&'static str, Vec<u8>>,
}

/// A call that was made to fail.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) call: String,
    /// What went wrong with it.
    pub(super) how: String,
    /// What it would have sent is not seen.
    pub(super) by_socket: bool,
}

impl Script {
    pub(super) fn new(answer: &[u8]) -> Self {
        Self { state: Mutex::default(), answer: answer.to_vec() }
    }

    /// Counts anew; the call of this number fails.
    pub(super) fn begin(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.state.lock();
        state.calls.clear();
        state.failed = None;
        state.fault = fault;
    }

    /// No further call fails.
    pub(super) fn disarm(&self) {
        self.state.lock().fault = None;
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.state.lock().calls.len()
    }

    /// The call that failed, if it was made.
    pub(super) fn failed(&self) -> Option<Failed> {
        self.state.lock().failed.clone()
    }

    /// Those of these words that went out, by each way that anything did.
    pub(super) fn told(&self, words: &BTreeSet<String>) -> BTreeMap<&'static str, Vec<String>> {
        let state = self.state.lock();
        let of_way = |(way, bytes): (&&'static str, &Vec<u8>)| {
            let text = String::from_utf8_lossy(bytes);
            (*way, words.iter().filter(|word| text.contains(*word)).cloned().collect())
        };
        state.told.iter().map(of_way).collect()
    }

    /// Whether something went out that no store takes back.
    pub(super) fn has_told(&self) -> bool {
        !self.state.lock().told.is_empty()
    }
}

impl Bench for Script {
    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut state = self.state.lock();
        let number = state.calls.len();
        let mut call = asked.to_string();
        if call.len() > MOST {
            call.truncate(call.floor_char_boundary(MOST));
            call.push_str("...");
        }
        let fault = state.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let fault = fault.filter(|fault| asked.faults().contains(fault));
        if let Some(fault) = fault {
            let (call, how) = (call.clone(), asked.told(fault));
            state.failed = Some(Failed { call, how, by_socket: asked.is_by_socket() });
        } else if let Some(bytes) = asked.bytes() {
            state.told.entry("TCP").or_default().extend_from_slice(bytes);
        }
        state.calls.push(call);
        fault
    }

    fn answered(&self, _: &Asked, _: &str) {}

    fn respond(&self, request: &HttpRequest, allowed: bool) -> Option<HttpResponse> {
        if !allowed {
            return None;
        }
        let mut state = self.state.lock();
        let told = state.told.entry("HTTP").or_default();
        told.extend_from_slice(format!("{} {}\n", request.method, request.url).as_bytes());
        told.extend_from_slice(&request.body);
        told.push(b'\n');
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Some(HttpResponse { status: 200, headers, body: self.answer.clone() })
    }
}
