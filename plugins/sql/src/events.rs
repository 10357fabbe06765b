//! Writes events to `salt_events`, each once.

use returner_sdk::sql::{self, Insert, Value};
use returner_sdk::{Event, Failure, Outcome, Refusal};

use crate::{CONNECTION, Column, Dialect};

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

/// Whether an earlier delivery wrote the event. A tag can have millions of rows; only those count
/// that were written since an hour before the event was accepted, or in the last hour of the
/// server's. So it is found whatever the server's clock shows, if it is delivered again within the
/// hour; and later, if the host's clock was not more than an hour ahead of it.
fn is_written<D: Dialect>(
    dialect: &D,
    [tag, data, master]: &[Value; 3],
    accepted: u64,
) -> Result<bool, Failure> {
    let statement = format!(
        "SELECT `id` FROM `salt_events` WHERE `tag` = ? AND `master_id` = ? AND `alter_time` >= {} AND {} \
         LIMIT 1{}",
        D::SINCE,
        dialect.same_data(),
        D::LOCK
    );
    let params = [tag.clone(), master.clone(), D::moment(accepted), data.clone()];
    Ok(!sql::query(CONNECTION, &statement, &params)?.rows.is_empty())
}
