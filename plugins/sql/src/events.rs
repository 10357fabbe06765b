//! Writes events to `salt_events`, each once.

use returner_sdk::sql::{self, Insert, Value};
use returner_sdk::{Event, Failure, Outcome, Refusal};

use crate::{CONNECTION, Column, Dialect};

/// How far the clocks of the host and of the server may be apart, in milliseconds.
const CLOCKS: u64 = 3_600_000;

/// Writes a batch.
///
/// # Errors
/// The server's: nothing is written.
pub fn store<D: Dialect>(dialect: &D, batch: Vec<Event>) -> Outcome {
    let mut insert = Insert::new(CONNECTION, "INSERT INTO `salt_events` (`tag`, `data`, `master_id`) VALUES");
    let mut refusals = Vec::new();
    for (index, item) in batch.into_iter().enumerate() {
        let (accepted, redelivered) = (item.accepted, item.redelivered);
        match fit(dialect, item) {
            Ok(row) if redelivered && is_written(dialect, &row, accepted)? => {}
            Ok(row) => insert.row(row)?,
            Err(failure) => refusals.push(Refusal::new(index, failure)),
        }
    }
    insert.finish()?;
    Ok(refusals)
}

fn fit(dialect: &impl Dialect, item: Event) -> Result<[Value; 3], Failure> {
    Ok([
        dialect.fit(Column::Tag, item.tag)?.into(),
        dialect.fit(Column::Data, item.data)?.into(),
        dialect.fit(Column::MasterId, item.master)?.into(),
    ])
}

/// Whether an earlier delivery wrote the event. A tag can have millions of rows;
/// only those count that were written since the event was accepted.
fn is_written<D: Dialect>(
    dialect: &D,
    [tag, data, master]: &[Value; 3],
    accepted: u64,
) -> Result<bool, Failure> {
    let statement = format!(
        "SELECT `id` FROM `salt_events` WHERE `tag` = ? AND `master_id` = ? AND `alter_time` >= {} AND {} \
         LIMIT 1{}",
        D::MOMENT,
        dialect.same_data(),
        D::LOCK
    );
    let since = D::moment(accepted.saturating_sub(CLOCKS));
    let params = [tag.clone(), master.clone(), since, data.clone()];
    Ok(!sql::query(CONNECTION, &statement, &params)?.rows.is_empty())
}
