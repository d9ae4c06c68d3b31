//! Storing models' answers as outputs.

use std::sync::Arc;

use embed::Embedder;
use records::{Embedding, MAX_ID_CHARS, MODEL_DIMENSION, Service, timestamp};
use serde_json::{Map, Value};
use store::storage::{Atomicity, Insertion, NewRecord, Production, Record, Storage, StorageError};
use uuid::Uuid;

use super::{error::RunError, metric::Question, observer::Observer};

/// The storage of outputs, and the embedder of their texts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OutputStore {
    storage: Arc<dyn Storage>,
    embedder: Arc<Embedder>,
    observer: Observer,
}

/// An output that is not stored yet and has no id.
pub(crate) struct NewOutput<'o> {
    pub(crate) model_id: &'o str,
    pub(crate) question: &'o Question,
    pub(crate) theme: &'o str,
    pub(crate) text: String,
    pub(crate) metadata: Map<String, Value>,
}

/// Whether the record was stored by this call.
enum Stored {
    New(Record),
    Before(Record),
}

impl OutputStore {
    pub(crate) fn new(storage: Arc<dyn Storage>, embedder: Arc<Embedder>, observer: Observer) -> Self {
        debug_assert_eq!(storage.service(), Service::Judge);
        Self { storage, embedder, observer }
    }

    /// The output with this id, if there is one.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Record>, RunError> {
        let ids = [id.to_owned()];
        let found = self.observer.storage(Service::Judge, "get", self.storage.get(&ids)).await?;
        Ok(found.into_iter().next())
    }

    /// Checks that every storage can store `output`.
    pub(crate) fn check(&self, output: &NewOutput<'_>) -> Result<(), RunError> {
        // Any embedding fits.
        let record = output.record(Uuid::new_v4().to_string(), vec![0.0; MODEL_DIMENSION].into());
        record.check(Service::Judge).map_err(named)
    }

    /// Stores `output` with the provider's id, or with a new one if another output has that id.
    pub(crate) async fn store(&self, output: &NewOutput<'_>) -> Result<Record, RunError> {
        if let Some(id) = output.provider_id() {
            match self.store_as(output, id).await {
                // An existing output with this id is another one. Some self-hosted servers restart their counter, or
                // draw from a thousand numbers.
                Err(RunError::Conflict { .. }) | Ok(Stored::Before(_)) => {}
                stored => return stored.map(Stored::record),
            }
        }
        self.store_as(output, Uuid::new_v4().to_string()).await.map(Stored::record)
    }

    /// Stores `output`, which may have been stored before, with the provider's id, or with `own_id` if another output
    /// has that id.
    pub(crate) async fn store_again(
        &self,
        output: &NewOutput<'_>,
        own_id: String,
    ) -> Result<Record, RunError> {
        if let Some(id) = output.provider_id() {
            match self.store_as(output, id).await {
                Err(RunError::Conflict { .. }) => {}
                stored => return stored.map(Stored::record),
            }
        }
        self.store_as(output, own_id).await.map(Stored::record)
    }

    async fn store_as(&self, output: &NewOutput<'_>, id: String) -> Result<Stored, RunError> {
        let mut embeddings = self.observer.embedding(&self.embedder, vec![output.text.clone()]).await?;
        let record = output.record(id, embeddings.pop().expect("one text has one embedding"));
        record.check(Service::Judge).map_err(named)?;
        let insert = self.storage.insert(std::slice::from_ref(&record), Atomicity::AllOrNothing);
        let insertions = self.observer.storage(Service::Judge, "insert", insert).await.map_err(named)?;
        match insertions.into_iter().next().expect("one record has one insertion") {
            Insertion::Stored(record) => Ok(Stored::New(record)),
            Insertion::Unchanged(record) => Ok(Stored::Before(record)),
            Insertion::Conflict | Insertion::Withheld => {
                let reason = format!("another output has the id `{}`, with other content", record.id);
                Err(RunError::Conflict { field: "id".to_owned(), reason })
            }
        }
    }
}

impl NewOutput<'_> {
    fn record(&self, id: String, embedding: Embedding) -> NewRecord {
        let production = Production { model_id: self.model_id.to_owned(), query: self.question.text.clone() };
        NewRecord {
            id,
            text: self.text.clone(),
            embedding,
            category: self.theme.to_owned(),
            production: Some(production),
            metadata: self.metadata.clone(),
            created_at: timestamp::now(),
        }
    }

    /// The provider's id, if it is a valid id of an output: a server may send anything, and URL paths contain ids.
    fn provider_id(&self) -> Option<String> {
        let id = self.metadata.get("provider_id").and_then(Value::as_str)?;
        is_id(id).then(|| id.to_owned())
    }
}

impl Stored {
    fn record(self) -> Record {
        match self {
            Self::New(record) | Self::Before(record) => record,
        }
    }
}

/// Whether a provider's id is one that a client could give an output, and is safe in a URL path, a log and a terminal.
fn is_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.chars().count())
        && !matches!(id, "." | "..")
        && id.chars().all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '/' | '\\' | '?' | '#' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | char::REPLACEMENT_CHARACTER))
}

/// Stores name the text's column; front ends call it `output`.
fn named(error: StorageError) -> RunError {
    match error {
        StorageError::Refused { field, reason } if field == Service::Judge.text_column() => {
            RunError::refused("output", reason)
        }
        error => error.into(),
    }
}

impl std::fmt::Debug for OutputStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputStore").field("storage", &self.storage).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_provider_ids_are_used() {
        for id in ["chatcmpl-9", "msg_01ABC", "gen-1:2.3", "é", &"i".repeat(MAX_ID_CHARS)] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            &"i".repeat(MAX_ID_CHARS + 1),
            &"i".repeat(5_000_000),
            "a/../b",
            "..",
            "a\r\n\u{1b}[31m",
            "a\u{9b}31m",
            "\u{202e}a",
            "a b",
            "a\u{fffd}b",
            "a?b",
        ] {
            assert!(!is_id(id), "{}", &id[..id.len().min(20)]);
        }
    }
}
