//! MySQL: rows.

use returner_servers::{Host, Mariadb, MysqlDatabase, Salt, event, load};
use serde_json::{Value, json};

use super::cases::{Case, cases, options, store};
use super::contents::{Contents, Difference, compare, name_of};
use crate::stores::TUTORIAL;

const COMPOUND: &str =
    "fault 10: a list of functions, or a dictionary for `success`, is an SQL or a type error";

const RETURNS: [Difference; 3] = [
    Difference {
        place: "unicode",
        mends: "fault 9: a three-byte column does not take what Salt's module writes",
    },
    Difference { place: "compound", mends: COMPOUND },
    Difference {
        place: "salt-ssh/success",
        mends: "fault 10: where Salt sends no `success` its module writes false; the host takes it from `retcode`",
    },
];

async fn returns(database: &MysqlDatabase, cases: &[Case]) -> Contents {
    let query = "SELECT fun, jid, `return`, id, success, full_ret FROM salt_returns";
    let rows: Vec<(String, String, String, String, String, String)> = database.rows(query).await;
    let mut contents = Contents::default();
    for (fun, jid, value, id, success, full) in rows {
        let case = name_of(cases, &jid);
        contents.put(case, "fun", json!(fun));
        contents.put_json(case, "return", &value);
        contents.put(case, "id", json!(id));
        contents.put(case, "success", json!(success));
        contents.put_json(case, "full_ret", &full);
    }
    contents
}

/// Two databases with the tables of Salt's manual: the host's, and that of Salt's module.
pub(super) async fn pair(server: &Mariadb) -> (MysqlDatabase, MysqlDatabase) {
    let pair = (server.database().await, server.database().await);
    pair.0.execute(TUTORIAL).await;
    pair.1.execute(TUTORIAL).await;
    pair
}

#[tokio::test]
async fn rows_of_returns_are_salts() {
    let (ours, salts) = pair(Mariadb::shared().await).await;
    let host = Host::start(&format!("return: mysql\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mysql", &salts.options()));
    let cases = cases();
    let raised = store(&cases, &mut salt, "mysql", &host).await;
    assert_eq!(
        raised.iter().map(|(case, _)| *case).collect::<Vec<_>>(),
        ["unicode", "compound"],
        "{raised:?}"
    );
    compare(&returns(&ours, &cases).await, &returns(&salts, &cases).await, &RETURNS);
}

#[tokio::test]
async fn rows_of_loads_and_events_are_salts() {
    let (ours, salts) = pair(Mariadb::shared().await).await;
    let config = format!("return: mysql\nevent_return: mysql\nid: master1\n{}", ours.config());
    let host = Host::start(&config).await;
    let mut options = options("mysql", &salts.options());
    options.insert("id".to_owned(), json!("master1"));
    let mut salt = Salt::start(&options);
    for jid in ["20260214093012000001", "20260214093012000002"] {
        let load = load(jid, "state.apply");
        salt.call("mysql", "save_load", [json!(jid), load.clone()]);
        // And again, as Salt does with every return: the first one stays.
        salt.call("mysql", "save_load", [json!(jid), json!({"jid": jid, "fun": "x"})]);
        host.store("/v1/loads", &load).await;
        host.store("/v1/loads", &json!({"jid": jid, "fun": "x"})).await;
    }
    let events = json!([event("a/b", json!({"_stamp": "x", "é": 1})), event("c", json!({"n": [1.5, null]}))]);
    salt.call("mysql", "event_return", [events.clone()]);
    host.store("/v1/events", &events).await;
    let contents = async |database: &MysqlDatabase| {
        let mut contents = Contents::default();
        let loads: Vec<(String, String)> = database.rows("SELECT `jid`, `load` FROM jids").await;
        for (jid, load) in loads {
            contents.put_json(&jid, "load", &load);
        }
        let events: Vec<(String, String, String)> =
            database.rows("SELECT tag, data, master_id FROM salt_events").await;
        for (tag, data, master) in events {
            let tag = tag.replace('/', ".");
            contents.put_json(&tag, "data", &data);
            contents.put(&tag, "master_id", Value::from(master));
        }
        contents
    };
    compare(&contents(&ours).await, &contents(&salts).await, &[]);
}
