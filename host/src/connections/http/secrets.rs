//! What the host has added to a request, taken out of its answer.

use memchr::memmem;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// What the host has added to a request, and an answer may repeat.
pub(super) struct Secrets(Vec<Vec<u8>>);

/// What stands in the place of one.
const HIDDEN: &[u8] = b"[REDACTED]";

/// A shorter one stands in answers by chance.
const SHORTEST: usize = 4;

impl Secrets {
    /// The values, and what stands in them behind the name of a scheme: `Bearer`, `Basic`.
    pub(super) fn of(own: &HeaderMap) -> Self {
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
    pub(super) fn are_in_name(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.0.iter().any(|secret| memmem::find(name, &secret.to_ascii_lowercase()).is_some())
    }

    /// An answer without them.
    pub(super) fn hidden(&self, mut answer: Vec<u8>) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
