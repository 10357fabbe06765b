//! Inserts documents, each once: what has its `_id` already stays as it is.

use std::collections::HashSet;

use returner_sdk::mongo::{self, DUPLICATE_KEY, FindOptions, WriteError};
use returner_sdk::{Failure, Outcome, Refusal, json};

use crate::CONNECTION;
use crate::document::Document;

/// Inserts documents, the one at each place for the item of the batch at that place.
/// One that the server refuses is tried once more in its other form.
pub(crate) fn insert(collection: &str, documents: &[Document]) -> Outcome {
    let places: Vec<usize> = (0..documents.len()).collect();
    insert_some(collection, documents, &places)
}

/// Inserts the documents at these places.
pub(crate) fn insert_some(collection: &str, documents: &[Document], places: &[usize]) -> Outcome {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let first: Vec<String> = places.iter().map(|&place| documents[place].first()).collect();
    let (again, mut refusals) = match mongo::insert(CONNECTION, collection, &first) {
        Ok(errors) => other_forms(documents, refused(collection, documents, places, errors)?),
        Err(error) if error.retryable => return Err(error.into()),
        // Some servers refuse all for one of them.
        Err(error) => {
            let other: Vec<_> = places.iter().map(|&place| documents[place].other()).collect();
            if other.iter().all(Option::is_none) {
                return Err(error.into());
            }
            let forms = other.into_iter().zip(first).map(|(other, first)| other.unwrap_or(first));
            (places.iter().copied().zip(forms).collect(), Vec::new())
        }
    };
    let (places, forms): (Vec<usize>, Vec<String>) = again.into_iter().unzip();
    if !places.is_empty() {
        let errors = mongo::insert(CONNECTION, collection, &forms)?;
        let refused = refused(collection, documents, &places, errors)?;
        refusals.extend(refused.into_iter().map(|(place, failure)| Refusal::new(place, failure)));
    }
    Ok(refusals)
}

/// The places to try again, each with its other form, and the refusals of the rest.
fn other_forms(
    documents: &[Document],
    refused: Vec<(usize, Failure)>,
) -> (Vec<(usize, String)>, Vec<Refusal>) {
    let (mut again, mut refusals) = (Vec::new(), Vec::new());
    for (place, failure) in refused {
        match documents[place].other() {
            Some(form) if matches!(failure, Failure::Reject(_)) => again.push((place, form)),
            _ => refusals.push(Refusal::new(place, failure)),
        }
    }
    (again, refusals)
}

/// The places of those that are not stored. A duplicate is, if its `_id` is there: a
/// collection may have unique indexes that an operator made.
fn refused(
    collection: &str,
    documents: &[Document],
    places: &[usize],
    errors: Vec<WriteError>,
) -> Result<Vec<(usize, Failure)>, Failure> {
    let place =
        |error: &WriteError| usize::try_from(error.index).ok().and_then(|index| places.get(index).copied());
    let errors: Vec<(usize, WriteError)> =
        errors.into_iter().filter_map(|error| Some((place(&error)?, error))).collect();
    let duplicates = errors.iter().filter(|(_, error)| error.code == DUPLICATE_KEY);
    let present = present(collection, duplicates.map(|(place, _)| documents[*place].id.as_str()).collect())?;
    Ok(errors
        .into_iter()
        .filter(|(place, error)| error.code != DUPLICATE_KEY || !present.contains(&documents[*place].id))
        .map(|(place, error)| (place, failure(&error)))
        .collect())
}

/// A duplicate of an `_id` that is not there is not there yet: an insert that the host gave
/// up is still on its way through the server, and may be undone.
fn failure(error: &WriteError) -> Failure {
    if error.code == DUPLICATE_KEY && !names_another_index(&error.message) {
        Failure::retry(format!("{} ({}), by a write that is not done yet", error.message, error.code))
    } else {
        error.failure()
    }
}

/// Whether a message about a duplicate names an index, and not that of `_id`.
fn names_another_index(message: &str) -> bool {
    message.contains(" index") && !message.contains(" index: _id_ ")
}

/// Those of these `_id`s that are there.
fn present(collection: &str, ids: Vec<&str>) -> Result<HashSet<String>, Failure> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let filter = format!(r#"{{"_id":{{"$in":{}}}}}"#, json::array(ids));
    let options = FindOptions { sort: None, projection: Some(r#"{"_id":1}"#.to_owned()), limit: None };
    let found = mongo::find(CONNECTION, collection, &filter, &options)?;
    Ok(found.iter().filter_map(|document| json::string_member(document, "_id")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_id_is_told_from_one_of_an_operators_index() {
        for message in [
            // MongoDB, nx-27017, and FerretDB on SQLite, which names none.
            r#"E11000 duplicate key error collection: salt.saltReturns index: _id_ dup key: { _id: "k" }"#,
            "UNIQUE constraint failed: saltReturns._id",
            "E11000 duplicate key error collection: salt.saltReturns",
        ] {
            assert!(!names_another_index(message), "{message}");
        }
        for message in [
            r#"E11000 duplicate key error collection: salt.saltReturns index: minion_id_1 dup key: { minion_id: "k" }"#,
            "UNIQUE constraint failed: index 'idx_saltReturns_minion'",
        ] {
            assert!(names_another_index(message), "{message}");
        }
    }
}
