//! MongoDB: documents.

use mongodb::bson::{Document, doc};
use returner_servers::{Host, MongoDatabase, Mongodb, Salt, bson_as_json, event, load, new_jid};
use serde_json::json;

use super::cases::{Case, cases, options, store};
use super::contents::{Contents, Difference, compare, name_of};

const DOTS: &str = "fault 6: Salt's module writes dots in keys as `-`, for ever";
const LOAD_KEYS: &str =
    "fault 6: Salt's module escapes the keys of every load; the server takes them as they are";

const RETURNS: [Difference; 4] = [
    Difference { place: "state/return", mends: DOTS },
    Difference { place: "state/full_ret", mends: DOTS },
    Difference { place: "compound/return", mends: DOTS },
    Difference { place: "compound/full_ret", mends: DOTS },
];

fn fields(contents: &mut Contents, case: &str, document: &Document) {
    for (field, value) in document {
        contents.put(case, field, bson_as_json(value));
    }
}

async fn returns(database: &MongoDatabase, cases: &[Case]) -> Contents {
    let mut contents = Contents::default();
    for document in database.find("saltReturns", doc! {}).await {
        let jid = document.get_str("jid").unwrap_or_default();
        fields(&mut contents, name_of(cases, jid), &document);
    }
    contents
}

#[tokio::test]
async fn documents_of_returns_are_salts() {
    let server = Mongodb::shared().await;
    let (ours, salts) = (server.database(), server.database());
    let host = Host::start(&format!("return: mongo\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mongo", &salts.options()));
    let cases = cases();
    let raised = store(&cases, &mut salt, "mongo", &host).await;
    assert!(raised.is_empty(), "{raised:?}");
    compare(&returns(&ours, &cases).await, &returns(&salts, &cases).await, &RETURNS);
}

#[tokio::test]
async fn documents_of_loads_are_salts() {
    let server = Mongodb::shared().await;
    let (ours, salts) = (server.database(), server.database());
    let host = Host::start(&format!("return: mongo\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mongo", &salts.options()));
    let mut cases = Vec::new();
    for name in ["plain", "keys"] {
        let mut item = load(&new_jid(), "state.apply");
        if name == "keys" {
            item["kwargs"] = json!({"pillar": {"a.b": 1, "$c": 2, "50%": 3}});
        }
        salt.call("mongo", "save_load", [item["jid"].clone(), item.clone()]);
        host.store("/v1/loads", &item).await;
        host.store("/v1/loads", &json!({"jid": item["jid"], "fun": "again"})).await;
        cases.push(Case { name, item });
    }
    let contents = async |database: &MongoDatabase| {
        let mut contents = Contents::default();
        for document in database.find("jobs", doc! {}).await {
            let jid = document.get_str("jid").unwrap_or_default();
            fields(&mut contents, name_of(&cases, jid), &document);
        }
        contents
    };
    let accepted = [Difference { place: "keys/kwargs", mends: LOAD_KEYS }];
    compare(&contents(&ours).await, &contents(&salts).await, &accepted);
}

#[tokio::test]
async fn documents_of_events_are_salts_and_all_of_them_are_there() {
    let server = Mongodb::shared().await;
    let (ours, salts) = (server.database(), server.database());
    let host =
        Host::start(&format!("return: mongo\nevent_return: mongo\nid: master1\n{}", ours.config())).await;
    let mut salt = Salt::start(&options("mongo", &salts.options()));
    let events = json!([event("first", json!({"a": [1, "x"]})), event("second", json!({"_stamp": "x"}))]);
    salt.call("mongo", "event_return", [events.clone()]);
    host.store("/v1/events", &events).await;
    let contents = async |database: &MongoDatabase| {
        let mut contents = Contents::default();
        for mut document in database.find("events", doc! {}).await {
            // The moment of its acceptance is another one each time.
            document.remove("accepted");
            let tag = document.get_str("tag").unwrap_or_default().to_owned();
            fields(&mut contents, &tag, &document);
        }
        contents
    };
    let accepted = [
        Difference {
            place: "second",
            mends: "fault 3: Salt's module stores the first event of a batch only",
        },
        Difference {
            place: "first/master",
            mends: "Salt's documents do not say which master an event is from",
        },
    ];
    compare(&contents(&ours).await, &contents(&salts).await, &accepted);
    assert!(salt.try_call("mongo", "event_return", [json!([])]).is_err(), "fault 3: none is an error");
}
