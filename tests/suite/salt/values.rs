//! Values that JSON has no form for, from a real minion.

use returner_servers::SaltVersion;
use serde_json::json;

use super::{Fixture, of_both_versions};

const MODULE: &str = r#"
import collections, datetime, decimal, os

def values():
    return {
        "text": "hé 🧂 \x00 \u2028",
        "number": 2**63 + 1,
        "negative": -(2**70),
        "float": 0.1,
        "not a number": float("nan"),
        "endless": float("-inf"),
        "bytes": "hé".encode(),
        "no text": b"\xff\x00",
        "set": {3, 1, 2},
        "tuple": (1, ("two",)),
        "time": datetime.datetime(2026, 2, 14, 9, 30, 12, 345678),
        "date": datetime.date(2026, 2, 14),
        "decimal": decimal.Decimal("1.10"),
        "ordered": collections.OrderedDict([("b", 1), ("a.b", {"$set": 1})]),
        "name of a file": os.fsdecode(b"a\xff"),
        1: "one", True: "yes", None: "no", ("a", 1): "pair",
    }
"#;

of_both_versions!(they_arrive_in_the_form_that_is_documented);

async fn they_arrive_in_the_form_that_is_documented(version: SaltVersion) {
    let fixture = Fixture::new(version).await;
    // By the module itself: on its way back to the master Salt changes some of them.
    let script = fixture.minion.cache().join("values.py");
    std::fs::write(&script, format!("{MODULE}\n{CALL}")).expect("a file");
    let directory = fixture.minion.cache().parent().expect("a directory").join("extmods/returners");
    let run = fixture.master.python(&[
        &script.display().to_string(),
        &directory.display().to_string(),
        &fixture.host.url(""),
    ]);
    run.expect(0);
    let expected = json!({
        "text": "hé 🧂 \u{0} \u{2028}",
        "number": 9_223_372_036_854_775_809_u64,
        "negative": "-1180591620717411303424",
        "float": 0.1,
        "not a number": "NaN",
        "endless": "-Infinity",
        "bytes": "hé",
        "no text": {"__bytes__": "/wA="},
        "set": [1, 2, 3],
        "tuple": [1, ["two"]],
        "time": "2026-02-14T09:30:12.345678",
        "date": "2026-02-14T00:00:00",
        "decimal": "1.10",
        "ordered": {"b": 1, "a.b": {"$set": 1}},
        "name of a file": "a\\udcff",
        "1": "yes", "null": "no", "[\"a\", 1]": "pair",
    });
    fixture.in_mysql("odd.values", &expected).await;
}

const CALL: &str = r#"
import sys
sys.path.append(sys.argv[1])
import _returner_host
opts = {"cachedir": sys.argv[1], "returner.url": sys.argv[2], "id": "m1"}
_returner_host.Returner("mysql", opts).returner(
    {"jid": "20260214093012345678", "id": "m1", "fun": "odd.values", "return": values()}
)
"#;
