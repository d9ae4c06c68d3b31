//! Every route gives the same answers whether its tables are distributed or not.

mod chroma_calls;
mod lost_worker;
mod service_calls;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Map, Value};
use test_support::{CitusDatabase, TestDatabase};
use uuid::Uuid;

use crate::{
    chroma_api, evaluations::Stub, operation::operations, runs::VERDICT, served::Answer, served::Served,
};

/// Answers that differ between processes, of which the status is compared.
const OF_THE_PROCESS: [&str; 3] = ["/metrics", "/api/v2", "/api/v2/heartbeat"];

/// Routes that refuse every request here: what they need is not there.
const REFUSED: [&str; 3] =
    ["POST /api/v1/runs/{id}/cancel", "POST /api/v1/runs/{id}/resume", "POST /api/v2/reset"];

/// Values that depend on when a request is sent.
const OF_THE_MOMENT: [&str; 3] = ["latency_ms", "workers", "next_cursor"];

/// Sends requests, and notes what is answered.
struct Client<'s> {
    served: &'s Served,
    /// Each call with its status and its answer, in which what differs between databases is replaced.
    answers: Vec<String>,
    /// Methods and paths of calls that succeeded.
    calls: Vec<(String, String)>,
    /// Ids that the server has made, in the order in which they were seen.
    made: Vec<String>,
}

impl Client<'_> {
    async fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.call("POST", path, body).await
    }

    async fn delete(&mut self, path: &str) -> Answer {
        self.call("DELETE", path, Value::Null).await
    }

    async fn call(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let name = Method::from_bytes(method.as_bytes()).expect("it is a method");
        let sent = (!body.is_null()).then(|| body.to_string());
        let answer = self.served.send(name, path, &[], sent).await;
        let is_implemented = !answer.text.contains("not implemented");
        assert!(answer.status != 500 || !is_implemented, "{method} {path}: {answer:?}");
        let place = path.split('?').next().expect("splitting gives a part");
        let shown = if OF_THE_PROCESS.contains(&place) { String::new() } else { self.shown(&answer.text) };
        let path_shown = self.text(path);
        self.answers.push(format!("{method} {path_shown} {body}: {} {shown}", answer.status));
        if answer.status < 400 {
            self.calls.push((method.to_owned(), place.to_owned()));
        }
        answer
    }

    /// An answer, which may be JSON, or lines or events of JSON.
    fn shown(&mut self, text: &str) -> String {
        let parts: Vec<&str> = match serde_json::from_str::<Value>(text) {
            Ok(_) => vec![text],
            Err(_) => text.lines().collect(),
        };
        let shown = parts.into_iter().map(|part| {
            let json = serde_json::from_str::<Value>(part.trim_start_matches("data: "));
            json.map_or_else(|_| part.to_owned(), |json| self.value(&json).to_string())
        });
        shown.collect::<Vec<_>>().join("\n")
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(entries) => {
                let mut shown = Map::new();
                for (key, value) in entries {
                    let is_of_the_moment = OF_THE_MOMENT.contains(&key.as_str()) && !value.is_null();
                    let value = if is_of_the_moment { "…".into() } else { self.value(value) };
                    shown.insert(self.text(key), value);
                }
                Value::Object(shown)
            }
            Value::Array(values) => values.iter().map(|value| self.value(value)).collect(),
            Value::String(text) => self.text(text).into(),
            // Distances: sums may be rounded in another order.
            Value::Number(number) if number.is_f64() => {
                format!("{:.5}", number.as_f64().expect("it is one")).into()
            }
            other => other.clone(),
        }
    }

    /// A text without times and with the numbers of ids that the server has made.
    fn text(&mut self, text: &str) -> String {
        let is_id = Uuid::parse_str(text).is_ok() || text.starts_with("chatcmpl-");
        if is_id && !self.made.iter().any(|made| made == text) {
            self.made.push(text.to_owned());
        }
        let is_time = text.len() >= 19 && text.as_bytes()[10] == b'T' && text.as_bytes()[13] == b':';
        if is_time {
            return "a time".to_owned();
        }
        let mut shown = text.to_owned();
        for (number, id) in self.made.iter().enumerate() {
            shown = shown.replace(id, &format!("id {number}"));
        }
        shown
    }

    /// The implemented routes that were not called with success.
    fn uncalled<'d>(&self, document: &'d Value) -> BTreeSet<String> {
        let routes = operations(document).into_iter();
        let implemented = routes.filter(|(_, _, operation)| operation["summary"] != "Not implemented");
        let routes: Vec<(String, &'d str)> =
            implemented.map(|(method, path, _)| (method.to_uppercase(), path)).collect();
        let mut uncalled: BTreeSet<_> = routes.iter().cloned().collect();
        for (method, path) in &self.calls {
            let of_call = routes.iter().filter(|(of, template)| of == method && fits(template, path));
            // Where several fit, that with the fewest variables answers.
            if let Some(route) = of_call.min_by_key(|(_, template)| template.matches('{').count()) {
                uncalled.remove(route);
            }
        }
        let uncalled = uncalled.into_iter().map(|(method, path)| format!("{method} {path}"));
        uncalled.filter(|route| !REFUSED.contains(&route.as_str())).collect()
    }
}

/// Whether `path` is one of the route `template`.
fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(path).all(|(part, of_path)| part.starts_with('{') || *part == of_path)
}

/// What the routes of a process on the database at `url` answer to the same calls.
async fn answers_on(url: &str) -> Vec<String> {
    let stub = Stub::judging(VERDICT);
    let served = Served::start_with_provider_on(url, stub.provider()).await;
    served.database.register_services().await.expect("they are registered");
    let mut client = Client { served: &served, answers: Vec::new(), calls: Vec::new(), made: Vec::new() };
    service_calls::send(&mut client).await;
    chroma_calls::send(&mut client).await;
    for document in [served.get("/openapi.json").await.json(), chroma_api::document(&served.database).await] {
        let uncalled = client.uncalled(&document);
        assert!(uncalled.is_empty(), "add a call of each route to compare its answers: {uncalled:#?}");
    }
    println!("{} calls, {} of them succeed", client.answers.len(), client.calls.len());
    let Client { answers, .. } = client;
    served.shutdown.begin();
    served.database.close().await;
    answers
}

fn assert_equal(plain: &[String], other: &[String]) {
    for (plain, other) in plain.iter().zip(other) {
        assert_eq!(plain, other);
    }
    assert_eq!(plain.len(), other.len());
}

/// Without Citus, its statements can be compared: those that it needs instead of others, in its messages.
#[tokio::test]
async fn all_routes_answer_the_same_by_the_statements_for_citus() {
    let [plain, other] = [TestDatabase::serving().await, TestDatabase::serving().await];
    other.pretend_to_have_citus().await;
    assert_equal(&answers_on(&plain.url()).await, &answers_on(&other.url()).await);
}

#[tokio::test]
async fn all_routes_answer_the_same_from_distributed_tables() {
    let Some(citus) = CitusDatabase::create().await else { return };
    citus.distributed().await.close().await;
    let plain = TestDatabase::serving().await;
    assert_equal(&answers_on(&plain.url()).await, &answers_on(&citus.url()).await);
    citus.remove().await;
}
