//! Many writes at once. What is wrong with one of them is reported for that one; the
//! others are done.
//!
//! An outage that a server reports for single writes is an outage of the call: a
//! plugin writes by key, and can safely do all of it again.

use bson::raw::cstr;
use bson::{Document, RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
use mongodb::error::ErrorKind;
use mongodb::{Collection, Database};

use super::bson::{BsonError, LARGEST, document};
use super::error::{MongoError, is_outage};

/// The most updates of one command.
const UPDATES: usize = 1000;

/// What an update carries beside its filter and its change, at most.
const UPDATE_OVERHEAD: usize = 64;

/// One operation of a bulk call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MongoWriteError {
    /// The operation's place in the call, from 0.
    pub(crate) index: u32,
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// One operation of `update_many`: changes at most one document.
#[derive(Debug, Clone)]
pub(crate) struct MongoUpdate {
    /// JSON.
    pub(crate) filter: String,
    /// JSON: operators such as `$set`.
    pub(crate) change: String,
    /// Insert it where nothing matches.
    pub(crate) upsert: bool,
}

/// What became of a bulk call so far.
#[derive(Default)]
struct Report(Vec<MongoWriteError>);

impl Report {
    fn invalid(&mut self, index: usize, error: &BsonError) {
        self.push(index, error.code(), error.to_string());
    }

    /// A write error of the server.
    fn refused(&mut self, index: usize, code: i32, message: String) -> Result<(), MongoError> {
        if is_outage(code) {
            return Err(MongoError::of_server(code, message));
        }
        self.push(index, code, message);
        Ok(())
    }

    /// The answer to an `update` command whose updates have these places in the call.
    fn update_reply(&mut self, reply: &Document, places: &[usize]) -> Result<(), MongoError> {
        if let Ok(error) = reply.get_document("writeConcernError") {
            let code = error.get_i32("code").ok();
            let message = error.get_str("errmsg").unwrap_or("the write concern was not met").to_owned();
            return Err(MongoError { code, message, retryable: true });
        }
        let Ok(errors) = reply.get_array("writeErrors") else { return Ok(()) };
        for error in errors {
            let unreadable = || MongoError::outage("the server's answer names an update that there is not");
            let error = error.as_document().ok_or_else(unreadable)?;
            let index =
                error.get_i32("index").ok().and_then(|index| places.get(usize::try_from(index).ok()?));
            let index = index.copied().ok_or_else(unreadable)?;
            let message = error.get_str("errmsg").unwrap_or_default().to_owned();
            self.refused(index, error.get_i32("code").unwrap_or_default(), message)?;
        }
        Ok(())
    }

    fn push(&mut self, index: usize, code: i32, message: String) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.0.push(MongoWriteError { index, code, message });
    }

    fn finish(mut self) -> Vec<MongoWriteError> {
        self.0.sort_by_key(|error| error.index);
        self.0
    }
}

pub(super) async fn insert(
    collection: &Collection<RawDocumentBuf>,
    documents: Vec<String>,
) -> Result<Vec<MongoWriteError>, MongoError> {
    let mut report = Report::default();
    let mut places = Vec::with_capacity(documents.len());
    let mut valid = Vec::with_capacity(documents.len());
    for (index, json) in documents.iter().enumerate() {
        match document(json) {
            Ok(document) => {
                places.push(index);
                valid.push(document);
            }
            Err(error) => report.invalid(index, &error),
        }
    }
    drop(documents);
    if valid.is_empty() {
        return Ok(report.finish());
    }
    let Err(error) = collection.insert_many(&valid).ordered(false).await else { return Ok(report.finish()) };
    let ErrorKind::InsertMany(failed) = &*error.kind else { return Err(error.into()) };
    if let Some(error) = &failed.write_concern_error {
        return Err(MongoError { code: Some(error.code), message: error.message.clone(), retryable: true });
    }
    for error in failed.write_errors.iter().flatten() {
        let unknown = || MongoError::outage("the server's answer names a document that there is not");
        let index = places.get(error.index).copied().ok_or_else(unknown)?;
        report.refused(index, error.code, error.message.clone())?;
    }
    Ok(report.finish())
}

