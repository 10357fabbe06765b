//! Secrets: plain text as in Salt, or `{env: NAME}`, or `{file: PATH}`.
//!
//! Promises: no error shows a secret, nor any part of one.

use std::fmt;
use std::io::Read;

use secrecy::{ExposeSecret, SecretString};

use super::error::{ConfigErrors, Finding, Findings};
use super::files::open;
use super::section::{Found, Section, Value};
use super::yaml::{Content, Node};

/// A file that is larger holds something else.
const MAX_BYTES: u64 = 64 << 10;

const FORMS: &str = "write the text, `{env: NAME}` or `{file: PATH}`";

/// A text that prints as `[REDACTED]`, and is wiped from memory with its value.
#[derive(Clone)]
pub(crate) struct Secret(SecretString);

impl Secret {
    /// For whoever logs in with it.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Whether two configurations say the same: nobody who could time it has a guess to try.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Whether this is written as a secret that is elsewhere.
pub(super) fn is_reference(node: &Node) -> bool {
    let Content::Map(pairs) = &node.content else { return false };
    matches!(pairs.as_slice(), [(key, Node { content: Content::Scalar(_), .. })] if matches!(key.text.as_str(), "env" | "file"))
}

/// Reads where it is and gets it from there.
pub(super) fn read(found: &Found<'_>, findings: &mut Findings) -> Result<Secret, Finding> {
    match &found.value {
        Value::Scalar(scalar) => Ok(Secret::from(scalar.text.as_str())),
        Value::List(_) => Err(found.wrong("is a list, expected a secret").hint(FORMS)),
        Value::Map(section) => reference(found, section, findings),
    }
}

fn reference(found: &Found<'_>, section: &Section<'_>, findings: &mut Findings) -> Result<Secret, Finding> {
    let mut own = Findings::default();
    let [env, file] = ["env", "file"].map(|name| section.find(name, &mut own));
    // The same thing said twice.
    if let Err(ConfigErrors { findings: errors, .. }) = own.end(&[]) {
        return Err(errors.into_iter().next().unwrap_or_else(|| found.wrong("cannot be read")));
    }
    match (env, file) {
        (Some(name), None) if section.names().len() == 1 => environment(&name),
        (None, Some(path)) if section.names().len() == 1 => self::file(&path, findings),
        _ => Err(found.wrong("is a map, expected a secret").hint(FORMS)),
    }
}

fn environment(name: &Found<'_>) -> Result<Secret, Finding> {
    let variable = name.text()?;
    if variable.is_empty() || variable.contains(['=', '\0']) {
        return Err(name.wrong("is no name of an environment variable"));
    }
    match std::env::var(&variable) {
        Ok(secret) => Ok(Secret::from(secret)),
        Err(std::env::VarError::NotPresent) => {
            let finding =
                name.wrong(format!("names the environment variable `{variable}`, which is not set"));
            Err(finding.hint(format!("set `{variable}` where the host is started")))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(name.wrong(format!("names the environment variable `{variable}`, which is not UTF-8")))
        }
    }
}

/// The text of the file without the line end that editors leave.
fn file(path: &Found<'_>, findings: &mut Findings) -> Result<Secret, Finding> {
    let file = path.path()?;
    findings.watch(Some(file.clone()));
    let wrong = |error: String| path.wrong(format!("names the file `{}`: {error}", file.display()));
    let mut text = String::new();
    let handle = open(&file).map_err(|error| wrong(error.to_string()))?;
    handle.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    findings.read(&file, text.as_bytes());
    if text.len() as u64 > MAX_BYTES {
        return Err(wrong("it is too large for a secret".to_owned()));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::from(text.strip_suffix('\r').unwrap_or(text)))
}
