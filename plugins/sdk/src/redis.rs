//! Redis on a connection that the configuration names and grants.
//!
//! ```no_run
//! use returner_sdk::redis::Pipeline;
//! # fn main() -> Result<(), returner_sdk::redis::Error> {
//! let mut pipeline = Pipeline::default();
//! pipeline.command([b"SADD".as_slice(), b"minions", b"web1"]);
//! let replies = pipeline.send("db")?;
//! # Ok(())
//! # }
//! ```

use crate::Failure;

pub use crate::host::redis::{Error, Reply, Scalar, pipeline, scan};

/// Commands that are sent at once. Not a transaction: a later command runs even if
/// an earlier one failed.
#[derive(Debug, Default)]
pub struct Pipeline {
    commands: Vec<Vec<Vec<u8>>>,
}

impl Pipeline {
    /// Adds a command; gives its place among the replies.
    pub fn command<A: Into<Vec<u8>>>(&mut self, arguments: impl IntoIterator<Item = A>) -> usize {
        self.commands.push(arguments.into_iter().map(Into::into).collect());
        self.commands.len() - 1
    }

    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Sends the commands; gives a reply to each.
    ///
    /// # Errors
    /// If there is no reply at all. That one command failed is a reply.
    pub fn send(self, connection: &str) -> Result<Vec<Reply>, Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        pipeline(connection, &self.commands)
    }
}

impl Reply {
    /// The failure, if this is an error reply.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Reply::Scalar(Scalar::Error(error)) => Some(error.clone().into()),
            _ => None,
        }
    }
}

impl Scalar {
    /// The text of a bulk or simple string. What is not UTF-8 is none of ours.
    pub fn into_text(self) -> Option<String> {
        match self {
            Scalar::Bulk(bytes) => String::from_utf8(bytes).ok(),
            Scalar::Status(text) => Some(text),
            Scalar::Nil | Scalar::Integer(_) | Scalar::Error(_) => None,
        }
    }
}
