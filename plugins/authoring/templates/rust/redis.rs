//! {{name}}: counts runs and failures by minion in Redis. `PFCOUNT {{name}}:failures:web1` tells.

use returner_sdk::redis::Pipeline;
use returner_sdk::{JobReturn, Outcome, Refusal, Returner};

struct Plugin;

returner_sdk::export!(Plugin);

impl Returner for Plugin {
    // PFADD counts a key once, so that a return that is delivered twice changes nothing.
    fn store(batch: Vec<JobReturn>) -> Outcome {
        let mut pipeline = Pipeline::default();
        // Whose return each command is for.
        let mut places = Vec::new();
        for (place, item) in batch.iter().enumerate() {
            pipeline.command(["PFADD", &format!("{{name}}:runs:{}", item.minion), &item.key]);
            places.push(place);
            if !item.success {
                pipeline.command(["PFADD", &format!("{{name}}:failures:{}", item.minion), &item.key]);
                places.push(place);
            }
        }
        // `?`: no reply at all, and what the host is to do about it. One command's error is a reply.
        let replies = pipeline.send("db")?;
        let refused = replies.iter().zip(places).filter_map(|(reply, place)| Some((place, reply.failure()?)));
        let mut refusals: Vec<Refusal> =
            refused.map(|(place, failure)| Refusal::new(place, failure)).collect();
        // A return is refused once, whatever became of its other command.
        refusals.dedup_by_key(|refusal| refusal.index);
        Ok(refusals)
    }
}
