//! What really stands in the stores, and in the host's table of dead letters.
//!
//! Everything here asks the servers directly, never the host.

use std::collections::HashMap;
use std::path::Path;

use mongodb::bson::doc;
use returner_servers::{MongoDatabase, MysqlDatabase, RedisDatabase, SqliteDatabase};
use serde_json::Value;

use crate::targets::Target;

/// The table of the plugin of `tests/guests/trapping`. Nothing in it keeps a row from
/// standing there twice.
pub(crate) const TRAPPING_TABLE: &str = "CREATE TABLE trapping (jid VARCHAR(255) NOT NULL, \
     id VARCHAR(255) NOT NULL, value LONGTEXT NOT NULL, KEY (jid, id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

/// The databases of one test bed, those that it has.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    pub(crate) mysql: Option<MysqlDatabase>,
    pub(crate) redis: Option<RedisDatabase>,
    pub(crate) mongo: Option<MongoDatabase>,
    pub(crate) sqlite: Option<SqliteDatabase>,
}

/// A return's job and minion.
pub(crate) type Name = (String, String);

/// What the functions returned, as it stands in a store; a text for each time.
pub(crate) type Found = HashMap<Name, Vec<String>>;

/// The reason of each dead letter.
pub(crate) type Dead = HashMap<(Target, String, String), String>;

impl Stores {
    pub(crate) fn mysql(&self) -> &MysqlDatabase {
        self.mysql.as_ref().expect("this test bed has MySQL")
    }

    pub(crate) fn redis(&self) -> &RedisDatabase {
        self.redis.as_ref().expect("this test bed has Redis")
    }

    fn mongo(&self) -> &MongoDatabase {
        self.mongo.as_ref().expect("this test bed has MongoDB")
    }

    pub(crate) fn sqlite(&self) -> &SqliteDatabase {
        self.sqlite.as_ref().expect("this test bed has SQLite")
    }

    /// The returns of some jobs; the ids are sorted.
    pub(crate) async fn read(&self, target: Target, jids: &[String]) -> Found {
        let (Some(first), Some(last)) = (jids.first(), jids.last()) else { return Found::new() };
        let range = format!("WHERE jid >= '{first}' AND jid <= '{last}'");
        match target {
            Target::Mysql => {
                let query = format!("SELECT jid, id, `return` FROM salt_returns {range}");
                of_rows(self.mysql().rows(&query).await)
            }
            Target::Trapping => {
                let query = format!("SELECT jid, id, value FROM trapping {range}");
                of_rows(self.mysql().rows(&query).await)
            }
            Target::Sqlite => {
                let query = format!("SELECT jid, id, full_ret FROM salt_returns {range}");
                of_rows(self.sqlite().rows(&query).await)
            }
            Target::Redis => self.read_redis(jids).await,
            Target::Mongo => self.read_mongo(jids).await,
        }
    }

    async fn read_redis(&self, jids: &[String]) -> Found {
        let mut found = Found::new();
        for jid in jids {
            let job: HashMap<String, String> = self.redis().ask(&["HGETALL", &format!("ret:{jid}")]).await;
            for (minion, full) in job {
                let full: Value = serde_json::from_str(&full).unwrap_or_default();
                found.entry((jid.clone(), minion)).or_default().push(text_of(&full["return"]));
            }
        }
        found
    }

    async fn read_mongo(&self, jids: &[String]) -> Found {
        let mut found = Found::new();
        for document in self.mongo().find("saltReturns", doc! {"jid": {"$in": jids}}).await {
            let text = |name| document.get_str(name).unwrap_or_default().to_owned();
            found.entry((text("jid"), text("minion"))).or_default().push(text("return"));
        }
        found
    }
}

/// The dead letters in the journal of a host that has stopped.
pub(crate) async fn dead_letters(data: &Path) -> Dead {
    let journal = SqliteDatabase::of_file(data.join("journal/journal.db"));
    let query = "SELECT name, body, reason FROM dead JOIN lanes ON lanes.id = dead.lane";
    let rows: Vec<(String, String, String)> = journal.rows(query).await;
    let letters = rows.into_iter().map(|(lane, body, reason)| {
        let target = Target::of_name(&lane).expect("every lane is a returner of the oracle");
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        ((target, text_of(&body["jid"]), text_of(&body["id"])), reason)
    });
    letters.collect()
}

/// Rows have the value as JSON.
fn of_rows(rows: Vec<(String, String, String)>) -> Found {
    let mut found = Found::new();
    for (jid, minion, value) in rows {
        let value: Value = serde_json::from_str(&value).unwrap_or_default();
        found.entry((jid, minion)).or_default().push(text_of(&value));
    }
    found
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
