//! {{name}}: keeps a document for each return in the collection `{{snake}}`.

use returner_sdk::mongo::{self, Update};
use returner_sdk::{JobReturn, Outcome, Refusal, Returner};
use serde_json::json;

struct Plugin;

returner_sdk::export!(Plugin);

impl Returner for Plugin {
    // `key` is the same however often a return is delivered, so that the second time changes nothing.
    fn store(batch: Vec<JobReturn>) -> Outcome {
        if batch.is_empty() {
            return Ok(vec![]);
        }
        let update = |item: JobReturn| {
            let set =
                json!({"jid": item.jid, "minion": item.minion, "fun": item.fun, "success": item.success});
            Update {
                filter: json!({"_id": item.key}).to_string(),
                change: json!({"$set": set}).to_string(),
                upsert: true,
            }
        };
        let updates: Vec<Update> = batch.into_iter().map(update).collect();
        // `?`: nothing is stored, and what the host is to do about it. What the server refuses of single documents
        // comes as a list.
        let errors = mongo::update_many("db", "{{snake}}", &updates)?;
        Ok(errors.iter().map(|error| Refusal::new(error.index as usize, error.failure())).collect())
    }
}
