//! Where a plugin may send to on its own: `allow_http` and `allow_connect`, and what the host adds
//! to its requests that it must not know.
//!
//! ```yaml
//! audit.allow_http:
//!   - https://hooks.example.com
//!   - {origin: https://influx.example:8086, headers: {Authorization: {env: INFLUX_TOKEN}}}
//! ```

use std::collections::BTreeMap;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use url::Url;

use super::error::{Finding, Findings, Place};
use super::secret::{self, Secret};
use super::section::{Found, Section, Value};
use super::settings::ReturnerSettings;

const ORIGINS: &[&str] = &["http", "https"];
const PEERS: &[&str] = &["tcp", "udp"];

/// What the host says of its connections itself.
pub(crate) const OWN_HEADERS: [HeaderName; 4] = [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

/// Headers by their lower-case names, by origins as `allow_http` has them.
pub(crate) type Headers = BTreeMap<String, BTreeMap<String, Secret>>;

impl ReturnerSettings {
    /// Whether a text is one of `allow_http`.
    pub(crate) fn is_origin(text: &str) -> bool {
        is_bare(text, ORIGINS)
    }

    /// Whether a text is one of `allow_connect`.
    pub(crate) fn is_peer(text: &str) -> bool {
        is_bare(text, PEERS)
    }
}

/// Whether a text is a scheme, a host and a port, and nothing else.
fn is_bare(text: &str, schemes: &[&str]) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let has_port = schemes == ORIGINS || url.port().is_some();
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.username().is_empty();
    schemes.contains(&url.scheme()) && url.has_host() && has_port && is_bare
}

/// Peers (`tcp://mail.example:25`).
pub(super) fn peers(section: &Section<'_>, findings: &mut Findings) -> Vec<String> {
    let texts = section.get("allow_connect", Found::texts, findings).unwrap_or_default();
    let key = section.key_of("allow_connect");
    texts.into_iter().map(|(place, text)| checked(&key, &place, text, PEERS, findings)).collect()
}

/// Origins (`https://hooks.example.com`), each by itself or with `headers`.
pub(super) fn origins(section: &Section<'_>, findings: &mut Findings) -> (Vec<String>, Headers) {
    let Some(found) = section.find("allow_http", findings) else { return Default::default() };
    let (mut origins, mut headers) = (Vec::new(), Headers::new());
    for item in found.items() {
        let (origin, more) = match &item.value {
            Value::Map(below) => with_headers(&item, below, findings),
            _ => (findings.take(item.text()), BTreeMap::new()),
        };
        let Some(origin) = origin else { continue };
        let origin = checked(&item.key, &item.place, origin, ORIGINS, findings);
        if !more.is_empty() {
            headers.entry(origin.clone()).or_default().extend(more);
        }
        origins.push(origin);
    }
    (origins, headers)
}

fn with_headers(
    item: &Found<'_>,
    below: &Section<'_>,
    findings: &mut Findings,
) -> (Option<String>, BTreeMap<String, Secret>) {
    below.only(&["origin", "headers"], findings);
    if !below.has("origin") {
        let finding = item.wrong("does not say which origin");
        findings.error(finding.hint("write `origin: https://hooks.example.com` beside `headers`"));
    }
    let origin = below.get("origin", Found::text, findings);
    let names: Vec<String> = below.under("headers").names().into_keys().map(str::to_owned).collect();
    let section = below.under("headers");
    let headers = names.iter().filter_map(|name| {
        let found = section.find(name, findings)?;
        let header = header(name, &found, findings);
        findings.take(header)
    });
    (origin, headers.collect())
}

fn header(name: &str, found: &Found<'_>, findings: &mut Findings) -> Result<(String, Secret), Finding> {
    let header = HeaderName::from_bytes(name.as_bytes());
    let header = header.map_err(|_| found.wrong("is the header of no name that can be sent"))?;
    if OWN_HEADERS.contains(&header) {
        return Err(found.wrong("is a header that the host sets itself"));
    }
    let secret = secret::read(found, findings)?;
    // Without the text: it is a secret.
    HeaderValue::from_str(secret.expose()).map_err(|_| {
        Finding::new(&found.place, format!("what `{}` holds cannot be sent in a header", found.key))
    })?;
    Ok((header.as_str().to_owned(), secret))
}

fn checked(key: &str, place: &Place, text: String, schemes: &[&str], findings: &mut Findings) -> String {
    if !is_bare(&text, schemes) {
        let example = if schemes == PEERS { "tcp://mail.example:25" } else { "https://hooks.example.com" };
        // What stands before an `@` may be a password.
        let shown = text.rsplit_once('@').map_or(text.clone(), |(_, rest)| format!("...@{rest}"));
        let finding = Finding::new(place, format!("an item of `{key}` is `{shown}`"));
        findings.error(finding.hint(format!("write it as `{example}`")));
    }
    text
}
