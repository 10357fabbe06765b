//! Writes returns to `salt_returns`, each once.

use std::collections::{HashMap, HashSet};

use returner_sdk::sql::{self, Insert, Value};
use returner_sdk::{Failure, JobReturn, Outcome, Refusal};

use crate::{CONNECTION, Column, Dialect};

/// How many returns one query looks for.
const LOOK: usize = 64;

/// Writes a batch. `head` is the INSERT up to its rows, and `row` makes one.
///
/// # Errors
/// The server's: nothing is written.
pub fn store<const COLUMNS: usize>(
    dialect: &impl Dialect,
    batch: Vec<JobReturn>,
    head: &str,
    row: impl Fn(JobReturn) -> Result<[Value; COLUMNS], Failure>,
) -> Outcome {
    let written = written(dialect, &batch)?;
    let mut insert = Insert::new(CONNECTION, head);
    let mut refusals = Vec::new();
    for (index, item) in batch.into_iter().enumerate() {
        if written.contains(&index) {
            continue;
        }
        match row(item) {
            Ok(row) => insert.row(row)?,
            Err(failure) => refusals.push(Refusal::new(index, failure)),
        }
    }
    insert.finish()?;
    Ok(refusals)
}

/// The places of those returns that an earlier delivery wrote. Salt's table has no
/// unique key, so this is looked up before a repeated delivery is written.
fn written(dialect: &impl Dialect, batch: &[JobReturn]) -> Result<HashSet<usize>, Failure> {
    let mut repeated = Vec::new();
    for (index, item) in batch.iter().enumerate().filter(|(_, item)| item.redelivered) {
        if dialect.can_have(Column::Jid, &item.jid)? && dialect.can_have(Column::Id, &item.minion)? {
            repeated.push(index);
        }
    }
    let mut found = HashSet::new();
    // Of what is the same to the last sign, each row is one: two of a minion's resources can
    // return the same.
    let mut taken: HashMap<[String; 3], usize> = HashMap::new();
    for places in repeated.chunks(LOOK) {
        let rows = look(dialect, places.iter().map(|&place| &batch[place]))?;
        for &place in places {
            let item = &batch[place];
            // What does not fit was not written, and is refused later.
            let Some(told) = dialect.told(item)? else { continue };
            let row = [item.jid.clone(), item.minion.clone(), told];
            let rows = rows.get(&row).copied().unwrap_or(0);
            let taken = taken.entry(row).or_default();
            if *taken < rows {
                *taken += 1;
                found.insert(place);
            }
        }
    }
    Ok(found)
}

/// The rows of these jobs and minions, and how often each is there.
fn look<'a, D: Dialect>(
    dialect: &D,
    items: impl Iterator<Item = &'a JobReturn> + Clone,
) -> Result<HashMap<[String; 3], usize>, Failure> {
    let (jids, mut params) = sql::placeholders(items.clone().map(|item| item.jid.as_str()));
    let (minions, more) = sql::placeholders(items.map(|item| item.minion.as_str()));
    params.extend(more);
    let statement = format!(
        "SELECT `jid`, `id`, {} FROM `salt_returns` WHERE `jid` IN ({jids}) AND `id` IN ({minions}){}",
        dialect.telling(),
        D::LOCK
    );
    let mut rows = HashMap::new();
    for row in sql::query(CONNECTION, &statement, &params)?.into_texts() {
        *rows.entry(row).or_default() += 1;
    }
    Ok(rows)
}
