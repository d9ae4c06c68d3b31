//! How long a provider asks its callers to wait, in all formats that providers use.

use std::{sync::LazyLock, time::Duration};

use regex::Regex;
use reqwest::header::HeaderMap;
use serde_json::Value;
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

/// `1h2m3.5s`, `644ms`, `21.05 seconds`: numbers with units, largest first.
const SPAN: &str = r"(?:\d+(?:\.\d+)?\s*(?:milliseconds?|ms|hours?|hrs?|h|minutes?|mins?|m|seconds?|secs?|s|days?|d)\b?[\s,]*)+";

static MESSAGE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b(?:(?:try|retry)(?:\s+again|\s+your\s+request)?\s+(?:in|after)|wait(?:\s+for)?|retry[\s-]after:?)\s+(?:about\s+|at\s+least\s+)?(?<span>{SPAN}|\d+(?:\.\d+)?\b)"
    ))
});
static PART: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?<n>\d+(?:\.\d+)?)\s*(?<unit>ms|millisecond|[dhms])"));

/// The wait requested in headers and body; `now` is the reference for dates.
pub(super) fn hint(
    headers: &HeaderMap,
    body: &Value,
    message: &str,
    now: OffsetDateTime,
) -> Option<Duration> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    header("retry-after-ms")
        .and_then(|text| text.parse().ok())
        .and_then(|milliseconds: f64| seconds(milliseconds / 1000.0))
        .or_else(|| header("retry-after").and_then(|text| until(text, now)))
        .or_else(|| retry_info(body))
        .or_else(|| in_words(message))
        .or_else(|| reset(headers, now))
}

