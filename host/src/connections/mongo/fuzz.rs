//! JSON that is nearly right, to BSON and back: nothing panics, and what is taken comes back
//! as it was.

use returner_fuzz::Nearly;
use returner_fuzz::bolero::check;
use serde_json::Value;

use super::bson::{document, json};

const SEEDS: [&[u8]; 4] = [
    br#"{"a": 1, "b": -9223372036854775808, "c": 2.5, "d": null, "e": [true, false, {"f": "g"}]}"#,
    br#"{"a.b": {"$set": {"x": 1}}, "": {"": ""}, "text": "\u00e4\ud83d\ude00\u0000\n"}"#,
    br#"{"_id": {"$oid": "65cc9d2f5f1b2c3d4e5f6a7b"}, "at": {"$date": "2026-02-14T09:30:12.345Z"}, "n": {"$numberLong": "5"}, "bin": {"$binary": {"base64": "AAE=", "subType": "00"}}}"#,
    br#"{"deep": [[[[[[[[{"x": [1e308, -0.0, 1e-320, 0.1]}]]]]]]]], "n": 9007199254740993}"#,
];

#[test]
fn documents() {
    check!().with_type::<Nearly>().for_each(|nearly| {
        let Ok(text) = String::from_utf8(nearly.of(&SEEDS)) else { return };
        let Ok(first) = document(&text) else { return };
        let back = json(&first).expect("what was taken can be given back");
        let again = document(&back).expect("what was given back can be taken");
        assert_eq!(first.as_bytes(), again.as_bytes(), "{text} came back as {back}");
        if !text.contains('$') {
            let read = |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON");
            assert_eq!(read(&text), read(&back));
        }
    });
}
