//! What PostgreSQL's errors mean: the kind, and whether the same call can succeed later.
//!
//! As with MySQL's: what an operator can mend is worth trying again, what lies in the
//! statement or in a value is not. Codes:
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use std::error::Error;

use super::{SqlError, SqlErrorKind};

/// A driver's error in our words. Without a code, it came from the connection itself.
pub(super) fn error_of(error: &tokio_postgres::Error) -> SqlError {
    if let Some(server) = error.as_db_error() {
        let code = server.code().code();
        let (kind, retryable) = classify(code);
        let mut message = server.message().to_owned();
        if let Some(detail) = server.detail() {
            message = format!("{message}: {detail}");
        }
        return SqlError { kind, code: Some(code.to_owned()), message, retryable };
    }
    // What is behind says more than the driver's `error communicating with the server`.
    let message = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    SqlError::unavailable(message)
}

/// Whether the server undid all of the transaction, or may have.
pub(super) fn ends_transaction(error: &SqlError) -> bool {
    // Deadlock, serialization; in a transaction that had failed before.
    error.code.as_deref().is_some_and(|code| code.starts_with("40") || code == "25P02")
}

fn classify(code: &str) -> (SqlErrorKind, bool) {
    use SqlErrorKind::{Constraint, Data, Denied, Other, Statement, Timeout, Unavailable};
    match code {
        // The statement's time, a lock that somebody else holds.
        "57014" | "55P03" => (Timeout, true),
        // A standby; a function that raises what it likes.
        "25006" => (Unavailable, true),
        "P0001" => (Constraint, false),
        "42501" => (Denied, true),
        // No such table, column, function, type, schema or database: what `setup` or an
        // operator can mend. A plan that is not right any more.
        "42P01" | "42703" | "42883" | "42704" | "3F000" | "3D000" | "0A000" => (Statement, true),
        // A row or an index entry that is too large.
        "54000" | "54001" | "54011" | "54023" => (Data, false),
        _ => match code.get(..2).unwrap_or_default() {
            "08" | "53" | "55" | "57" | "58" => (Unavailable, true),
            "28" => (Denied, true),
            "40" => (Timeout, true),
            "21" | "22" => (Data, false),
            "23" | "44" => (Constraint, false),
            "42" => (Statement, false),
            _ => (Other, true),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::SqlErrorKind::{Constraint, Data, Denied, Other, Statement, Timeout, Unavailable};
    use super::*;

    #[test]
    fn outages_are_tried_again_and_bad_values_are_not() {
        for (code, kind, retryable) in [
            ("53100", Unavailable, true),
            ("53300", Unavailable, true),
            ("57P01", Unavailable, true),
            ("57P03", Unavailable, true),
            ("25006", Unavailable, true),
            ("57014", Timeout, true),
            ("40P01", Timeout, true),
            ("28P01", Denied, true),
            ("42501", Denied, true),
            ("23505", Constraint, false),
            ("22001", Data, false),
            ("22P05", Data, false),
            ("42P01", Statement, true),
            ("42601", Statement, false),
            ("XX000", Other, true),
            ("", Other, true),
        ] {
            assert_eq!(classify(code), (kind, retryable), "{code}");
        }
    }

    #[test]
    fn a_deadlock_ends_the_transaction_and_a_duplicate_does_not() {
        let error = |code: &str| SqlError { code: Some(code.to_owned()), ..SqlError::timeout("") };
        assert!(ends_transaction(&error("40P01")));
        assert!(!ends_transaction(&error("23505")));
    }
}
