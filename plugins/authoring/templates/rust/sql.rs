//! {{name}}: a row for each return in the table `{{snake}}`.

use returner_sdk::{Failure, JobReturn, Outcome, Returner, config, sql};

/// What the configuration calls the database, in `{{name}}.connections`.
const DB: &str = "db";

struct Plugin;

returner_sdk::export!(Plugin);

impl Returner for Plugin {
    // The options that it knows; the host refuses a configuration with another one.
    const OPTIONS: &'static [&'static str] = &["severity"];

    // Runs before anything is stored, and again after each reload and while storing fails.
    fn setup() -> Result<(), Failure> {
        let statement = "CREATE TABLE IF NOT EXISTS {{snake}} (item_key varchar(32) PRIMARY KEY, jid varchar(255), \
                         minion varchar(255), fun varchar(255), severity varchar(32))";
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
            sql::Insert::new(DB, "INSERT INTO {{snake}} (item_key, jid, minion, fun, severity) VALUES");
        let usual = config::get("severity").unwrap_or_else(|| "info".to_owned());
        for item in batch {
            let severity = if item.success { usual.as_str() } else { "error" };
            insert.row([
                item.key.into(),
                item.jid.into(),
                item.minion.into(),
                item.fun.into(),
                severity.into(),
            ])?;
        }
        insert.finish()?;
        Ok(vec![])
    }
}