/// `google.rpc.RetryInfo` in the details of a Google error, at any depth.
fn retry_info(body: &Value) -> Option<Duration> {
    match body {
        Value::Object(entries) => {
            let delay = entries.get("retryDelay").and_then(Value::as_str).and_then(span);
            delay.or_else(|| entries.values().find_map(retry_info))
        }
        Value::Array(values) => values.iter().find_map(retry_info),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Parses phrases such as `Please try again in 1m2s`.
pub(super) fn in_words(message: &str) -> Option<Duration> {
    let text = &MESSAGE.captures(message)?["span"];
    text.parse().ok().and_then(seconds).or_else(|| span(text))
}

/// The reset time of a limit: the latest of exhausted limits; if no header says which are, the first one, since the
/// others may not apply.
fn reset(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let mut used_up = Vec::new();
    let mut unclear = Vec::new();
    for (name, value) in headers {
        let name = name.as_str();
        let Ok(value) = value.to_str() else { continue };
        if !name.contains("ratelimit") || !name.contains("reset") {
            continue;
        }
        let Some(wait) = until(value.trim(), now).filter(|wait| !wait.is_zero()) else { continue };
        let remaining = headers.get(name.replace("reset", "remaining"));
        match remaining.and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok()) {
            Some(remaining) if remaining <= 0.0 => used_up.push(wait),
            _ => unclear.push(wait),
        }
    }
    used_up.into_iter().max().or_else(|| unclear.into_iter().min())
}

/// Parses a number of seconds, a date, a Unix time, or a span. A time in the past is no wait.
fn until(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let from_now = |time: OffsetDateTime| Duration::try_from(time - now).unwrap_or(Duration::ZERO);
    if let Ok(number) = text.parse::<f64>() {
        // No wait is thirty years; a larger number is a Unix time, in seconds or milliseconds.
        return match number {
            number if number > 1e12 => seconds(number / 1000.0 - now.unix_timestamp() as f64),
            number if number > 1e9 => seconds(number - now.unix_timestamp() as f64),
            number => seconds(number),
        };
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).or_else(|_| OffsetDateTime::parse(text, &Rfc3339));
    date.ok().map(from_now).or_else(|| span(text))
}

/// Parses a span such as `6m0s`.
fn span(text: &str) -> Option<Duration> {
    let mut total = None;
    for part in PART.captures_iter(text) {
        let unit = match &part["unit"].to_ascii_lowercase()[..] {
            "ms" | "millisecond" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => 86_400.0,
        };
        let number: f64 = part["n"].parse().ok()?;
        total = Some(total.unwrap_or(0.0) + number * unit);
    }
    total.and_then(seconds)
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);

    fn ms(headers: &[(&str, &str)], body: &Value, message: &str) -> Option<u128> {
        let named = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        };
        hint(&headers.iter().map(named).collect(), body, message, NOW).map(|wait| wait.as_millis())
    }

    #[test]
    fn waits_are_parsed_in_every_format() {
        let header = |name, value| ms(&[(name, value)], &Value::Null, "");
        assert_eq!(header("retry-after", "7"), Some(7000));
        assert_eq!(header("retry-after", "0.5"), Some(500));
        assert_eq!(header("retry-after", "Sat, 31 Jan 2026 12:01:30 GMT"), Some(90_000));
        assert_eq!(header("retry-after", "Sat, 31 Jan 2026 11:00:00 GMT"), Some(0));
        assert_eq!(header("retry-after", "soon"), None);
        assert_eq!(header("retry-after-ms", "1250"), Some(1250));
        assert_eq!(header("x-ratelimit-reset-requests", "6m0s"), Some(360_000));
        assert_eq!(header("x-ratelimit-reset-tokens", "1.2s"), Some(1200));
        assert_eq!(header("x-ratelimit-reset-tokens", "17ms"), Some(17));
        assert_eq!(header("x-ratelimit-reset", "1769860830000"), Some(30_000));
        assert_eq!(header("x-ratelimit-reset", "1769860830"), Some(30_000));
        assert_eq!(header("anthropic-ratelimit-tokens-reset", "2026-01-31T12:00:05Z"), Some(5000));
        let body = json!([{"error": {"details": [{"@type": "…RetryInfo", "retryDelay": "21s"}]}}]);
        assert_eq!(ms(&[], &body, ""), Some(21_000));
        let words = |message| ms(&[], &Value::Null, message);
        assert_eq!(words("Please try again in 644ms. Visit"), Some(644));
        assert_eq!(words("Please try again in 9.816s."), Some(9816));
        assert_eq!(words("Please try again in 1m2s. Visit"), Some(62_000));
        assert_eq!(words("Please try again in 6m0s."), Some(360_000));
        assert_eq!(words("Please retry in 21.054s."), Some(21_054));
        assert_eq!(words("please retry after 10 seconds"), Some(10_000));
        assert_eq!(words("try again in about 5 minutes"), Some(300_000));
        assert_eq!(words("Retry-After: 10"), Some(10_000));
        assert_eq!(words("Please wait 1 hour, 30 minutes before"), Some(5_400_000));
        assert_eq!(words("Please retry shortly, or in a while"), None);
        assert_eq!(words("model 3.5s is loading"), None);
    }

    #[test]
    fn retry_hints_take_precedence_over_rate_limit_state() {
        let headers =
            [("x-ratelimit-reset-tokens", "6m0s"), ("retry-after", "2"), ("retry-after-ms", "1500")];
        assert_eq!(ms(&headers, &Value::Null, "try again in 3s"), Some(1500));
        assert_eq!(ms(&headers[..2], &Value::Null, "try again in 3s"), Some(2000));
        assert_eq!(ms(&headers[..1], &Value::Null, "try again in 3s"), Some(3000));
    }

    #[test]
    fn exhausted_limit_determines_the_wait() {
        let mut headers = vec![
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-tokens", "1m30s"),
            ("x-ratelimit-remaining-tokens", "0"),
        ];
        assert_eq!(ms(&headers, &Value::Null, ""), Some(90_000));
        headers.pop();
        assert_eq!(ms(&headers, &Value::Null, ""), Some(1000), "no header says which limit it was");
    }
}
