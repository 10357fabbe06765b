//! {{name}}: a row for each return in the table `{{snake}}`.

use returner_sdk::sql::{self, Value};
use returner_sdk::{Failure, JobReturn, Outcome, Returner};

/// What the configuration calls the database, in `{{name}}.connections`.
const DB: &str = "db";

struct Plugin;

returner_sdk::export!(Plugin);

impl Returner for Plugin {
    // Runs before anything is stored, and again after each reload and while storing fails.
    fn setup() -> Result<(), Failure> {
        let statement = "CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, jid varchar(255), \
                         minion varchar(255), fun varchar(255), success integer)";
        sql::execute(DB, statement, &[])?;
        Ok(())
    }

    // All statements of one call are one transaction: `Ok` commits it, `Err` undoes it. `?` makes of a database's
    // error what the host is to do: try again later, or set the return aside as one that will never be stored.
    fn store(batch: Vec<JobReturn>) -> Outcome {
        // Of these an earlier delivery may have been stored; `key` is the same each time.
        let again: Vec<&str> =
            batch.iter().filter(|item| item.redelivered).map(|item| item.key.as_str()).collect();
        for keys in again.chunks(512) {
            let (places, keys) = sql::placeholders(keys.iter().copied());
            sql::execute(DB, &format!("DELETE FROM {{snake}} WHERE item_key IN ({places})"), &keys)?;
        }
        // Many rows in one statement, and few different statements.
        let mut insert =
            sql::Insert::new(DB, "INSERT INTO {{snake}} (item_key, jid, minion, fun, success) VALUES");
        for item in batch {
            let success = Value::Integer(item.success.into());
            insert.row([item.key.into(), item.jid.into(), item.minion.into(), item.fun.into(), success])?;
        }
        insert.finish()?;
        Ok(vec![])
    }
}
