//! Built for 0.2 of the contract: refuses each return, and says what it was given.

use crate::exports::salt::returner::{about, returns};
use crate::salt::returner::config;

wit_bindgen::generate!({ path: "wit", world: "returner" });

struct Next;

export!(Next);

impl about::Guest for Next {
    fn name() -> String {
        "next".to_owned()
    }
}

impl returns::Guest for Next {
    fn store(batch: Vec<returns::Answer>) -> Vec<Option<String>> {
        let greeting = config::get("greeting").unwrap_or_else(|missing| missing);
        let said = |item: returns::Answer| {
            let returns::Answer { minion, value, delivered } = item;
            Some(format!("{greeting} {minion} with {value}, delivery {delivered}"))
        };
        batch.into_iter().map(said).collect()
    }
}
