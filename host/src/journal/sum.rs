//! Checksums of the journal's rows, so that damage is found and never delivered.
//!
//! SQLite itself looks at the structure of its pages, not at what stands in them. A sum
//! covers the columns of a row in order, each with its kind and length: no two rows
//! that differ are the same bytes.

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// The CRC-32 of a row.
#[derive(Default)]
pub(super) struct Sum(crc32fast::Hasher);

impl Sum {
    pub(super) fn integer(mut self, value: i64) -> Self {
        self.0.update(b"i");
        self.0.update(&value.to_le_bytes());
        self
    }

    /// Numbers of the journal are far below what an `i64` holds.
    pub(super) fn number(self, value: u64) -> Self {
        self.integer(value.cast_signed())
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(b"t", text.as_bytes())
    }

    pub(super) fn blob(self, bytes: &[u8]) -> Self {
        self.bytes(b"b", bytes)
    }

    fn bytes(mut self, kind: &[u8], bytes: &[u8]) -> Self {
        self.0.update(kind);
        self.0.update(&bytes.len().to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(super) fn column(self, value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Integer(value) => self.integer(value),
            ValueRef::Text(bytes) => self.bytes(b"t", bytes),
            ValueRef::Blob(bytes) => self.blob(bytes),
            // No table has them: they are damage, and their own bytes.
            ValueRef::Null => self.bytes(b"n", &[]),
            ValueRef::Real(value) => self.bytes(b"r", &value.to_le_bytes()),
        }
    }

    pub(super) fn value(self) -> u32 {
        self.0.finalize()
    }

    /// Whether a row of `columns` and their sum fits it.
    pub(super) fn fits(row: &Row<'_>, columns: usize) -> rusqlite::Result<bool> {
        let mut sum = Self::default();
        for column in 0..columns {
            sum = sum.column(row.get_ref(column)?);
        }
        Ok(row.get_ref(columns)? == ValueRef::Integer(sum.value().into()))
    }
}
