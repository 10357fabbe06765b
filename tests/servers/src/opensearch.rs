//! OpenSearch, of the parts that are in Maven's repository.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::directory::{Directory, find, own};
use crate::error::StartError;
use crate::port::free_port;
use crate::process::Process;

const INSTEAD: &str = "`apt-get install default-jdk-headless`";

const TO_START: Duration = Duration::from_secs(120);

/// A server of its own.
#[derive(Debug)]
pub struct OpenSearch {
    url: String,
    _process: Process,
    _directory: Directory,
}

impl OpenSearch {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says what to do.
    pub async fn start() -> Self {
        match Self::try_start().await {
            Ok(server) => server,
            Err(error) => panic!("{error}"),
        }
    }

    async fn try_start() -> Result<Self, StartError> {
        let directory = Directory::create("opensearch")?;
        let parts = own("opensearch");
        if !parts.is_dir() {
            let program = parts.display().to_string();
            return Err(StartError::Missing {
                program,
                instead: "have Maven copy what `pom.xml` names there",
            });
        }
        let port = free_port();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("opensearch/Server.java");
        let arguments = [
            "-Xmx512m".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", parts.display()),
            source.display().to_string(),
            directory.path().display().to_string(),
            port.to_string(),
            free_port().to_string(),
        ];
        let mut process = Process::spawn("opensearch", &find("java", INSTEAD)?, directory.path(), arguments)?;
        let url = format!("http://127.0.0.1:{port}");
        process.ready(TO_START, async || get(&url).await.map(drop)).await?;
        Ok(Self { url, _process: process, _directory: directory })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an index.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn put(&self, index: &str, settings: &Value) {
        let url = format!("{}/{index}", self.url);
        let answer = crate::host::client().put(&url).json(settings).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(answer.status().is_success(), "{url}: {:?}", answer.text().await);
    }

    /// The documents of an index, as they were given, by their ids.
    ///
    /// # Panics
    ///
    /// If the server does not answer so.
    pub async fn documents(&self, index: &str) -> Vec<(String, Value)> {
        // What is not refreshed is not found yet.
        let _ = get(&format!("{}/{index}/_refresh", self.url)).await;
        let path = format!("{}/{index}/_search?size=1000", self.url);
        let found = get(&path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
        let id = |hit: &Value| hit["_id"].as_str().unwrap_or_default().to_owned();
        let mut documents: Vec<_> = hits.iter().map(|hit| (id(hit), hit["_source"].clone())).collect();
        documents.sort_by(|one, other| one.0.cmp(&other.0));
        documents
    }
}

async fn get(url: &str) -> Result<Value, reqwest::Error> {
    crate::host::client().get(url).send().await?.json().await
}