pub(super) async fn update_many(
    database: &Database,
    collection: &str,
    concern: &RawDocument,
    updates: Vec<MongoUpdate>,
) -> Result<Vec<MongoWriteError>, MongoError> {
    let mut report = Report::default();
    let mut command = UpdateCommand::default();
    for (index, update) in updates.iter().enumerate() {
        let (filter, change) = match (document(&update.filter), document(&update.change)) {
            (Ok(filter), Ok(change)) => (filter, change),
            (Err(error), _) | (_, Err(error)) => {
                report.invalid(index, &error);
                continue;
            }
        };
        let size = filter.as_bytes().len() + change.as_bytes().len() + UPDATE_OVERHEAD;
        if !command.has_room(size) {
            std::mem::take(&mut command).run(database, collection, concern, &mut report).await?;
        }
        let update = rawdoc! { "q": filter, "u": change, "upsert": update.upsert, "multi": false };
        command.add(index, update, size);
    }
    command.run(database, collection, concern, &mut report).await?;
    Ok(report.finish())
}

/// An `update` command: the driver has no call for many updates that servers older
/// than MongoDB 8 take.
#[derive(Default)]
struct UpdateCommand {
    /// Each with its place in the call.
    updates: Vec<(usize, RawDocumentBuf)>,
    size: usize,
}

impl UpdateCommand {
    fn has_room(&self, size: usize) -> bool {
        self.updates.is_empty() || (self.updates.len() < UPDATES && self.size + size <= LARGEST)
    }

    fn add(&mut self, index: usize, update: RawDocumentBuf, size: usize) {
        self.updates.push((index, update));
        self.size += size;
    }

    /// Runs it. FerretDB stops at the first update that fails and does not say which
    /// one that was: then each half is run again, down to the one that fails. An
    /// update may so be run twice, as it may after any error.
    async fn run(
        self,
        database: &Database,
        collection: &str,
        concern: &RawDocument,
        report: &mut Report,
    ) -> Result<(), MongoError> {
        let mut waiting = vec![self.updates];
        while let Some(mut updates) = waiting.pop() {
            if updates.is_empty() {
                continue;
            }
            let mut list = RawArrayBuf::new();
            for (_, update) in &updates {
                list.push(update.clone());
            }
            let mut command = rawdoc! { "update": collection, "ordered": false, "updates": list };
            command.append(cstr!("writeConcern"), concern.to_owned());
            let reply = database.run_raw_command(command).await?;
            if stopped_early(&reply) && updates.len() > 1 {
                let second = updates.split_off(updates.len() / 2);
                waiting.extend([second, updates]);
                continue;
            }
            let places: Vec<usize> = updates.iter().map(|(index, _)| *index).collect();
            report.update_reply(&reply, &places)?;
        }
        Ok(())
    }
}

/// Whether a server gave up at the first error: it has not counted what it did.
fn stopped_early(reply: &Document) -> bool {
    reply.get_array("writeErrors").is_ok() && !reply.contains_key("n")
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn a_command_is_bounded() {
        let mut command = UpdateCommand::default();
        // One that is too large alone is the server's to refuse.
        assert!(command.has_room(LARGEST + 1));
        command.add(0, rawdoc! {}, 10);
        assert!(command.has_room(LARGEST - 10));
        assert!(!command.has_room(LARGEST));
        for index in 1..UPDATES {
            command.add(index, rawdoc! {}, 1);
        }
        assert!(!command.has_room(1));
    }

    #[test]
    fn a_reply_is_read_only_as_far_as_it_says_what_was_done() {
        let error = doc! { "index": 1, "code": 2, "errmsg": "no dots" };
        let counted = doc! { "ok": 1, "n": 1, "writeErrors": [error.clone()] };
        let not_counted = doc! { "ok": 1, "writeErrors": [error] };
        assert!(!stopped_early(&counted) && stopped_early(&not_counted));
        let mut report = Report::default();
        assert_eq!(report.update_reply(&counted, &[4, 7]), Ok(()));
        assert_eq!(report.0[0].index, 7);
        assert!(report.update_reply(&counted, &[4]).is_err());
    }

    #[test]
    fn an_outage_of_one_write_is_one_of_the_call() {
        let mut report = Report::default();
        assert!(report.refused(1, 11000, "duplicate".to_owned()).is_ok());
        report.invalid(0, &BsonError::Deep);
        assert!(report.refused(2, 10107, "not primary".to_owned()).is_err_and(|error| error.retryable));
        assert_eq!(report.finish().iter().map(|error| error.index).collect::<Vec<_>>(), [0, 1]);
    }
}
