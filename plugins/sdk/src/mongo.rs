//! MongoDB on a connection that the configuration names and grants. Documents,
//! filters and changes are JSON text.

use crate::Failure;

pub use crate::bindings::salt::returner::mongo::{
    Error, FindOptions, Update, WriteError, aggregate, create_index, delete, find, insert, update_many,
};

/// The code of a write error for a key that is there already.
pub const DUPLICATE_KEY: i32 = 11_000;

impl WriteError {
    /// What the error means for the item that it is about.
    ///
    /// A server that steps down, is not the primary or gives up for lack of time is an
    /// outage (codes of MongoDB's `error_codes.yml` in the category of retriable
    /// errors).
    pub fn failure(&self) -> Failure {
        const OUTAGES: [i32; 16] =
            [6, 7, 43, 89, 91, 112, 189, 262, 358, 9001, 10_107, 11_600, 11_601, 11_602, 13_435, 13_436];
        Failure::of_server(format!("{} ({})", self.message, self.code), OUTAGES.contains(&self.code))
    }
}
