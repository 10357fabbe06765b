//! {{name}}: posts each batch of returns to a web hook, as a JSON array.

use returner_sdk::http::{self, Request};
use returner_sdk::{Failure, JobReturn, Outcome, Retry, Returner, config};
use serde_json::json;

struct Plugin;

returner_sdk::export!(Plugin);

impl Returner for Plugin {
    // The options that it knows; the host refuses a configuration with another one.
    const OPTIONS: &'static [&'static str] = &["url"];

    fn setup() -> Result<(), Failure> {
        url().map(drop)
    }

    // `Ok` only after the hook has said yes. What is tried again comes in the same call, or in parts of it.
    fn store(batch: Vec<JobReturn>) -> Outcome {
        if batch.is_empty() {
            return Ok(vec![]);
        }
        let items = batch.iter().map(|item| {
            json!({"key": item.key, "jid": item.jid, "minion": item.minion, "fun": item.fun, "success": item.success})
        });
        let request = Request {
            method: "POST".to_owned(),
            url: url()?,
            headers: vec![
                ("Content-Type".to_owned(), "application/json".to_owned()),
                ("Idempotency-Key".to_owned(), idempotency_key(&batch)),
            ],
            body: items.collect::<serde_json::Value>().to_string().into_bytes(),
        };
        let answer =
            http::send(&request).map_err(|error| Failure::of_server(error.message, error.retryable))?;
        let message = format!("the web hook answered {}", answer.status);
        match answer.status {
            200..300 => Ok(vec![]),
            // The items are to blame.
            400 | 413 | 422 => Err(Failure::reject(message)),
            // A hook that is busy, and an address or a token that is wrong, can be mended.
            _ => Err(Failure::Retry(Retry { message, after: retry_after(&answer.headers) })),
        }
    }
}

fn url() -> Result<String, Failure> {
    let missing =
        "the option `url` is missing: add `{{name}}.options: {url: \"https://...\"}` to the configuration";
    config::get("url").ok_or_else(|| Failure::reject(missing))
}

/// The same for the same returns: their keys, each 128 bits, in one.
fn idempotency_key(batch: &[JobReturn]) -> String {
    let keys = batch.iter().filter_map(|item| u128::from_str_radix(&item.key, 16).ok());
    format!("{:032x}", keys.fold(0, |all, key| all ^ key))
}

/// `Retry-After` in milliseconds, where it says seconds and not a date.
fn retry_after(headers: &[(String, String)]) -> Option<u32> {
    let (_, value) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse::<u32>().ok()?.checked_mul(1000)
}
