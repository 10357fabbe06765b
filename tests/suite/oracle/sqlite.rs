//! SQLite: rows.

use returner_servers::{Host, Salt, SqliteDatabase};
use serde_json::json;

use super::cases::{Case, cases, options, store};
use super::contents::{Contents, Difference, compare, name_of};

/// As the documentation of Salt's module makes the tables.
pub(crate) const SALTS: &str = "
    CREATE TABLE jids (jid TEXT PRIMARY KEY, load TEXT NOT NULL);
    CREATE TABLE salt_returns (
        fun TEXT KEY, jid TEXT KEY, id TEXT KEY, fun_args TEXT, date TEXT NOT NULL, full_ret TEXT NOT NULL,
        success TEXT NOT NULL
    );
";

const DIFFERENCES: [Difference; 3] = [
    Difference {
        place: "arguments/fun_args",
        mends: "Salt's module writes Python's way to print a list, which no other reader understands; ours is JSON",
    },
    Difference {
        place: "salt-ssh/success",
        mends: "Salt's module writes no success at all; the host takes `retcode`",
    },
    Difference { place: "compound", mends: "fault 10: a list of functions is a type error" },
];

async fn returns(database: &SqliteDatabase, cases: &[Case]) -> Contents {
    let query = "SELECT fun, jid, id, fun_args, full_ret, success FROM salt_returns";
    let rows: Vec<(String, String, String, Option<String>, String, String)> = database.rows(query).await;
    let mut contents = Contents::default();
    for (fun, jid, id, arguments, value, success) in rows {
        let case = name_of(cases, &jid);
        contents.put(case, "fun", json!(fun));
        contents.put(case, "id", json!(id));
        contents.put(case, "fun_args", json!(arguments));
        contents.put_json(case, "full_ret", &value);
        contents.put(case, "success", json!(success));
    }
    contents
}

#[tokio::test]
async fn rows_of_returns_are_salts() {
    let salts = SqliteDatabase::new();
    salts.execute(SALTS).await;
    // On the table that our schema makes, and on the one of Salt's manual.
    for schema in [None, Some(SALTS)] {
        let ours = SqliteDatabase::new();
        if let Some(schema) = schema {
            ours.execute(schema).await;
        }
        let host = Host::start(&ours.config()).await;
        let mut salt = Salt::start(&options("sqlite3", &salts.options()));
        let cases = cases();
        let raised = store(&cases, &mut salt, "sqlite3", &host).await;
        assert_eq!(raised.iter().map(|(case, _)| *case).collect::<Vec<_>>(), ["compound"], "{raised:?}");
        compare(&returns(&ours, &cases).await, &returns(&salts, &cases).await, &DIFFERENCES);
        salts.execute("DELETE FROM salt_returns").await;
    }
}
