//! How much memory SQLite uses, which rusqlite does not tell. A crate of its own, because the
//! host forbids `unsafe`.

/// The bytes that SQLite has in memory, of all connections of the process together.
#[must_use]
#[allow(unsafe_code, reason = "it takes nothing, and a lock of SQLite's own; it may be called at any time")]
pub fn used() -> i64 {
    // SAFETY: see above; <https://sqlite.org/c3ref/memory_highwater.html>.
    unsafe { rusqlite::ffi::sqlite3_memory_used() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_database_takes_is_counted() {
        let database = rusqlite::Connection::open_in_memory().expect("a database");
        let before = super::used();
        database
            .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1000000))")
            .expect("a row");
        assert!(super::used() - before > 1_000_000);
    }
}
