//! Records as lines of JSON.

use super::{Base64, Base64Floats, MetadataOrNull, Object};
use crate::{
    collection::Collection,
    record::{Field, Problem, Record, Vector},
};

/// Writes the records of one collection without loss: components bit for bit, and the stored bytes of values that a
/// record cannot represent.
#[derive(Clone, Debug)]
pub struct CollectionLines {
    /// The beginning of every line: the members that all records of the collection share.
    beginning: Vec<u8>,
}

impl CollectionLines {
    /// Lines of `collection`.
    pub fn new(collection: &Collection) -> Self {
        let mut beginning = Vec::new();
        let mut object = Object::open(&mut beginning);
        object.member("tenant", &collection.tenant);
        object.member("database", &collection.database);
        object.member("collection", &collection.name);
        object.member("collection_id", &collection.id);
        object.member("space", collection.space.as_str());
        Self { beginning }
    }

    /// Appends the line of `record` with its line break. `problems` is present only if the record has some.
    pub fn append(&self, record: &Record, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.beginning);
        let mut object = Object::resume(out);
        object.member("id", &record.id);
        object.member("document", &record.document);
        object.member("metadata", &MetadataOrNull(&record.metadata));
        object.member("uri", &record.uri);
        let (embedding, origin, reason) = match &record.vector {
            Vector::Present { embedding, origin } => (Some(Base64Floats(embedding)), origin.as_str(), None),
            Vector::Missing { reason } => (None, "missing", Some(reason.as_str())),
        };
        object.member("embedding", &embedding);
        object.member("origin", origin);
        object.member("reason", &reason);
        if !record.problems.is_empty() {
            object.objects("problems", &record.problems, problem);
        }
        object.close();
        out.push(b'\n');
    }
}

/// The field by its kind, with its key or log row, and the stored bytes.
fn problem(object: &mut Object<'_>, problem: &Problem) {
    let field = match &problem.field {
        Field::Id => "id",
        Field::Document => "document",
        Field::Uri => "uri",
        Field::MetadataKey(_) => "metadata_key",
        Field::Metadata(_) | Field::AllMetadata => "metadata",
        Field::LogRow(_) => "log_row",
    };
    object.member("field", field);
    match &problem.field {
        Field::MetadataKey(key) | Field::Metadata(key) => object.member("key", key),
        Field::LogRow(seq_id) => object.member("seq_id", seq_id),
        Field::Id | Field::Document | Field::Uri | Field::AllMetadata => {}
    }
    object.member("kind", problem.kind.as_str());
    object.member("original", &Base64(&problem.original));
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use records::{DistanceSpace, Metadata, MetadataValue};
    use uuid::Uuid;

    use super::*;
    use crate::record::{MissingReason, Origin, ProblemKind};

    fn lines(records: &[Record]) -> String {
        let collection = Collection {
            id: Uuid::from_u128(7),
            tenant: "t".to_owned(),
            database: "d".to_owned(),
            name: "n\u{1b}".to_owned(),
            space: DistanceSpace::InnerProduct,
            dimension: Some(1),
            metadata: Metadata::new(),
            configured: None,
            warnings: Vec::new(),
        };
        let lines = CollectionLines::new(&collection);
        let mut out = Vec::new();
        for record in records {
            lines.append(record, &mut out);
        }
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn missing_fields_are_null_and_problems_are_present_only_if_there_are_some() {
        let fine = Record {
            id: "a".to_owned(),
            document: Some(String::new()),
            uri: None,
            metadata: [("f".to_owned(), MetadataValue::Float(1.0)), ("i".to_owned(), MetadataValue::Int(1))]
                .into(),
            vector: Vector::Present { embedding: vec![1.0].into(), origin: Origin::HnswRounded },
            created_at: None,
            problems: Vec::new(),
        };
        let odd = Record {
            document: None,
            metadata: Metadata::new(),
            vector: Vector::Missing { reason: MissingReason::IndexLost },
            problems: [Field::Document, Field::Metadata("k".to_owned()), Field::LogRow(3)]
                .map(|field| Problem { field, kind: ProblemKind::NotUnicode, original: Box::from(*b"\xff") })
                .into(),
            ..fine.clone()
        };
        expect![[r#"
            {"tenant":"t","database":"d","collection":"n\u001b","collection_id":"00000000-0000-0000-0000-000000000007","space":"ip","id":"a","document":"","metadata":{"f":1.0,"i":1},"uri":null,"embedding":"AACAPw==","origin":"hnsw_rounded","reason":null}
            {"tenant":"t","database":"d","collection":"n\u001b","collection_id":"00000000-0000-0000-0000-000000000007","space":"ip","id":"a","document":null,"metadata":null,"uri":null,"embedding":null,"origin":"missing","reason":"index_lost","problems":[{"field":"document","kind":"not_unicode","original":"/w=="},{"field":"metadata","key":"k","kind":"not_unicode","original":"/w=="},{"field":"log_row","seq_id":3,"kind":"not_unicode","original":"/w=="}]}
        "#]].assert_eq(&lines(&[fine, odd]));
    }
}
