//! Writes for the items of a batch, in few pipelines, and what became of each item.

use returner_sdk::redis::{Pipeline, Reply, Scalar};
use returner_sdk::{Failure, Outcome, Refusal};

use crate::CONNECTION;

/// The most bytes that are sent at once, unless one command alone has more.
const MAX_BYTES: usize = 1_000_000;

/// The most commands that are sent at once.
const MAX_COMMANDS: usize = 2000;

/// The writes of one batch.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pipeline: Pipeline,
    bytes: usize,
    /// For each command of the pipeline, the items that need it.
    needed_by: Vec<Vec<usize>>,
    /// The keys that the pipeline asks for, by the places of their commands.
    asked: Vec<(usize, String)>,
    /// What such a key has, if anything, for each that could be read.
    answers: Vec<(String, Option<String>)>,
    refusals: Vec<Refusal>,
}

impl Writes {
    /// Adds a command that these items need: they are refused if it fails. Sends those
    /// before it once there are enough.
    pub(crate) fn add(&mut self, items: &[usize], arguments: Vec<Vec<u8>>) -> Result<(), Failure> {
        let bytes = arguments.iter().map(Vec::len).sum::<usize>();
        if self.pipeline.len() == MAX_COMMANDS || self.bytes + bytes > MAX_BYTES {
            self.send()?;
        }
        self.bytes += bytes;
        self.pipeline.command(arguments);
        self.needed_by.push(items.to_vec());
        Ok(())
    }

    /// Asks for the value of a key, which these items need.
    pub(crate) fn ask(&mut self, items: &[usize], key: &str) -> Result<(), Failure> {
        self.add(items, command(["GET", key]))?;
        self.asked.push((self.pipeline.len() - 1, key.to_owned()));
        Ok(())
    }

    /// Sends all that was added; gives what the keys have that were asked for, but for those that
    /// cannot be read: the items that need them are refused.
    pub(crate) fn answers(&mut self) -> Result<Vec<(String, Option<String>)>, Failure> {
        self.send()?;
        Ok(std::mem::take(&mut self.answers))
    }

    /// Sends the last commands. Each item that a failed command was for is refused, once.
    ///
    /// What can succeed later is about the server: it is loading, full, or a replica. All of
    /// the batch waits for it, in its order; writing some of it again changes nothing.
    pub(crate) fn finish(mut self) -> Outcome {
        self.send()?;
        let passing = |refusal: &Refusal| match &refusal.failure {
            Failure::Retry(retry) => Some(Failure::Retry(retry.clone())),
            Failure::Reject(_) => None,
        };
        if let Some(failure) = self.refusals.iter().find_map(passing) {
            return Err(failure);
        }
        self.refusals.sort_by_key(|refusal| refusal.index);
        self.refusals.dedup_by_key(|refusal| refusal.index);
        Ok(self.refusals)
    }

    fn send(&mut self) -> Result<(), Failure> {
        let pipeline = std::mem::take(&mut self.pipeline);
        let needed_by = std::mem::take(&mut self.needed_by);
        self.bytes = 0;
        let asked = std::mem::take(&mut self.asked);
        if pipeline.is_empty() {
            return Ok(());
        }
        let mut replies = pipeline.send(CONNECTION)?;
        self.refusals.extend(refusals(&replies, &needed_by));
        for (place, key) in asked {
            if let Reply::Scalar(reply) = &mut replies[place]
                && !matches!(reply, Scalar::Error(_))
            {
                self.answers.push((key, std::mem::replace(reply, Scalar::Nil).into_text()));
            }
        }
        Ok(())
    }
}

fn refusals<'a>(replies: &'a [Reply], needed_by: &'a [Vec<usize>]) -> impl Iterator<Item = Refusal> + 'a {
    let failures = replies.iter().map(Reply::failure).zip(needed_by);
    failures
        .filter_map(|(failure, items)| Some((failure?, items)))
        .flat_map(|(failure, items)| items.iter().map(move |&item| Refusal::new(item, failure.clone())))
}

/// The arguments of a command.
pub(crate) fn command<const N: usize>(arguments: [&str; N]) -> Vec<Vec<u8>> {
    arguments.map(|argument| argument.as_bytes().to_vec()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use returner_sdk::redis::Error;

    #[test]
    fn a_failed_command_refuses_the_items_that_need_it() {
        let error = |message: &str, retryable| Error { message: message.to_owned(), retryable };
        let replies = [
            Reply::Scalar(Scalar::Integer(1)),
            Reply::Scalar(Scalar::Error(error("OOM command not allowed", true))),
            Reply::Scalar(Scalar::Error(error("WRONGTYPE not a hash", false))),
        ];
        let needed_by = [vec![0, 1], vec![0, 2], vec![1]];
        let found: Vec<Refusal> = refusals(&replies, &needed_by).collect();
        assert_eq!(found.iter().map(|refusal| refusal.index).collect::<Vec<_>>(), [0, 2, 1]);
        assert!(matches!(found[0].failure, Failure::Retry(_)));
        assert!(matches!(found[2].failure, Failure::Reject(_)));
    }
}
