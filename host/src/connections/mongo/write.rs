//! Many writes at once. What is wrong with one of them is reported for that one; the
//! others are done.
//!
//! An outage that a server reports for single writes is an outage of the call: a
//! plugin writes by key, and can safely do all of it again.

use bson::raw::cstr;
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};
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
        let index = places.get(error.index).copied().unwrap_or(error.index);
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
    updates: RawArrayBuf,
    /// The places of its updates in the call.
    places: Vec<usize>,
    size: usize,
}

impl UpdateCommand {
    fn has_room(&self, size: usize) -> bool {
        self.places.is_empty() || (self.places.len() < UPDATES && self.size + size <= LARGEST)
    }

    fn add(&mut self, index: usize, update: RawDocumentBuf, size: usize) {
        self.updates.push(update);
        self.places.push(index);
        self.size += size;
    }

    async fn run(
        self,
        database: &Database,
        collection: &str,
        concern: &RawDocument,
        report: &mut Report,
    ) -> Result<(), MongoError> {
        if self.places.is_empty() {
            return Ok(());
        }
        let mut command = rawdoc! { "update": collection, "ordered": false, "updates": self.updates };
        command.append(cstr!("writeConcern"), concern.to_owned());
        let reply = database.run_raw_command(command).await?;
        if let Ok(error) = reply.get_document("writeConcernError") {
            let code = error.get_i32("code").ok();
            let message = error.get_str("errmsg").unwrap_or("the write concern was not met").to_owned();
            return Err(MongoError { code, message, retryable: true });
        }
        for error in reply.get_array("writeErrors").into_iter().flatten() {
            let Some(error) = error.as_document() else { continue };
            let index =
                error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
            let index = self.places.get(index).copied().unwrap_or(index);
            let message = error.get_str("errmsg").unwrap_or_default().to_owned();
            report.refused(index, error.get_i32("code").unwrap_or_default(), message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
    fn an_outage_of_one_write_is_one_of_the_call() {
        let mut report = Report::default();
        assert!(report.refused(1, 11000, "duplicate".to_owned()).is_ok());
        report.invalid(0, &BsonError::Deep);
        assert!(report.refused(2, 10107, "not primary".to_owned()).is_err_and(|error| error.retryable));
        assert_eq!(report.finish().iter().map(|error| error.index).collect::<Vec<_>>(), [0, 1]);
    }
}
