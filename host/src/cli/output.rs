//! What commands print, and how they fail.

use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::plugins::lines;

/// Why a command failed, and the exit code that says so to programs.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into() }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { code: 4, message: message.into() }
    }

    pub(crate) fn report(self) -> ExitCode {
        // A message that has its own prefix is a list of errors.
        if self.message.starts_with("error:") {
            complain(&self.message);
        } else {
            complain(&format!("error: {}", self.message));
        }
        ExitCode::from(self.code)
    }
}

/// Prints rows under a header, without lines: for eyes and for `awk`.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    line(&table.trim_fmt())
}

pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))?;
    line(&escaped(&text))
}

/// JSON whose texts steer no terminal: the serialiser leaves those signs as they are that have
/// more than seven bits. Between its words a store may have left tabs and returns of the carriage.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\t' | '\r' => text.push(' '),
            c if c.is_control() && c != '\n' => text += &format!("\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text
}

/// A duration for people: its two greatest units, `3m 20s`.
pub(super) fn duration(millis: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let seconds = millis / 1000;
    match (millis, UNITS.iter().position(|(unit, _)| seconds >= *unit)) {
        (_, None) => format!("{millis}ms"),
        (..10_000, _) => format!("{:.1}s", millis as f64 / 1000.0),
        (_, Some(first)) => {
            let mut left = seconds;
            let mut parts = Vec::new();
            for (unit, name) in UNITS.iter().skip(first).take(2) {
                if left / unit > 0 {
                    parts.push(format!("{}{name}", left / unit));
                }
                left %= unit;
            }
            parts.join(" ")
        }
    }
}

/// A number of something: `1 item`, `2 items`.
pub(super) fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// A word as a shell takes it: names of lanes that returns asked for have quotes and braces.
pub(super) fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./@:,+=".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A reader that went away (`returner jobs | head`) is no failure.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    // Much of what is printed comes from servers, minions and plugins.
    match writeln!(io::stdout().lock(), "{}", lines(text)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says something beside what is printed; if nobody reads that, it is not said.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_steers_a_terminal() {
        assert_eq!(lines("a\n\tb"), "a\n\tb");
        assert_eq!(lines("\u{1b}]0;x\u{7}\r\u{9b}31m\u{7f}"), " ]0;x   31m ");
        let value = serde_json::json!({"option": "\u{1b}]0;\u{7}\u{9b}\u{7f}ü"});
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert_eq!(lines(&text), text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_take_it_for_something_else() {
        for (text, expected) in [
            ("alternative.mysql", "alternative.mysql"),
            (r#"redis{"db":5}"#, r#"'redis{"db":5}'"#),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), expected);
        }
    }

    #[test]
    fn durations_are_told_in_two_units_at_most() {
        for (millis, expected) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (9_940, "9.9s"),
            (42_000, "42s"),
            (200_000, "3m 20s"),
            (180_999, "3m"),
            (7_500_000, "2h 5m"),
            (3_605_000, "1h"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(duration(millis), expected);
        }
    }
}
