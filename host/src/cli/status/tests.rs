use super::*;
use crate::journal::AppendError;
use serde_json::json;

fn answer(returner: Value, journal: Value) -> Answer {
    let mut whole = json!({
        "name": "mysql", "state": "ready", "depth": 0, "oldest_ms": null, "stored": 5, "retried": 0, "dead": 0,
        "failing": null, "held": null, "last_error": null, "went_back": null,
    });
    let more = returner.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(more);
    let asked_for = json!({"bytes": 0, "limit": 1 << 17, "refuses": null});
    let mut queue =
        json!({"bytes": 8192, "limit": 1 << 20, "refuses": null, "commits": null, "asked_for": asked_for});
    queue.as_object_mut().unwrap().extend(journal.as_object().unwrap().clone());
    serde_json::from_value(
        json!({"returners": [whole], "orphaned": [], "configuration": {"error": null}, "journal": queue}),
    )
    .unwrap()
}

#[test]
fn of_a_lane_that_is_well_there_is_the_table_only() {
    let answer = answer(
        json!({"last_error": {"message": "long ago", "of_dead_letter": false, "ago_ms": 9}}),
        json!({}),
    );
    assert_eq!(answer.returners[0].row(), ["mysql", "ready", "0", "-", "0", "5", "0", "0"]);
    assert_eq!(answer.paragraphs(), ["journal: taking in; 8.0 KiB of 1.0 MiB"]);
}

#[test]
fn of_a_lane_that_fails_it_says_since_when_why_and_what_is_next() {
    let failing = json!({
        "since": "2026-02-14T09:30:12.000Z", "for_ms": 200_000, "tries": 17, "next": "store 500 returns",
        "next_try_ms": 12_000,
    });
    let returner = json!({
        "state": "retrying", "depth": 1200, "oldest_ms": 201_000, "failing": failing, "dead": 1,
        "last_error": {"message": "refused\nby the server", "of_dead_letter": false, "ago_ms": 4000},
    });
    let answer = answer(returner, json!({}));
    assert_eq!(answer.returners[0].row()[..4], ["mysql", "retrying", "1200", "3m 21s"]);
    let text = "mysql: failing for 3m 20s (since 2026-02-14T09:30:12.000Z), 17 tries\n  \
                error  refused\n         by the server (4.0s ago)\n  \
                next   store 500 returns, in 12s at the latest\n  \
                hint: nothing is lost, its items wait in the journal; it goes on by itself when what the \
                error says is mended\n\
                mysql: 1 item was rejected for good and kept as dead letters\n  \
                hint: `returner dead list --returner mysql` says which and why; `returner dead replay \
                --returner mysql` tries them again";
    assert_eq!(answer.paragraphs()[0], text);
}

#[test]
fn of_dead_letters_it_tells_why_and_no_error_that_is_over() {
    let told = |message: &str, of_dead_letter: bool| {
        let error = json!({"message": message, "of_dead_letter": of_dead_letter, "ago_ms": 4000});
        let returner = json!({"dead": 1, "last_error": error});
        answer(returner, json!({})).paragraphs()[0].clone()
    };
    assert!(
        told("dead letter: test.ping: too long", true)
            .contains("  error  dead letter: test.ping: too long (4.0s ago)")
    );
    assert!(!told("the server was away", false).contains("error"));
}

#[test]
fn of_held_items_it_tells_the_oldest() {
    let held = json!({"items": 3, "tries": 1, "reason": "too many", "next_try_ms": null});
    let answer = answer(json!({"held": held}), json!({}));
    let text = "mysql: 3 items wait to be tried again, each on its own\n  \
                error  too many (the oldest, after 1 try)\n  next   the oldest, now";
    assert_eq!(answer.paragraphs()[0], text);
}

#[test]
fn of_a_journal_that_refuses_it_says_why_and_what_to_do() {
    let refuses = json!({"reason": "full", "message": "the journal is full", "behind": "mysql"});
    let commits = json!({"count": 256, "median_ms": 1.25, "slowest_ms": 30.0});
    let answer = answer(json!({}), json!({"refuses": refuses, "commits": commits}));
    let text = "journal: REFUSES everything; 8.0 KiB of 1.0 MiB; the newest 256 commits took 1.2ms, the slowest \
                30.0ms\n  error  the journal is full\n  \
                hint: bring the returner that is furthest behind up again, or raise `host.max_journal`";
    assert_eq!(answer.paragraphs(), [text]);
}

#[test]
fn what_is_refused_for_the_quota_of_those_that_returns_asked_for_is_told() {
    let refuses =
        json!({"reason": "quota", "message": "it keeps too much\n  hint: remove it", "behind": null});
    let asked_for = json!({"bytes": 2, "limit": 1, "refuses": refuses});
    let told = answer(json!({}), json!({"asked_for": asked_for})).paragraphs();
    let text = "journal: taking in; 8.0 KiB of 1.0 MiB\n  \
                REFUSES what asks for a returner by `ret_kwargs`: it keeps too much\n  hint: remove it";
    assert_eq!(told, [text]);
}

#[test]
fn of_a_journal_that_dead_letters_fill_it_says_how_to_be_rid_of_them() {
    let full = AppendError::Full { bytes: 2, limit: 1, behind: None };
    let refuses = json!({"reason": full.reason(), "message": full.to_string(), "behind": null});
    let told = answer(json!({}), json!({"refuses": refuses})).paragraphs().remove(0);
    assert!(told.contains("`returner dead list`") && told.contains("`returner dead drop`"), "{told}");
    assert!(!told.contains("furthest behind"), "{told}");
}

/// What is told to be typed can be typed.
#[test]
fn a_name_that_a_shell_would_not_take_is_quoted() {
    let failing = json!({"since": "", "for_ms": 1, "tries": 1, "next": "", "next_try_ms": null});
    let returner = json!({"name": r#"redis{"db":5}"#, "dead": 1, "failing": failing});
    let told = answer(returner, json!({})).paragraphs().remove(0);
    for command in ["lanes drop", "dead list --returner", "dead replay --returner"] {
        assert!(told.contains(&format!(r#"returner {command} 'redis{{"db":5}}'`"#)), "{command}: {told}");
    }
    let gone = Orphaned { name: "alternative.mysql".to_owned(), depth: 1, dead: 0 };
    assert!(gone.paragraph().contains("`returner lanes drop alternative.mysql`"));
    let gone = Orphaned { name: r#"redis{"db":5}"#.to_owned(), ..gone };
    assert!(gone.paragraph().contains(r#"`returner lanes drop 'redis{"db":5}'`"#));
}
