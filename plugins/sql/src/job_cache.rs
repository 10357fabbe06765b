//! Answers questions from Salt's tables, also about rows that Salt's own modules
//! wrote.

use std::collections::{BTreeMap, BTreeSet};

use returner_sdk::sql::{self, Value};
use returner_sdk::{Failure, Job, MinionReturn, json};

use crate::{CONNECTION, Column, Dialect};

/// Of how many minions one query reads all returns.
const LOOK: usize = 64;

/// The load of a job, with its minions.
///
/// # Errors
/// The server's.
pub fn get_load(dialect: &impl Dialect, jid: &str) -> Result<Option<String>, Failure> {
    if !dialect.can_have(Column::LoadJid, jid)? {
        return Ok(None);
    }
    let rows = sql::query(CONNECTION, "SELECT `jid`, `load` FROM `jids` WHERE `jid` = ?", &[jid.into()])?;
    Ok(rows.into_texts().find(|[found, _]| found == jid).map(|[_, load]| with_minions(load)))
}

/// The returns of a job. Salt's module writes a row for each retry of a minion: the
/// last one counts.
///
/// # Errors
/// The server's.
pub fn get_jid<D: Dialect>(dialect: &D, jid: &str) -> Result<Vec<MinionReturn>, Failure> {
    if !dialect.can_have(Column::Jid, jid)? {
        return Ok(Vec::new());
    }
    let statement = format!(
        "SELECT `id`, `jid`, `fun`, {} FROM `salt_returns` WHERE `jid` = ? ORDER BY {}",
        dialect.full(),
        D::WRITTEN
    );
    let mut newest = BTreeMap::new();
    let rows = sql::query(CONNECTION, &statement, &[jid.into()])?;
    for [minion, jid, fun, full] in rows.into_texts().filter(|[_, found, _, _]| found == jid) {
        // Two functions of one minion may be the same text in the column.
        let fun = if dialect.is_shared(&fun) { json::functions(&full).unwrap_or(fun) } else { fun };
        let resource = json::string_member(&full, "resource_id");
        newest.insert((minion.clone(), fun, resource), MinionReturn { minion, jid, full });
    }
    Ok(newest.into_values().collect())
}

/// The newest return of a function from each minion.
///
/// # Errors
/// The server's.
pub fn get_fun<D: Dialect>(dialect: &D, fun: &str) -> Result<Vec<MinionReturn>, Failure> {
    // The column may have the name's beginning only.
    let column = dialect.fit(Column::Fun, fun.to_owned())?;
    let is_shared = dialect.is_shared(fun);
    let fun_is = format!("`fun` = ? AND {} = ?", dialect.exact(Column::Fun, "`fun`"));
    let exact = |id: &str| dialect.exact(Column::Id, id);
    // Joined by both: by the column each spelling of a minion's id would find all of them, and
    // without it no index is of use.
    let statement = format!(
        "SELECT `salt_returns`.`id`, `salt_returns`.`jid`, {} FROM `salt_returns` \
         JOIN (SELECT MAX(`id`) AS `minion`, MAX(`jid`) AS `job` FROM `salt_returns` \
         WHERE {fun_is} GROUP BY {}) AS `newest` \
         ON `salt_returns`.`id` = `minion` AND {} = {} AND `salt_returns`.`jid` = `job` \
         WHERE {fun_is} ORDER BY `jid`, {}",
        dialect.full(),
        exact("`id`"),
        exact("`salt_returns`.`id`"),
        exact("`minion`"),
        D::WRITTEN
    );
    let params: [Value; 4] = std::array::from_fn(|_| column.as_str().into());
    let mut newest = BTreeMap::new();
    // Those whose newest return with this text in its column is of another function.
    let mut others = BTreeSet::new();
    for [minion, jid, full] in sql::query(CONNECTION, &statement, &params)?.into_texts() {
        if !is_shared || is_of(&full, fun, &column) {
            newest.insert(minion.clone(), MinionReturn { minion, jid, full });
        } else {
            others.insert(minion);
        }
    }
    let others: Vec<String> = others.into_iter().filter(|minion| !newest.contains_key(minion)).collect();
    for minions in others.chunks(LOOK) {
        newest.extend(look(dialect, fun, &column, minions)?);
    }
    Ok(newest.into_values().collect())
}

/// The newest return of a function from each of these minions, looked for among all that
/// have the same text in their column.
fn look<D: Dialect>(
    dialect: &D,
    fun: &str,
    column: &str,
    minions: &[String],
) -> Result<BTreeMap<String, MinionReturn>, Failure> {
    let (ids, params) = sql::placeholders(minions.iter().map(String::as_str));
    let statement = format!(
        "SELECT `id`, `jid`, {} FROM `salt_returns` \
         WHERE `fun` = ? AND {} = ? AND `id` IN ({ids}) ORDER BY `jid`, {}",
        dialect.full(),
        dialect.exact(Column::Fun, "`fun`"),
        D::WRITTEN
    );
    let params: Vec<Value> = [column.into(), column.into()].into_iter().chain(params).collect();
    let mut newest = BTreeMap::new();
    for [minion, jid, full] in sql::query(CONNECTION, &statement, &params)?.into_texts() {
        if is_of(&full, fun, column) && minions.contains(&minion) {
            newest.insert(minion.clone(), MinionReturn { minion, jid, full });
        }
    }
    Ok(newest)
}

/// Whether a return with this text in its column is of this function. One that does not say
/// is, if the column has the whole name.
fn is_of(full: &str, fun: &str, column: &str) -> bool {
    json::functions(full).map_or(fun == column, |whole| whole == fun)
}

/// The newest jobs, newest last.
///
/// # Errors
/// The server's.
pub fn get_jids(limit: Option<u32>) -> Result<Vec<Job>, Failure> {
    let statement = "SELECT `jid`, `load` FROM `jids` ORDER BY `jid` DESC LIMIT ?";
    let rows = sql::query(CONNECTION, statement, &[limit.unwrap_or(u32::MAX).into()])?;
    let mut jobs: Vec<Job> =
        rows.into_texts().map(|[jid, load]| Job { jid, load: with_minions(load) }).collect();
    jobs.reverse();
    Ok(jobs)
}

/// The minions that ever answered. Of ids that the column takes for the same it has one: telling
/// them apart would read each row, and this reads an index, of which each minion is one place.
///
/// # Errors
/// The server's.
pub fn get_minions() -> Result<Vec<String>, Failure> {
    let statement = "SELECT DISTINCT `id` FROM `salt_returns` ORDER BY `id`";
    Ok(sql::query(CONNECTION, statement, &[])?.into_texts().map(|[minion]| minion).collect())
}

fn with_minions(load: String) -> String {
    json::with_minions::<&str>(load, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_is_of_the_function_that_it_says() {
        let full = r#"{"id":"web1","fun":"module.long_one","return":true}"#;
        assert!(is_of(full, "module.long_one", "module.lon"));
        assert!(!is_of(full, "module.long_two", "module.lon"));
        assert!(!is_of(full, "module.lon", "module.lon"));
        let compound = r#"{"fun":["test.ping","cmd.run"],"return":{}}"#;
        assert!(is_of(compound, "test.ping,cmd.run", "test.ping,"));
        assert!(is_of(r#"{"return":true}"#, "module.lon", "module.lon"));
        assert!(!is_of(r#"{"return":true}"#, "module.long_one", "module.lon"));
    }
}
