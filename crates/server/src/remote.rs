//! The queries and metrics of separate services, for the judge.

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use judge::engine::{Fault, RecordSource, RunError};
use records::Service;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use store::{
    json::{Decoded, decode_answer},
    postgres::Lsn,
    storage::{Record, Selection},
};

use crate::{
    layers::LSN,
    trace,
    upstream::Upstream,
    wire::{EvaluationMetrics, Outputs, Queries, Resource},
};

/// A separate service. Only the contract's routes are used, so that any version of it works.
#[derive(Clone, Debug)]
pub struct RemoteService {
    /// The service and its address.
    pub upstream: Upstream,
    /// The service's API key.
    pub key: Option<SecretString>,
    /// Must not follow redirects, which would leak the key.
    pub client: reqwest::Client,
}

/// Concurrent requests for records, of which the contract returns one per request.
const AT_ONCE: usize = 8;
/// The contract's maximum page size.
const PAGE: u32 = 100;

/// The contract's names for a service's records.
struct Names {
    path: &'static str,
    by_category: &'static str,
    text: &'static str,
}

impl Names {
    fn of<R: Resource>() -> Self {
        Self { path: R::PATH, by_category: R::BY_CATEGORY, text: R::TEXT }
    }
}

#[async_trait]
impl RecordSource for RemoteService {
    async fn find(&self, ids: &[String]) -> Result<Vec<Option<Record>>, RunError> {
        let found: Vec<BoxFuture<'_, _>> = ids.iter().map(|id| self.record(id).boxed()).collect();
        stream::iter(found).buffered(AT_ONCE).try_collect().await
    }

    async fn newest(&self, category: &str, limit: u32) -> Result<Vec<Record>, RunError> {
        self.page(category, 1, limit).await
    }

    /// The contract's routes select only by category.
    async fn selected(&self, selection: &Selection, limit: u32) -> Result<Vec<Record>, RunError> {
        let only = Selection { category: selection.category.clone(), ..Selection::default() };
        let category = selection.category.as_deref().filter(|_| *selection == only);
        let Some(category) = category else {
            let service = self.upstream.service;
            let reason = format!(
                "the {service} service is a separate process and can select only by `theme`: give \
                    `query_ids`"
            );
            return Err(RunError::Refused { field: "filter".to_owned(), reason });
        };
        let limit = usize::try_from(limit).expect("it fits into memory");
        let mut records = Vec::new();
        for page in 1.. {
            let found = self.page(category, page, PAGE).await?;
            let is_last = found.len() < usize::try_from(PAGE).expect("a page fits into memory");
            records.extend(found);
            if is_last || records.len() >= limit {
                break;
            }
        }
        records.truncate(limit);
        Ok(records)
    }
}

impl RemoteService {
    fn names(&self) -> Names {
        match self.upstream.service {
            Service::Query => Names::of::<Queries>(),
            Service::Evaluation => Names::of::<EvaluationMetrics>(),
            Service::Judge => Names::of::<Outputs>(),
        }
    }

    async fn record(&self, id: &str) -> Result<Option<Record>, RunError> {
        let answer = self.get(&[id], None).await?;
        answer.map(|data| self.read(data)).transpose()
    }

    async fn page(&self, category: &str, page: u32, limit: u32) -> Result<Vec<Record>, RunError> {
        let (by, _) = self.names().by_category.split_once('/').expect("the path ends with the category");
        let answer = self.get(&[by, category], Some((page, limit))).await?;
        match answer.map(|mut page| take(&mut page, "items")) {
            Some(Value::Array(items)) => items.into_iter().map(|item| self.read(item)).collect(),
            _ => Err(self.failed("returned no page of records")),
        }
    }

    /// `data` of the response; `None` when the record does not exist.
    async fn get(&self, path: &[&str], page: Option<(u32, u32)>) -> Result<Option<Value>, RunError> {
        let Upstream { service, url } = &self.upstream;
        let mut url = Url::parse(url).map_err(|_| self.failed("has an invalid URL"))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1", self.names().path]).extend(path);
        }
        if let Some((page, limit)) = page {
            let (page, limit) = (page.to_string(), limit.to_string());
            url.query_pairs_mut().append_pair("page", &page).append_pair("limit", &limit);
        }
        let mut headers = HeaderMap::new();
        trace::pass_on(&mut headers);
        // The judge's client has just stored what it asks for, perhaps in another process.
        let mut request = self.client.get(url).headers(headers).header(LSN, Lsn::PRIMARY.to_string());
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key.expose_secret());
        }
        let unreachable = |source: reqwest::Error| {
            RunError::Unavailable(Fault::Service { service: *service, source: source.without_url() })
        };
        let response = request.send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            // All parts of a page's request are valid, so it is too large.
            StatusCode::UNPROCESSABLE_ENTITY if page.is_some() => {
                let reason = "the records are too large together: give a smaller `limit`";
                return Err(RunError::Refused { field: "limit".to_owned(), reason: reason.to_owned() });
            }
            status => return Err(self.failed(&format!("returned status {}", status.as_u16()))),
        }
        let body = response.bytes().await.map_err(unreachable)?;
        let answer = std::str::from_utf8(&body).map(decode_answer);
        match answer {
            Ok(Decoded { mut value, problems }) if problems.is_empty() => Ok(Some(take(&mut value, "data"))),
            _ => Err(self.failed("returned a response that is not JSON")),
        }
    }

    fn read(&self, mut data: Value) -> Result<Record, RunError> {
        let metadata = match take(&mut data, "metadata") {
            Value::Object(metadata) => metadata,
            _ => Map::new(),
        };
        match (take(&mut data, "id"), take(&mut data, self.names().text)) {
            (Value::String(id), Value::String(text)) => {
                Ok(Record { id, text, metadata, created_at: None, problems: Vec::new() })
            }
            _ => Err(self.failed("returned a response that is not a record")),
        }
    }

    fn failed(&self, reason: &str) -> RunError {
        RunError::Failed(Fault::Answer { service: self.upstream.service, reason: reason.to_owned() })
    }
}

/// The value of `key`; null if it is absent or `value` is not an object.
fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}
