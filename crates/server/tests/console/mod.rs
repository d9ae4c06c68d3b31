//! The console's pages over real HTTP.

mod access;
mod collections;
mod compare;
mod compare_several;
mod home;
mod judged;
mod judges;
mod label;
mod map;
mod migrations;
mod quality;
mod records;
mod run_results;
mod snapshots;

use reqwest::Method;
use serde_json::Value;

use crate::served::{Answer, Served};

/// A browser without JavaScript: it keeps cookies and follows no redirect.
pub(crate) struct Browser<'s> {
    served: &'s Served,
    cookie: String,
}

impl<'s> Browser<'s> {
    pub(crate) fn new(served: &'s Served) -> Self {
        Self { served, cookie: String::new() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// The page's data.
    pub(crate) async fn data(&mut self, path: &str) -> Value {
        let separator = if path.contains('?') { '&' } else { '?' };
        let answer = self.get(&format!("{path}{separator}format=json")).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json"),
            "{}",
            answer.text
        );
        answer.json()
    }

    /// Fills in the form of the page at `path` and sends it to `action`.
    pub(crate) async fn submit(&mut self, (path, action): (&str, &str), fields: &[(&str, &str)]) -> Answer {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let mut all: Vec<(String, String)> = hidden(&page.text);
        all.retain(|(name, _)| fields.iter().all(|(given, _)| given != name));
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.post(action, &all).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(String, String)]) -> Answer {
        let pairs = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = reqwest::Url::parse_with_params("http://x/", pairs).expect("a URL");
        self.send(Method::POST, path, Some(body.query().unwrap_or_default().to_owned())).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<String>) -> Answer {
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        let cookie = self.cookie.clone();
        if !cookie.is_empty() {
            headers.push(("cookie", &cookie));
        }
        let answer = self.served.send(method, path, &headers, body).await;
        if let Some((cookie, _)) = answer.header("set-cookie").split_once(';') {
            self.cookie = cookie.to_owned();
        }
        answer
    }
}

/// The hidden fields of the page's forms, of which the last one with a name counts.
fn hidden(page: &str) -> Vec<(String, String)> {
    let inputs = page.split("<input type=\"hidden\" ").skip(1);
    let attribute = |input: &str, name: &str| {
        let value = input.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        let value = value.expect("the field has it").0;
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")]
            .iter()
            .fold(value.to_owned(), |value, (escape, character)| value.replace(escape, character))
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    for input in inputs {
        let (name, value) = (attribute(input, "name"), attribute(input, "value"));
        fields.retain(|(earlier, _)| *earlier != name);
        fields.push((name, value));
    }
    fields
}
