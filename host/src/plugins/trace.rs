//! What a guest asks of the host and is answered, told as it happens: for the author of a
//! plugin who tries it. A host that serves tells nobody.

use std::sync::Arc;

use super::state::GuestState;

/// The longest text of one call or answer, in bytes.
const MOST: usize = 2000;

/// Who is told of each call and its answer.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Told>);

/// Given a call and its answer.
type Told = dyn Fn(&str, &str) + Send + Sync;

impl Trace {
    pub(crate) fn new(told: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }
}

impl GuestState {
    /// The text of a call, where somebody is to be told.
    pub(super) fn traced(&self, call: impl FnOnce() -> String) -> Option<String> {
        self.grants.trace.as_ref().map(|_| call())
    }

    /// Tells of a call and its answer.
    pub(super) fn tell(&self, call: Option<String>, answer: impl FnOnce() -> String) {
        if let (Some(Trace(told)), Some(call)) = (&self.grants.trace, call) {
            told(&cut(call), &cut(answer()));
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MOST {
        let end = text.floor_char_boundary(MOST);
        text.truncate(end);
        text.push_str("...");
    }
    text
}
