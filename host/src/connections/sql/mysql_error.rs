//! What MySQL's and MariaDB's errors mean: the kind, and whether the same call can
//! succeed later.
//!
//! What an operator can mend (the server, its disk, rights, a missing table) is
//! worth trying again: it must not make dead letters of good returns. What lies in
//! the statement or in a value never gets better. An error that nobody foresaw is
//! tried again, for a lane that waits loses nothing.
//!
//! Numbers: <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>
//! and <https://mariadb.com/kb/en/mariadb-error-code-reference/>.

use sqlx::mysql::MySqlDatabaseError;

use super::{SqlError, SqlErrorKind};

/// A driver's error in our words. Without a code, it came from the connection itself.
pub(super) fn error_of(error: &sqlx::Error) -> SqlError {
    if let sqlx::Error::Database(database) = error
        && let Some(mysql) = database.try_downcast_ref::<MySqlDatabaseError>()
    {
        let (kind, retryable) = classify(mysql.number(), mysql.code().unwrap_or_default());
        let code = Some(mysql.number().to_string());
        return SqlError { kind, code, message: mysql.message().to_owned(), retryable };
    }
    match error {
        // The driver found it before it sent anything, but keeps waiting for an answer.
        sqlx::Error::Protocol(message) if message.contains("parameters") => {
            // Without the place in the driver's source.
            let message = message.split(" (sqlx").next().unwrap_or(message);
            SqlError::new(SqlErrorKind::Statement, message, false)
        }
        sqlx::Error::Io(error) => SqlError::unavailable(error.to_string()),
        sqlx::Error::Tls(error) => SqlError::unavailable(format!("TLS: {error}")),
        error => SqlError::unavailable(error.to_string()),
    }
}

/// Whether the server undid all of the transaction, or may have.
pub(super) fn ends_transaction(error: &SqlError) -> bool {
    // Lock wait timeout, record changed, deadlock, rolled back for another reason.
    matches!(
        error.code.as_deref(),
        Some("1205" | "1020" | "1213" | "1402" | "1613" | "1614" | "3101" | "1180")
    )
}

fn classify(number: u16, state: &str) -> (SqlErrorKind, bool) {
    use SqlErrorKind::{Constraint, Data, Denied, Other, Statement, Timeout, Unavailable};
    match number {
        // Disk full, out of memory, too many connections or statements, shutting down, killed,
        // read-only, a table that is full or crashed, a node that is not ready.
        1021
        | 1030
        | 1036
        | 1037
        | 1038
        | 1040
        | 1041
        | 1047
        | 1053
        | 1077..=1080
        | 1114
        | 1152
        | 1158..=1161
        | 1180
        | 1184
        | 1194
        | 1195
        | 1203
        | 1226
        | 1290
        | 1317
        | 1429
        | 1461
        | 1792
        | 1836
        | 1927
        | 3168
        | 4031 => (Unavailable, true),
        // Record changed, lock wait, deadlock, statement time, rolled back by others.
        1020 | 1205 | 1213 | 1613 | 1614 | 1969 | 3024 | 3058 | 3101 | 3572 => (Timeout, true),
        // No such user, host, right; a password that has run out; an account locked.
        1044
        | 1045
        | 1129
        | 1130
        | 1141..=1143
        | 1227
        | 1251
        | 1275
        | 1370
        | 1524
        | 1698
        | 1820
        | 1862
        | 3118
        | 4151 => (Denied, true),
        // The last is SIGNAL: a trigger, or a procedure, that refuses the row.
        1022 | 1048 | 1062 | 1169 | 1216 | 1217 | 1451 | 1452 | 1557 | 1586 | 1761 | 1762 | 1859 | 3819
        | 4025 | 1644 => (Constraint, false),
        1153
        | 1162
        | 1264
        | 1265
        // A text with what the column's characters lack, compared with it.
        | 1267
        | 1270
        | 1271
        | 1292
        | 1300
        | 1301
        | 1365..=1367
        | 1406
        | 1411
        | 1525
        | 1690
        | 3140..=3159
        | 3988 => (Data, false),
        // No such database, table, column or routine, a column without a default: what
        // `setup` or an operator can mend.
        1049 | 1051 | 1054 | 1109 | 1146 | 1176 | 1305 | 1364 | 1932 => (Statement, true),
        1064 | 1065 | 1136 | 1149 | 1210 | 1243 | 1295 | 1390 => (Statement, false),
        _ => match state.get(..2) {
            Some("08") => (Unavailable, true),
            Some("28") => (Denied, true),
            Some("40") => (Timeout, true),
            Some("21" | "22") => (Data, false),
            // SIGNAL of a code of its own has the class 45.
            Some("23" | "45") => (Constraint, false),
            Some("42") => (Statement, false),
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
        let cases = [
            (1040, "08004", Unavailable, true),
            (1021, "HY000", Unavailable, true),
            (1290, "HY000", Unavailable, true),
            (1461, "42000", Unavailable, true),
            (1205, "HY000", Timeout, true),
            (1213, "40001", Timeout, true),
            (1045, "28000", Denied, true),
            (1142, "42000", Denied, true),
            (1062, "23000", Constraint, false),
            (1406, "22001", Data, false),
            (1644, "45000", Constraint, false),
            (9999, "45001", Constraint, false),
            (1366, "HY000", Data, false),
            (1153, "08S01", Data, false),
            (1146, "42S02", Statement, true),
            (1054, "42S22", Statement, true),
            (1064, "42000", Statement, false),
            (9999, "22003", Data, false),
            (9999, "HY000", Other, true),
            (9999, "", Other, true),
        ];
        for (number, state, kind, retryable) in cases {
            assert_eq!(classify(number, state), (kind, retryable), "{number} {state}");
        }
    }

    #[test]
    fn a_deadlock_ends_the_transaction_and_a_duplicate_does_not() {
        let error = |code: &str| SqlError { code: Some(code.to_owned()), ..SqlError::timeout("") };
        assert!(ends_transaction(&error("1213")));
        assert!(!ends_transaction(&error("1062")));
    }
}
