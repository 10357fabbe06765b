//! A journal whose file was changed anywhere: it is found damaged, or has all that it had.

use returner_fuzz::bolero::check;

use super::*;

#[test]
fn records() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let source = tempfile::tempdir().expect("a directory");
    let whole = runtime.block_on(async {
        let opened = open(source.path()).await;
        opened.append(&(0..40).collect::<Vec<_>>(), &[0, 1], true).await;
        let texts = pending(&opened.journal).await;
        opened.journal.close(true).await;
        texts.expect("a whole journal can be read")
    });
    let file = std::fs::read(source.path().join("journal.db")).expect("a file");
    let mark = std::fs::read(source.path().join("acknowledged")).expect("a file");
    let directory = tempfile::tempdir().expect("a directory");
    check!().with_type::<Vec<(u32, u8)>>().for_each(|changes| {
        let mut bytes = file.clone();
        for (at, byte) in changes.iter().take(4) {
            let at = *at as usize % bytes.len();
            bytes[at] = *byte;
        }
        for old in ["journal.db", "journal.db-wal", "journal.db-shm"] {
            let _ = std::fs::remove_file(directory.path().join(old));
        }
        std::fs::write(directory.path().join("journal.db"), &bytes).expect("a file");
        std::fs::write(directory.path().join("acknowledged"), &mark).expect("a file");
        runtime.block_on(async {
            let Ok(journal) = Journal::open(directory.path(), bounds(), JournalMetrics::default()) else {
                return;
            };
            let found = pending(&journal).await;
            journal.close(true).await;
            if let Ok(found) = found {
                assert_eq!(found, whole);
            }
        });
    });
}

/// The texts that each lane has before it.
async fn pending(journal: &Journal) -> Result<Vec<Vec<String>>, JournalError> {
    let mut all = Vec::new();
    for name in &LANES[..2] {
        let lane = journal.lane(name).await?;
        let window = journal.next(lane.id, lane.cursor, 1000, 1 << 20).await?;
        all.push(window.entries.iter().map(|entry| entry.item.text().to_owned()).collect());
    }
    Ok(all)
}
