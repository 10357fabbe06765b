//! Which events of a repeated delivery an earlier one wrote.
//!
//! Salt's table has no unique key to ask for, no index on the time, and one on the tag, of which
//! there can be millions of rows. Promises: what is looked at are the rows of the time in
//! question, and nearly none of those before them; all events of a call are looked for together,
//! and not each with a search of its own. So how long it takes depends on how much was written
//! lately, and not on how much is kept or how much comes again.
//!
//! The rows of a time are found by their ids, which a server gives in the order of time. Which of
//! them count is said by their time alone.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashSet};

use returner_sdk::Failure;
use returner_sdk::sql::{self, Value};

use super::Row;
use crate::{CONNECTION, Dialect};

/// The most events that one query looks for, and their bytes, unless one alone has more.
const ROWS: usize = 1024;
const BYTES: usize = 1_000_000;

/// The most rows that one query gives, and about their bytes: what is stored a million times over
/// comes in pages.
const PAGE: usize = 4096;
const PAGE_BYTES: usize = 8 << 20;

/// How many ids back from the newest the first look for older rows is.
const NEAR: i64 = 4096;

/// So many rows in a row are old: then those before them are, too. One alone could have been
/// written while a clock was wrong.
const OLD: usize = 100;

/// Rows that are looked for, as the server tells them, each with the places of its events.
type Sought = BTreeMap<Row, Vec<usize>>;

/// The events of a batch that are delivered again.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    sought: Sought,
    /// When the oldest of them was accepted.
    since: Option<u64>,
}

impl Repeated {
    /// Adds one that stands at a place in the batch.
    pub(super) fn add(
        &mut self,
        dialect: &impl Dialect,
        place: usize,
        [tag, data, master]: &Row,
        accepted: u64,
    ) -> Result<(), Failure> {
        let row = [tag.clone(), dialect.told_data(data)?, master.clone()];
        self.sought.entry(row).or_default().push(place);
        self.since = Some(self.since.map_or(accepted, |since| since.min(accepted)));
        Ok(())
    }

    /// The places of those that are written. Only rows count that were written since an hour
    /// before the oldest of the events was accepted, or in the last hour of the server's. So an
    /// event is found whatever the server's clock shows, if it is delivered again within the
    /// hour; and later, if the host's clock was not more than an hour ahead of it.
    pub(super) fn written<D: Dialect>(self, dialect: &D) -> Result<HashSet<usize>, Failure> {
        let mut written = HashSet::new();
        let Some(since) = self.since else { return Ok(written) };
        let since = D::moment(since);
        let after = last_before::<D>(&since)?;
        for part in parts(self.sought) {
            look(dialect, part, &since, after, &mut written)?;
        }
        Ok(written)
    }
}

/// An id up to which all rows were written before the moment, and not long before it: twice as
/// many may come after it as have to be looked at.
fn last_before<D: Dialect>(since: &Value) -> Result<i64, Failure> {
    let newest = sql::query(CONNECTION, "SELECT MAX(`id`) FROM `salt_events`", &[])?;
    let newest = newest.rows.first().and_then(|row| row.first()).and_then(Value::as_integer).unwrap_or(0);
    let statement = format!(
        "SELECT `alter_time` >= {} FROM `salt_events` WHERE `id` <= ? ORDER BY `id` DESC LIMIT {OLD}",
        D::SINCE
    );
    let mut back = NEAR;
    while back < newest {
        let id = newest - back;
        let rows = sql::query(CONNECTION, &statement, &[since.clone(), id.into()])?.rows;
        let counts = |row: &Vec<Value>| row.first().and_then(Value::as_integer) == Some(1);
        if !rows.iter().any(counts) {
            return Ok(id);
        }
        back = back.saturating_mul(2);
    }
    Ok(0)
}

/// As many at a time as one query looks for.
fn parts(sought: Sought) -> impl Iterator<Item = Sought> {
    let mut rest = sought.into_iter().peekable();
    std::iter::from_fn(move || {
        let (mut part, mut bytes) = (Sought::new(), 0);
        while part.len() < ROWS
            && let Some((row, places)) =
                rest.next_if(|(row, _)| part.is_empty() || bytes + size(row) <= BYTES)
        {
            bytes += size(&row);
            part.insert(row, places);
        }
        (!part.is_empty()).then_some(part)
    })
}

fn size(row: &Row) -> usize {
    row.iter().map(String::len).sum()
}

/// Looks for events among the rows after an id. Of what is the same to the last sign, each row is
/// one.
fn look<D: Dialect>(
    dialect: &D,
    mut sought: Sought,
    since: &Value,
    mut after: i64,
    written: &mut HashSet<usize>,
) -> Result<(), Failure> {
    let largest = sought.keys().map(size).max().unwrap_or_default().max(1);
    let page = 1 << (PAGE_BYTES / largest).clamp(1, PAGE).ilog2();
    while !sought.is_empty() {
        let rows = page_of(dialect, &sought, since, after, page)?;
        let is_last = rows.len() < page;
        for (id, row) in rows {
            after = after.max(id);
            if let Entry::Occupied(mut places) = sought.entry(row) {
                written.extend(places.get_mut().pop());
                if places.get().is_empty() {
                    places.remove();
                }
            }
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// The first rows after an id that may be those of these events, with their own ids. To the server
/// other letters may be the same ones.
fn page_of<D: Dialect>(
    dialect: &D,
    sought: &Sought,
    since: &Value,
    after: i64,
    page: usize,
) -> Result<Vec<(i64, Row)>, Failure> {
    let distinct = |column: usize| sought.keys().map(|row| row[column].as_str()).collect::<BTreeSet<_>>();
    let (tags, some_tags) = sql::placeholders(distinct(0));
    let (data, some_data) = sql::placeholders(distinct(1));
    let statement = format!(
        "SELECT `id`, `tag`, {told}, `master_id` FROM `salt_events` WHERE `id` > ? AND `alter_time` >= {} \
         AND `tag` IN ({tags}) AND {told} IN ({data}) ORDER BY `id` LIMIT {page}{}",
        D::SINCE,
        D::LOCK,
        told = dialect.data(),
    );
    let mut params = vec![after.into(), since.clone()];
    params.extend(some_tags);
    params.extend(some_data);
    let rows = sql::query(CONNECTION, &statement, &params)?.rows;
    let texts = |row: Vec<Value>| {
        let mut values = row.into_iter();
        let id = values.next().as_ref().and_then(Value::as_integer).unwrap_or(i64::MAX);
        (id, std::array::from_fn(|_| values.next().and_then(Value::into_text).unwrap_or_default()))
    };
    Ok(rows.into_iter().map(texts).collect())
}
