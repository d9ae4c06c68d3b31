//! A model provider that answers as a script says: models and judges whose words follow from their prompts, and calls that
//! wait until a test admits them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use test_support::{HttpAnswer, HttpRequest, HttpStub};

/// How the answers of a model begin.
const OPENINGS: [(&str, &str); 2] = [("gpt-4o-mini", "In short:"), ("", "Step by step:")];

/// Calls of models whose names begin with this wait.
const PATIENT: &str = "gpt-patient";

/// Longer than any test waits for something.
const LONGEST: Duration = Duration::from_secs(120);

/// A provider that speaks OpenAI's API.
pub(super) struct Provider {
    server: HttpStub,
    admission: Arc<Admission>,
}

/// How many calls of each patient model may still be answered; shared with the stub's threads.
#[derive(Default)]
struct Admission {
    calls: Mutex<HashMap<String, u32>>,
    changed: Condvar,
}

impl Admission {
    fn wait(&self, model: &str) {
        let calls = self.calls.lock().expect("no holder panics");
        let is_refused = |calls: &mut HashMap<String, u32>| calls.get(model).is_none_or(|calls| *calls == 0);
        let waited = self.changed.wait_timeout_while(calls, LONGEST, is_refused);
        let (mut calls, _) = waited.expect("no holder panics");
        if let Some(calls) = calls.get_mut(model) {
            *calls = calls.saturating_sub(1);
        }
    }
}

impl Provider {
    pub(super) fn start() -> Self {
        let admission: Arc<Admission> = Arc::default();
        let admitted = Arc::clone(&admission);
        let server = HttpStub::start(move |request: &HttpRequest| {
            let body: Value = serde_json::from_slice(&request.body).expect("a JSON body");
            let model = body["model"].as_str().expect("a model");
            if model.starts_with(PATIENT) {
                admitted.wait(model);
            }
            let prompt = body["messages"][0]["content"].as_str().expect("a prompt");
            Some(completion(model, &words(model, prompt)))
        });
        Self { server, admission }
    }

    pub(super) fn url(&self) -> String {
        format!("{}/v1", self.server.url())
    }

    /// Has `calls` further calls of a patient model answered.
    pub(super) fn admit(&self, model: &str, calls: u32) {
        let mut admitted = self.admission.calls.lock().expect("no holder panics");
        *admitted.entry(model.to_owned()).or_default() += calls;
        self.admission.changed.notify_all();
    }
}

fn words(model: &str, prompt: &str) -> String {
    if !prompt.contains("Answer with a JSON object") {
        let opening = OPENINGS.iter().find(|(name, _)| model.starts_with(name)).expect("the last one fits");
        // An empty prompt is answered too.
        let question = prompt.lines().next().unwrap_or_default();
        return format!("{} {question} – that depends on what is known, and on what is asked.", opening.1);
    }
    // The answers in the prompt, in its order.
    let mut answers: Vec<(usize, &str)> =
        OPENINGS.iter().flat_map(|(_, opening)| prompt.match_indices(opening)).collect();
    answers.sort_unstable();
    // Of the answer and, by the length, of the metric.
    let seed = answers.first().map_or(0, |(at, _)| {
        digest(&format!("{} {}", prompt[*at..].lines().next().unwrap_or_default(), prompt.len()))
    });
    if prompt.contains("\"winner\"") {
        // Position counts for more than content in a third of the pairs.
        let first_is_thorough = answers.first().is_some_and(|(_, opening)| *opening == OPENINGS[1].1);
        let winner = match seed % 3 {
            0 => "A",
            _ if first_is_thorough => "A",
            _ => "B",
        };
        return json!({"rationale": "It says more.", "winner": winner}).to_string();
    }
    if seed.is_multiple_of(19) {
        return "Both have something to be said for them.".to_owned();
    }
    let merit = if answers.iter().any(|(_, opening)| *opening == OPENINGS[1].1) { 6 } else { 4 };
    json!({"rationale": "It answers what was asked.", "score": merit + seed % 5}).to_string()
}

/// FNV-1a: the same in every run.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
        >> 7
}

/// Each completion has another id.
fn completion(model: &str, text: &str) -> HttpAnswer {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let id = format!("chatcmpl-{:06}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let answer = json!({
        "id": id, "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 60, "total_tokens": 460},
    });
    HttpAnswer::json(200, &answer.to_string())
}
