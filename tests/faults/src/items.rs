//! The returns that are sent: each is made again from its number, so that nobody has to
//! keep the text of what was sent to know whether it is what is stored.

use fastrand::Rng;
use returner_servers::ret;
use serde_json::{Value, json};

/// A return, told by its job and its minion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) jid: String,
    pub(crate) minion: String,
    pub(crate) content: Content,
}

/// What the return's function returned: a text of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) number: u64,
    pub(crate) length: usize,
    /// The plugin of `tests/guests/trapping` traps on it.
    pub(crate) is_poison: bool,
}

impl Item {
    /// As a minion sends it.
    pub(crate) fn as_json(&self) -> Value {
        ret(&self.jid, &self.minion, "test.arg", json!(self.content.text()))
    }
}

impl Content {
    /// The text; at least as long as its own number.
    pub(crate) fn text(self) -> String {
        let kind = if self.is_poison { "poison" } else { "plain" };
        let mut text = format!("{kind} {} ", self.number);
        let mut rng = Rng::with_seed(self.number);
        let missing = self.length.saturating_sub(text.len());
        text.extend((0..missing).map(|_| rng.alphanumeric()));
        text
    }
}

/// A length from 100 bytes to 200 kB, mostly small.
pub(crate) fn random_length(rng: &mut Rng) -> usize {
    match rng.u8(0..100) {
        0..85 => rng.usize(100..2_000),
        85..98 => rng.usize(2_000..20_000),
        _ => rng.usize(20_000..200_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_the_same_each_time() {
        let content = Content { number: 7, length: 100, is_poison: true };
        let text = content.text();
        assert_eq!((text.len(), &text), (100, &content.text()));
        assert!(text.starts_with("poison 7 "), "{text}");
        assert_ne!(text[9..], Content { number: 8, ..content }.text()[9..]);
    }
}
