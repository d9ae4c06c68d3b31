//! The subset of server-sent events that providers use.

use serde_json::Value;

use super::Unreadable;
use crate::lenient;

/// The values of all events, and whether the last one is OpenAI's `[DONE]`, which is not a value.
///
/// # Errors
/// When an event is not JSON, or the text ends within one.
pub(super) fn values(text: &str) -> Result<(Vec<Value>, bool), Unreadable> {
    let mut values = Vec::new();
    let mut event = String::new();
    for line in text.lines() {
        if let Some(part) = line.strip_prefix("data:") {
            event.push_str(part);
            event.push('\n');
        } else if line.is_empty() {
            values.extend(value(&event, Unreadable::Form("JSON in each event"))?);
            event.clear();
        }
        // Other lines are comments, names and ids.
    }
    // Some servers omit the empty line after the last event.
    values.extend(value(&event, Unreadable::Unfinished)?);
    Ok((values, text.trim_end().ends_with("[DONE]")))
}

fn value(event: &str, error: Unreadable) -> Result<Option<Value>, Unreadable> {
    match event.trim() {
        "" | "[DONE]" => Ok(None),
        event => lenient::from_str(event).map(Some).map_err(|_| error),
    }
}
