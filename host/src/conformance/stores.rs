//! What stands in the stores of a plugin, and making them empty.
//!
//! What a server puts in by itself (the number of a row, the time of now) is left out, so
//! that two runs can be compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Kit;
use crate::connections::{
    AnswerBounds, Connection, MongoFind, MongoPool, Purpose, RedisPool, RedisReply, RedisScalar, SqlPool,
    SqlTransaction, SqlValue, TimeBounds,
};

const BOUNDS: AnswerBounds = AnswerBounds { bytes: 512 << 20, rows: 1_000_000 };

/// The lines of each place (a table, a key, a collection), sorted.
pub(super) type Content = BTreeMap<String, Vec<String>>;

pub(super) struct Stores {
    /// By the plugin's names.
    pub(super) connections: BTreeMap<String, Arc<Connection>>,
}

impl Stores {
    pub(super) fn open(kit: &Kit) -> Result<Self, String> {
        let opened = Connection::open_all(&kit.connections, TimeBounds::of(&kit.settings.limits));
        Ok(Self { connections: opened.map_err(|error| error.to_string())? })
    }

    /// Whether the checks may use them: nothing that is there may be lost.
    pub(super) async fn claim(&self) -> Result<(), String> {
        for (name, connection) in &self.connections {
            let held = content(name, connection).await?;
            if let Some((place, lines)) = held.iter().find(|(_, lines)| !lines.is_empty()) {
                let message = format!("{place} has {} entries: the checks empty what they use", lines.len());
                return Err(format!("{message}\n  hint: name an empty database, for the checks alone"));
            }
        }
        Ok(())
    }

    pub(super) async fn content(&self) -> Result<Content, String> {
        let mut all = Content::new();
        for (name, connection) in &self.connections {
            all.extend(content(name, connection).await?);
        }
        all.retain(|_, lines| !lines.is_empty());
        Ok(all)
    }

