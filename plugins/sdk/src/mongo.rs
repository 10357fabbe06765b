//! MongoDB on a connection that the configuration names and grants. Documents,
//! filters and changes are JSON text.

use crate::Failure;

pub use crate::host::mongo::{
    Error, FindOptions, Update, WriteError, aggregate, create_index, delete, find, insert, update_many,
};

/// The code of a write error for a key that is there already.
pub const DUPLICATE_KEY: i32 = 11_000;

impl WriteError {
    /// What the error means for the item that it is about: it will never be stored as it
    /// is. An outage fails the call as a whole and is an [`Error`].
    pub fn failure(&self) -> Failure {
        Failure::reject(format!("{} ({})", self.message, self.code))
    }
}
