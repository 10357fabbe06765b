//! Writes events to `events`: all of a batch, where Salt's own module writes the
//! first.

use returner_sdk::{Event, Events, Outcome};

use crate::document::Document;
use crate::insert::insert;
use crate::{EVENTS, Mongo};

impl Events for Mongo {
    fn store(batch: Vec<Event>) -> Outcome {
        let documents: Vec<Document> = batch.into_iter().map(document).collect();
        insert(EVENTS, &documents)
    }
}

fn document(item: Event) -> Document {
    let texts = [("tag", item.tag.as_str()), ("master", item.master.as_str())];
    Document::new(item.key, texts, vec![("data", item.data)]).with("accepted", &item.accepted.to_string())
}
