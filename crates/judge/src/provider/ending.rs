//! Why an answer ended, in the terms of all servers.

use serde_json::Value;

use super::owned;

/// The meaning of a finish reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// No reason is given.
    Unsaid,
    /// The answer is complete.
    Whole,
    /// It was truncated at a limit, or interrupted.
    Cut,
    /// It was filtered completely or in part.
    Filtered,
    /// The model declined.
    Refused,
    /// The model calls tools.
    ToolCall,
    /// The server failed.
    Failed,
}

/// Parts of finish reasons of incomplete answers: a limit was reached, or the answer was interrupted.
const CUT: [&str; 14] = [
    "length",
    "max_token",
    "max_output_token",
    "max_new_token",
    "max_completion_token",
    "token_limit",
    "token_budget",
    "context_window",
    "truncat",
    "incomplete",
    "abort",
    "cancel",
    "timeout",
    "pause_turn",
];

/// The same, as complete words.
const CUT_WORDS: [&str; 7] = [
    "limit",
    "maxtokens",
    "insufficient_system_resource",
    "network_error",
    "interrupted",
    "timed_out",
    "time_limit",
];

/// Parts of finish reasons of filters.
const FILTERED: [&str; 11] = [
    "filter",
    "safety",
    "sensitive",
    "moderation",
    "blocked",
    "blocklist",
    "prohibited",
    "recitation",
    "guardrail",
    "spii",
    "model_armor",
];

/// The reason as the server gives it, and its meaning. An answer with an unknown reason is complete and was paid for:
/// only known reasons mean that something is missing.
pub(super) fn ending(reason: &Value) -> (String, Ending) {
    // A missing reason, or one that is not a text, is an unknown one.
    let said = owned(reason).unwrap_or_default();
    let word = said.trim().to_ascii_lowercase().replace(['-', ' ', '.'], "_");
    let word = word.trim_start_matches("finish_reason_").trim_start_matches("finishreason_");
    let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
    let ending = match word {
        "" | "null" | "none" | "unspecified" => return (String::new(), Ending::Unsaid),
        "error" => Ending::Failed,
        "refusal" => Ending::Refused,
        "tool_calls"
        | "tool_call"
        | "tool_use"
        | "function_call"
        | "unexpected_tool_call"
        | "malformed_function_call"
        | "too_many_tool_calls" => Ending::ToolCall,
        // Gemini's, for unsupported languages.
        "language" => Ending::Filtered,
        word if CUT_WORDS.contains(&word) => Ending::Cut,
        _ if has(&CUT) => Ending::Cut,
        _ if has(&FILTERED) => Ending::Filtered,
        _ => Ending::Whole,
    };
    (said, ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endings(words: &[&str]) -> Vec<Ending> {
        words.iter().map(|word| ending(&Value::from(*word)).1).collect()
    }

    #[test]
    fn only_known_reasons_mean_incomplete() {
        let cut = [
            "length",
            "LENGTH",
            "max_tokens",
            "MAX_TOKENS",
            "max-tokens",
            "maxTokens",
            "FINISH_REASON_MAX_TOKENS",
            "FinishReason.LENGTH",
            "model_length",
            "max_length",
            "token_limit",
            "max_output_tokens",
            "max_new_tokens",
            "model_context_window_exceeded",
            "context_length_exceeded",
            "length ",
            "abort",
            "insufficient_system_resource",
            "network_error",
            "incomplete",
        ];
        assert_eq!(endings(&cut), [Ending::Cut; 20]);
        let filtered = [
            "content_filter",
            "SAFETY",
            "sensitive",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "LANGUAGE",
        ];
        assert_eq!(endings(&filtered), [Ending::Filtered; 7]);
        let whole = [
            "stop",
            "stop ",
            "STOP",
            "end_turn",
            "eos",
            "eos_token",
            "unknown",
            "other",
            "OTHER",
            "finished",
            "normal",
            "stop_str",
            "FINISH_REASON_STOP",
            "banana",
            "完了",
        ];
        assert_eq!(endings(&whole), [Ending::Whole; 15]);
        assert_eq!(endings(&["", "null", "none", "FINISH_REASON_UNSPECIFIED"]), [Ending::Unsaid; 4]);
        assert_eq!(
            endings(&["tool_calls", "tool_use", "error"]),
            [Ending::ToolCall, Ending::ToolCall, Ending::Failed]
        );
    }
}
