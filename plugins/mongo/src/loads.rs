//! Writes loads to `jobs`: the first of a job wins. Minions that become known later
//! are added to its `Minions`; if the load never came, to a document without a
//! function, which the load is added to if it does come.

use std::collections::{HashMap, HashSet};

use returner_sdk::mongo::{self, FindOptions, Update, WriteError};
use returner_sdk::{Failure, JobLoad, JobMinions, Loads, Outcome, Refusal, json};

use crate::document::Document;
use crate::insert::insert_some;
use crate::{CONNECTION, JOBS, Mongo};

impl Loads for Mongo {
    fn store(batch: Vec<JobLoad>) -> Outcome {
        let known = known(&batch)?;
        let mut seen = HashSet::new();
        let (mut new, mut waiting) = (Vec::new(), Vec::new());
        for (index, item) in batch.iter().enumerate() {
            match known.get(&item.jid) {
                _ if !seen.insert(&item.jid) => {}
                None => new.push(index),
                Some(Known::Load) => {}
                Some(Known::Minions(minions)) => waiting.push((index, complete(item, minions))),
            }
        }
        let documents: Vec<Document> = batch.into_iter().map(document).collect();
        let mut refusals = insert_some(JOBS, &documents, &new)?;
        refusals.extend(update(waiting)?);
        Ok(refusals)
    }

    fn add_minions(batch: Vec<JobMinions>) -> Outcome {
        let jobs = |index: usize| json::quote(&batch[index].jid);
        // Not every server adds to a list that is not there.
        let begin = (0..batch.len()).map(|index| {
            let filter = format!(r#"{{"jid":{},"Minions":{{"$exists":false}}}}"#, jobs(index));
            (index, Update { filter, change: r#"{"$set":{"Minions":[]}}"#.to_owned(), upsert: false })
        });
        let mut refusals = update(begin.collect())?;
        // One minion an update: not every server has `$each`.
        let add = batch.iter().enumerate().flat_map(|(index, item)| {
            let jid = jobs(index);
            item.minions.iter().map(move |minion| {
                let minion = json::quote(minion);
                let change =
                    format!(r#"{{"$addToSet":{{"Minions":{minion}}},"$setOnInsert":{{"_id":{jid}}}}}"#);
                (index, Update { filter: format!(r#"{{"jid":{jid}}}"#), change, upsert: true })
            })
        });
        refusals.extend(update(add.collect())?);
        refusals.sort_by_key(|refusal| refusal.index);
        refusals.dedup_by_key(|refusal| refusal.index);
        Ok(refusals)
    }
}

fn document(item: JobLoad) -> Document {
    let load = json::with_minions(item.full, &item.minions);
    Document::of_load(item.jid, load)
}

/// What is in `jobs` of a job.
#[derive(Debug)]
enum Known {
    Load,
    /// Its minions only.
    Minions(Vec<String>),
}

fn known(batch: &[JobLoad]) -> Result<HashMap<String, Known>, Failure> {
    let jids = json::array(batch.iter().map(|item| &item.jid));
    let projection = r#"{"_id":0,"jid":1,"fun":1,"Minions":1,"stored_as":1}"#;
    let options = FindOptions { sort: None, projection: Some(projection.to_owned()), limit: None };
    let found = mongo::find(CONNECTION, JOBS, &format!(r#"{{"jid":{{"$in":{jids}}}}}"#), &options)?;
    Ok(found
        .iter()
        .filter_map(|document| {
            let is_load = json::member(document, "fun").or(json::member(document, "stored_as")).is_some();
            let minions = json::member(document, json::MINIONS).and_then(json::strings).unwrap_or_default();
            let known = if is_load { Known::Load } else { Known::Minions(minions) };
            Some((json::string_member(document, "jid")?, known))
        })
        .collect())
}

/// Adds a load to a document that has minions only.
fn complete(item: &JobLoad, minions: &[String]) -> Update {
    let all: Vec<&String> = item.minions.iter().chain(minions).collect();
    let load = json::with_minions(item.full.clone(), &all);
    Update {
        filter: format!(r#"{{"_id":{}}}"#, json::quote(&item.jid)),
        change: Document::of_load(item.jid.clone(), load).change(),
        upsert: false,
    }
}

/// Runs updates, each for the item at a place of the batch.
fn update(updates: Vec<(usize, Update)>) -> Outcome {
    if updates.is_empty() {
        return Ok(Vec::new());
    }
    let (places, updates): (Vec<usize>, Vec<Update>) = updates.into_iter().unzip();
    let errors = mongo::update_many(CONNECTION, JOBS, &updates)?;
    let refusal = |error: &WriteError| {
        let place = places.get(usize::try_from(error.index).ok()?)?;
        Some(Refusal::new(*place, error.failure()))
    };
    Ok(errors.iter().filter_map(refusal).collect())
}
