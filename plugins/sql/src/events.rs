//! Writes events to `salt_events`, each once.

mod repeated;

use returner_sdk::sql::{Insert, Value};
use returner_sdk::{Event, Failure, Outcome, Refusal};

use crate::{CONNECTION, Column, Dialect};
use repeated::Repeated;

/// The tag, the data and the master, as their columns take them.
type Row = [String; 3];

/// Writes a batch.
///
/// # Errors
/// The server's: nothing is written.
pub fn store<D: Dialect>(dialect: &D, batch: Vec<Event>) -> Outcome {
    let mut rows = Vec::with_capacity(batch.len());
    let mut repeated = Repeated::default();
    let mut refusals = Vec::new();
    for (index, item) in batch.into_iter().enumerate() {
        let (accepted, redelivered) = (item.accepted, item.redelivered);
        match fit(dialect, item) {
            Ok(row) => {
                if redelivered {
                    repeated.add(dialect, rows.len(), &row, accepted)?;
                }
                rows.push(row);
            }
            Err(failure) => refusals.push(Refusal::new(index, failure)),
        }
    }
    let written = repeated.written(dialect)?;
    let mut insert = Insert::new(CONNECTION, "INSERT INTO `salt_events` (`tag`, `data`, `master_id`) VALUES");
    for (place, row) in rows.into_iter().enumerate() {
        if !written.contains(&place) {
            insert.row(row.map(Value::Text))?;
        }
    }
    insert.finish()?;
    Ok(refusals)
}

fn fit(dialect: &impl Dialect, item: Event) -> Result<Row, Failure> {
    Ok([
        dialect.fit(Column::Tag, item.tag)?,
        dialect.fit(Column::Data, item.data)?,
        dialect.fit(Column::MasterId, item.master)?,
    ])
}
