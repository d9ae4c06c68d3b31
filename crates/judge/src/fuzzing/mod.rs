//! The functions of the fuzz targets in `fuzz/`, as in `chroma::fuzzing`. Compiled only for fuzzing and for tests.

#[cfg(test)]
mod replay;

use std::time::Duration;

use crate::{
    lenient,
    parse::{Reading, Scale, read_score, read_winner},
    provider::{self, Completion, Content, ResponseReservation, Wire},
    rubric::{BeyondScale, Verdict},
};

/// Parses any bytes as a judge's answer and as a provider's body, and checks invariants of the results.
///
/// Fuzzing's own time limit for an input checks that the work is bounded.
pub fn judge_parse(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    let scales =
        [Scale { min: 1.0, max: 10.0 }, Scale { min: 0.0, max: 1.0 }, Scale { min: -5.0, max: 100.0 }];
    for scale in scales.map(Some).into_iter().chain([None]) {
        let reading = read_score(text, scale);
        let scores = match reading {
            Reading::Score(score) => vec![score],
            Reading::Pair(first, second) => vec![first, second],
            Reading::Unread(_) => Vec::new(),
        };
        assert!(scores.iter().all(|score| score.is_finite()), "{reading:?}");
        // Invisible characters and the script of digits must make no difference.
        assert_eq!(read_score(&format!("\u{feff}\u{200b}{text}\0"), scale), reading);
        // Except in escapes and tags.
        if !text.contains(['\\', '<', '\u{1b}', '\u{241b}']) {
            assert_eq!(read_score(&text.chars().map(arabic).collect::<String>(), scale), reading);
        }
        if let Some(scale) = scale {
            verdict(text, scale, &reading);
        }
    }
    let winner = read_winner(text);
    assert_eq!(read_winner(&format!("\u{feff}{text}\u{200b}")), winner);
    if let Ok(json) = lenient::from_slice(bytes) {
        let again = lenient::from_str(&json.to_string()).expect("what was written is JSON");
        assert_eq!(again, json);
    }
    for wire in [Wire::OpenAi, Wire::Anthropic, Wire::Gemini] {
        // May fail, but must not panic.
        let _ = provider::is_reply(wire, bytes);
    }
}

/// The verdict must be the parsed score, and must say whether it is outside the scale.
fn verdict(text: &str, scale: Scale, reading: &Reading) {
    let completion = Completion {
        content: Content::Text(text.to_owned()),
        model: String::new(),
        provider_id: None,
        finish_reason: String::new(),
        usage: None,
        latency: Duration::ZERO,
        memory: ResponseReservation::default(),
    };
    let given = |beyond| match Verdict::of_score(&completion, scale, beyond) {
        Verdict::Given(score) => Some((score.value, score.is_out_of_range)),
        _ => None,
    };
    let Reading::Score(score) = *reading else {
        assert_eq!(given(BeyondScale::Keep), None);
        return;
    };
    let is_beyond = !scale.contains(score);
    assert_eq!(given(BeyondScale::Keep), Some((score, is_beyond)));
    assert_eq!(given(BeyondScale::Clamp), Some((score.clamp(scale.min, scale.max), is_beyond)));
}

fn arabic(c: char) -> char {
    match c {
        '0'..='9' => char::from_u32(u32::from(c) - u32::from('0') + 0x660).unwrap_or(c),
        c => c,
    }
}
