//! Writes returns to `saltReturns`.

use returner_sdk::{JobReturn, Outcome, json};

use crate::RETURNS;
use crate::document::Document;
use crate::insert::insert;

pub(crate) fn store(batch: Vec<JobReturn>) -> Outcome {
    let documents: Vec<Document> = batch.into_iter().map(document).collect();
    insert(RETURNS, &documents)
}

fn document(item: JobReturn) -> Document {
    // The functions of a compound job are a list, as in Salt's own document.
    let list = if item.fun.contains(',') { json::member(&item.full, "fun") } else { None };
    let fun = list.map_or_else(|| json::quote(&item.fun), str::to_owned);
    // The name of an outputter. What else it may be stands in `full_ret`, whose form is chosen.
    let out = json::member(&item.full, "out").filter(|out| out.starts_with('"')).map(str::to_owned);
    let texts = [("minion", item.minion.as_str()), ("jid", item.jid.as_str())];
    let mut document = Document::new(item.key, texts, vec![("return", item.value), ("full_ret", item.full)])
        .with("fun", &fun);
    if let Some(out) = out {
        document = document.with("out", &out);
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_that_of_salts_module() {
        let full = r#"{"jid":"1","id":"web1","fun":["a.b","c.d"],"out":"nested","return":{"a.b":1}}"#;
        let item = JobReturn {
            jid: "1".to_owned(),
            minion: "web1".to_owned(),
            fun: "a.b,c.d".to_owned(),
            success: true,
            retcode: 0,
            value: r#"{"a.b":1}"#.to_owned(),
            full: full.to_owned(),
            key: "k".to_owned(),
            accepted: 0,
            redelivered: false,
        };
        let expected = format!(
            r#"{{"_id":"k","minion":"web1","jid":"1","fun":["a.b","c.d"],"out":"nested","return":{{"a.b":1}},"full_ret":{full}}}"#
        );
        assert_eq!(document(item).first(), expected);
    }
}
