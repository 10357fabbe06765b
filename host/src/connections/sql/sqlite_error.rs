//! What SQLite's errors mean: the kind, and whether the same call can succeed later.
//!
//! As with MySQL's: what an operator can mend is worth trying again, what lies in the
//! statement or in a value is not. Codes: <https://sqlite.org/rescode.html>.

use rusqlite::ErrorCode;

use super::{SqlError, SqlErrorKind};

pub(super) fn error_of(error: &rusqlite::Error) -> SqlError {
    let (failure, message) = match error {
        rusqlite::Error::SqliteFailure(failure, message) => (failure, message.clone()),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error, Some(msg.clone())),
        error => return SqlError::new(SqlErrorKind::Statement, error.to_string(), false),
    };
    let message = message.unwrap_or_else(|| failure.to_string());
    let (kind, retryable) = classify(failure.code, &message);
    SqlError { kind, code: Some(failure.extended_code.to_string()), message, retryable }
}

/// Whether a commit that failed so may still have reached the disk: its record was
/// written, and the disk did not confirm it.
pub(super) fn is_commit_unknown(error: &SqlError) -> bool {
    let code: i32 = error.code.as_deref().and_then(|code| code.parse().ok()).unwrap_or_default();
    code & 0xff == rusqlite::ffi::SQLITE_IOERR
}

/// SQLite would have more than `most` bytes in memory.
pub(super) fn out_of_memory(most: i64) -> SqlError {
    let most = bytesize::ByteSize(u64::try_from(most).unwrap_or_default());
    let message = format!("out of memory: SQLite has {most} for what plugins ask of it at once");
    let code = Some(rusqlite::ffi::SQLITE_NOMEM.to_string());
    SqlError { code, ..SqlError::unavailable(message) }
}

/// Whether there was no memory for it.
pub(super) fn is_out_of_memory(error: &SqlError) -> bool {
    let code: i32 = error.code.as_deref().and_then(|code| code.parse().ok()).unwrap_or_default();
    code & 0xff == rusqlite::ffi::SQLITE_NOMEM
}

fn classify(code: ErrorCode, message: &str) -> (SqlErrorKind, bool) {
    use SqlErrorKind::{Constraint, Data, Denied, Other, Statement, Timeout, Unavailable};
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted => {
            (Timeout, true)
        }
        ErrorCode::FileLockingProtocolFailed | ErrorCode::SchemaChanged | ErrorCode::OperationAborted => {
            (Timeout, true)
        }
        ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::OutOfMemory => (Unavailable, true),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => (Denied, true),
        // The host's own refusal.
        ErrorCode::AuthorizationForStatementDenied => (Denied, false),
        ErrorCode::ConstraintViolation => (Constraint, false),
        ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ParameterOutOfRange => (Data, false),
        // SQLite has one code for a wrong statement and for a table that is missing.
        ErrorCode::Unknown => (Statement, is_schema(message)),
        _ => (Other, true),
    }
}

fn is_schema(message: &str) -> bool {
    ["no such table", "no such column", "has no column named"].iter().any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn of(code: i32, message: &str) -> SqlError {
        error_of(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(message.to_owned())))
    }

    #[test]
    fn outages_are_tried_again_and_bad_values_are_not() {
        let cases = [
            (ffi::SQLITE_BUSY_SNAPSHOT, "", SqlErrorKind::Timeout, true),
            (ffi::SQLITE_FULL, "", SqlErrorKind::Unavailable, true),
            (ffi::SQLITE_IOERR_FSYNC, "", SqlErrorKind::Unavailable, true),
            (ffi::SQLITE_READONLY_DBMOVED, "", SqlErrorKind::Denied, true),
            (ffi::SQLITE_AUTH, "", SqlErrorKind::Denied, false),
            (ffi::SQLITE_CONSTRAINT_UNIQUE, "", SqlErrorKind::Constraint, false),
            (ffi::SQLITE_TOOBIG, "", SqlErrorKind::Data, false),
            (ffi::SQLITE_ERROR, "near \"x\": syntax error", SqlErrorKind::Statement, false),
            (ffi::SQLITE_ERROR, "no such table: jids", SqlErrorKind::Statement, true),
        ];
        for (code, message, kind, retryable) in cases {
            let error = of(code, message);
            assert_eq!((error.kind, error.retryable), (kind, retryable), "{code} {message}");
        }
    }

    #[test]
    fn only_the_disk_makes_a_commit_unclear() {
        assert!(is_commit_unknown(&of(ffi::SQLITE_IOERR_FSYNC, "")));
        assert!(!is_commit_unknown(&of(ffi::SQLITE_BUSY, "")));
    }
}
