//! What Chroma clients may write into the table of a service: no more than the service itself takes.

use records::{MAX_ID_CHARS, MAX_LABEL_BYTES, Service, shortened, timestamp};
use serde_json::Value;
use store::postgres::collection_records::RecordWrite;

use super::error::{Answered, Refusal};

/// Rejects records that the service would reject.
pub(super) fn check(service: Service, records: &[RecordWrite]) -> Answered<()> {
    for record in records {
        let texts = [Some(&record.id), record.document.as_ref(), record.uri.as_ref()];
        let metadata = record.metadata.iter().flatten();
        let has_nul = texts.into_iter().flatten().any(|text| text.contains('\0'))
            || metadata.clone().any(|(key, value)| key.contains('\0') || value_has_nul(value));
        if has_nul {
            return Err(refused(service, record, "it takes no NUL"));
        }
        if record.id.chars().count() > MAX_ID_CHARS {
            return Err(refused(service, record, &format!("ids have up to {MAX_ID_CHARS} characters")));
        }
        for (key, value) in metadata {
            if let Some(expected) = expectation(service, key, value) {
                return Err(refused(service, record, &format!("`{key}`: expected {expected}")));
            }
        }
    }
    Ok(())
}

/// What the service expects of the key, if the value is not that.
fn expectation(service: Service, key: &str, value: &Value) -> Option<String> {
    // In an update, null removes the key.
    if value.is_null() {
        return None;
    }
    let text = value.as_str();
    let (is_fit, expected) = if key == "timestamp" {
        (text.is_some_and(|text| timestamp::parse(text).is_some()), "a time in ISO 8601".to_owned())
    } else if key == "query" && service == Service::Judge {
        (text.is_some(), "a text".to_owned())
    } else if service.own_key(key).is_some() {
        let is_label = text.is_some_and(|text| text.len() <= MAX_LABEL_BYTES);
        (is_label, format!("a text of up to {MAX_LABEL_BYTES} bytes"))
    } else {
        return None;
    };
    (!is_fit).then_some(expected)
}

fn value_has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(value_has_nul),
        _ => false,
    }
}

fn refused(service: Service, record: &RecordWrite, reason: &str) -> Refusal {
    let id = shortened(&record.id, 100);
    Refusal::invalid(format!(
        "Record [{id}] does not fit the {service} service, whose table this is: {reason}"
    ))
}