    /// Empties them, and creates the tables of `prepare` where there are none at all.
    pub(super) async fn empty(&self, prepare: &[String]) -> Result<(), String> {
        for (name, connection) in &self.connections {
            let failed = |error: String| format!("emptying the connection `{name}`: {error}");
            match &**connection {
                Connection::Sql(pool) => empty_sql(pool, prepare).await.map_err(failed)?,
                Connection::Redis(pool) => {
                    let flush = vec![vec![b"FLUSHDB".to_vec()]];
                    pool.pipeline(flush, BOUNDS).await.map_err(|error| failed(error.message))?;
                }
                Connection::Mongo(pool) => {
                    for collection in collections(pool).await.map_err(failed)? {
                        let deleted = pool.delete(&collection, "{}".to_owned()).await;
                        deleted.map_err(|error| failed(error.message))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether what a call wrote is undone wherever it does not end well.
    pub(super) fn are_transactional(&self) -> bool {
        self.connections.values().all(|connection| matches!(&**connection, Connection::Sql(_)))
    }
}

async fn content(name: &str, connection: &Connection) -> Result<Content, String> {
    let found = match connection {
        Connection::Sql(pool) => tables(pool).await,
        Connection::Redis(pool) => keys(pool).await,
        Connection::Mongo(pool) => documents(pool).await,
    };
    let found = found.map_err(|error| format!("the connection `{name}`: {error}"))?;
    let sorted = found.into_iter().map(|(place, mut lines)| {
        lines.sort_unstable();
        (format!("`{place}` of `{name}`"), lines)
    });
    Ok(sorted.collect())
}

async fn tables(pool: &SqlPool) -> Result<Content, String> {
    let mut transaction = pool.begin(Purpose::Read).await.map_err(|error| error.message)?;
    let mut content = Content::new();
    for (table, columns) in columns(pool, &mut transaction).await? {
        let statement = format!("SELECT {} FROM {table}", columns.join(", "));
        let rows = query(&mut transaction, statement).await?;
        content.insert(table, rows.iter().map(|row| format!("{row:?}")).collect());
    }
    transaction.rollback().await;
    Ok(content)
}

/// The tables, and their columns but those that the server fills in, quoted.
async fn columns(
    pool: &SqlPool,
    transaction: &mut SqlTransaction,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let (statement, quote) = match pool {
        SqlPool::Mysql(_) => (
            "SELECT CAST(c.table_name AS CHAR), CAST(c.column_name AS CHAR) FROM information_schema.columns c \
             WHERE c.table_schema = DATABASE() AND c.extra NOT LIKE '%auto_increment%' \
             AND COALESCE(c.column_default, '') NOT LIKE '%(%' \
             AND UPPER(COALESCE(c.column_default, '')) NOT LIKE 'CURRENT%'",
            '`',
        ),
        SqlPool::Postgres(_) => (
            "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c \
             WHERE c.table_schema = current_schema() AND c.is_identity = 'NO' \
             AND COALESCE(c.column_default, '') NOT LIKE '%(%' \
             AND UPPER(COALESCE(c.column_default, '')) NOT LIKE 'CURRENT%'",
            '"',
        ),
        SqlPool::Sqlite(_) => (
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c \
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             AND NOT (c.pk = 1 AND UPPER(c.type) = 'INTEGER') \
             AND COALESCE(c.dflt_value, '') NOT LIKE '%(%' \
             AND UPPER(COALESCE(c.dflt_value, '')) NOT LIKE 'CURRENT%'",
            '"',
        ),
    };
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in query(transaction, statement.to_owned()).await? {
        if let [SqlValue::Text(table), SqlValue::Text(column)] = &row[..] {
            let [table, column] = [table, column].map(|name| format!("{quote}{name}{quote}"));
            tables.entry(table).or_default().push(column);
        }
    }
    Ok(tables)
}

async fn query(transaction: &mut SqlTransaction, statement: String) -> Result<Vec<Vec<SqlValue>>, String> {
    let found = transaction.query(statement, Vec::new(), BOUNDS).await;
    found.map(|found| found.rows).map_err(|error| error.message)
}

async fn empty_sql(pool: &SqlPool, prepare: &[String]) -> Result<(), String> {
    let mut transaction = pool.begin(Purpose::SetUp).await.map_err(|error| error.message)?;
    let tables = columns(pool, &mut transaction).await?;
    let emptied = tables.keys().map(|table| format!("DELETE FROM {table}"));
    let prepare = prepare.iter().filter(|_| tables.is_empty()).cloned();
    for statement in emptied.chain(prepare) {
        let failed = |error: &str| format!("`{statement}`: {error}");
        let executed = transaction.execute(statement.clone(), Vec::new()).await;
        executed.map_err(|error| failed(&error.message))?;
    }
    transaction.commit().await.map_err(|error| error.to_string())
}

async fn keys(pool: &RedisPool) -> Result<Content, String> {
    let ask = async |commands| pool.pipeline(commands, BOUNDS).await.map_err(|error| error.message);
    let keys = pool.scan("*", BOUNDS).await.map_err(|error| error.message)?;
    let types = keys.iter().map(|key| vec![b"TYPE".to_vec(), key.clone()]).collect();
    let types = ask(types).await?;
    let reads = types.iter().zip(&keys).map(|(kind, key)| reading(kind, key));
    let read = ask(reads.collect()).await?;
    let place = |((key, kind), reply): ((Vec<u8>, RedisReply), RedisReply)| {
        (String::from_utf8_lossy(&key).into_owned(), entries(&kind, reply))
    };
    Ok(keys.into_iter().zip(types).zip(read).map(place).collect())
}

/// The command that reads a key of this type.
fn reading(kind: &RedisReply, key: &[u8]) -> Vec<Vec<u8>> {
    let (name, rest): (&str, &[&str]) = match type_name(kind) {
        "string" => ("GET", &[]),
        "hash" => ("HGETALL", &[]),
        "set" => ("SMEMBERS", &[]),
        "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
        "list" => ("LRANGE", &["0", "-1"]),
        _ => ("DUMP", &[]),
    };
    let head = [name.as_bytes().to_vec(), key.to_vec()];
    head.into_iter().chain(rest.iter().map(|word| word.as_bytes().to_vec())).collect()
}

/// What a key holds; the members of a set come in any order.
fn entries(kind: &RedisReply, reply: RedisReply) -> Vec<String> {
    let word = |scalar: &RedisScalar| match scalar {
        RedisScalar::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    };
    let words = match &reply {
        RedisReply::Scalar(scalar) => return vec![word(scalar)],
        RedisReply::Many(words) => words,
    };
    match type_name(kind) {
        "hash" | "zset" => {
            words.chunks(2).map(|pair| pair.iter().map(word).collect::<Vec<_>>().join(" ")).collect()
        }
        // The order is part of a list.
        "list" => vec![words.iter().map(word).collect::<Vec<_>>().join(" ")],
        _ => words.iter().map(word).collect(),
    }
}

fn type_name(kind: &RedisReply) -> &str {
    match kind {
        RedisReply::Scalar(RedisScalar::Status(name)) => name,
        _ => "",
    }
}

async fn documents(pool: &MongoPool) -> Result<Content, String> {
    let mut content = Content::new();
    for collection in collections(pool).await? {
        let found = pool.find(&collection, "{}".to_owned(), MongoFind::default(), BOUNDS).await;
        let found = found.map_err(|error| error.message)?;
        content.insert(collection, found.iter().map(|text| comparable(text)).collect());
    }
    Ok(content)
}

async fn collections(pool: &MongoPool) -> Result<Vec<String>, String> {
    pool.collections().await.map_err(|error| error.message)
}

/// A document without what the server or the clock made.
fn comparable(text: &str) -> String {
    fn mask(value: &mut Value) {
        match value {
            Value::Object(members) if members.len() == 1 && members.contains_key("$oid") => {
                *value = Value::from("an id");
            }
            Value::Object(members) if members.len() == 1 && members.contains_key("$date") => {
                *value = Value::from("a moment");
            }
            Value::Object(members) => members.values_mut().for_each(mask),
            Value::Array(items) => items.iter_mut().for_each(mask),
            _ => {}
        }
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut document) => {
            mask(&mut document);
            document.to_string()
        }
        Err(_) => text.to_owned(),
    }
}

/// The longest text of an entry in a message, in bytes.
const MOST: usize = 120;

/// What two contents differ in, in a line.
pub(super) fn difference(found: &Content, expected: &Content) -> Option<String> {
    let none = Vec::new();
    for place in expected.keys().chain(found.keys()) {
        let (has, should) = (found.get(place).unwrap_or(&none), expected.get(place).unwrap_or(&none));
        if has.len() != should.len() {
            return Some(format!("{place} has {} in place of {} entries", has.len(), should.len()));
        }
        if let Some((has, should)) = has.iter().zip(should).find(|(has, should)| has != should) {
            return Some(format!("{place} has `{}` in place of `{}`", cut(has), cut(should)));
        }
    }
    None
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let content = |lines: &[&str]| {
            Content::from([("a table".to_owned(), lines.iter().map(|&line| line.to_owned()).collect())])
        };
        assert_eq!(difference(&content(&["a", "b"]), &content(&["a", "b"])), None);
        let differs = |found: &[&str], expected: &[&str]| difference(&content(found), &content(expected));
        assert_eq!(differs(&["a"], &["a", "b"]).as_deref(), Some("a table has 1 in place of 2 entries"));
        assert_eq!(differs(&["a"], &["b"]).as_deref(), Some("a table has `a` in place of `b`"));
        assert!(difference(&Content::new(), &content(&["a"])).is_some());
    }

    #[test]
    fn what_a_server_made_is_left_out() {
        let text = r#"{"_id": {"$oid": "65"}, "at": [{"$date": "now"}], "jid": "1"}"#;
        assert_eq!(comparable(text), r#"{"_id":"an id","at":["a moment"],"jid":"1"}"#);
    }
}
