//! Bodies of requests that are nearly right: nothing panics, and what is taken is what the
//! journal reads back.

use returner_fuzz::Nearly;
use returner_fuzz::bolero::check;

use super::*;

const SEEDS: [&[u8]; 7] = [
    br#"{"jid": "20260214093012345678", "id": "web1", "fun": "test.ping", "return": true, "retcode": 0, "success": true}"#,
    br#"{"jid": "req", "id": "web1", "fun": ["test.ping", "grains.items"], "fun_args": [[], []], "return": {"test.ping": true, "grains.items": {"a.b": [1, -2.5e3, null]}}, "success": {"test.ping": true}, "ret_config": "alternative", "ret_kwargs": {"db": "x"}}"#,
    br#"{"jid": "20260214093012345678", "fun": "state.apply", "tgt": "*", "tgt_type": "glob", "user": "root", "arg": [], "Minions": ["web1", "web2"]}"#,
    br#"{"tag": "salt/job/20260214093012345678/ret/web1", "data": {"_stamp": "2026-02-14T09:30:12.345678", "id": "web1"}}"#,
    b"[{\"jid\": \"1\", \"id\": \"a\", \"fun\": \"f\", \"return\": \"\\u00e4\\n\"}, {\"jid\": \"2\", \"id\": \"b\", \"fun\": \"f\", \"return\": 18446744073709551615}]",
    b"{\"jid\": \"1\", \"id\": \"a\", \"fun\": \"f\", \"return\": {}}\n{\"jid\": \"2\", \"id\": \"b\", \"fun\": \"f\", \"return\": []}\r\n\n",
    b"[\"web1\", \"web2\"]",
];

#[test]
fn bodies() {
    check!().with_type::<Nearly>().for_each(|nearly| {
        let body = nearly.of(&SEEDS);
        let Ok(body) = std::str::from_utf8(&body) else { return };
        let Ok(texts) = split(body, 1000) else { return };
        for text in texts.into_iter().flatten() {
            let _ = minion_ids(text).map(|minions| parse_minions("1", &minions));
            for kind in Kind::ALL {
                let Ok(item) = parse(kind, text, || "20260214093012345678".to_owned()) else { continue };
                let again = parse(kind, item.text(), || panic!("a job id was assigned before"));
                let again = again.expect("what was taken can be read back");
                assert_eq!(again.text(), item.text());
                // A return that was given its job id has no key until then.
                assert!(item.dedupe_key().is_none_or(|key| again.dedupe_key() == Some(key)));
                assert_eq!(again.title(), item.title());
            }
        }
    });
}
