//! Stores in the table `trapping` of the connection `db`, and traps on a return whose
//! value begins with `poison`. Whatever is delivered again is looked for first, so that
//! each stands there once.

use returner_sdk::{Failure, JobReturn, Outcome, Returner, sql};

const CONNECTION: &str = "db";

struct Trapping;

returner_sdk::export!(Trapping);

impl Returner for Trapping {
    fn store(batch: Vec<JobReturn>) -> Outcome {
        let mut insert = sql::Insert::new(CONNECTION, "INSERT INTO trapping (jid, id, value) VALUES");
        for item in batch {
            assert!(!item.value.starts_with("\"poison"), "{} of {} is poison", item.jid, item.minion);
            if item.redelivered && is_stored(&item)? {
                continue;
            }
            insert.row([item.jid.into(), item.minion.into(), item.value.into()])?;
        }
        insert.finish()?;
        Ok(vec![])
    }
}

fn is_stored(item: &JobReturn) -> Result<bool, Failure> {
    let look = "SELECT id FROM trapping WHERE jid = ? AND id = ? FOR UPDATE";
    let params = [item.jid.as_str().into(), item.minion.as_str().into()];
    Ok(!sql::query(CONNECTION, look, &params)?.rows.is_empty())
}
