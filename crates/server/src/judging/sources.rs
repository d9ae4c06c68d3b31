//! The queries and metrics that the judge works with: in a storage of this process, or at a service that runs apart.

use std::{collections::HashMap, sync::Arc};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use reqwest::{StatusCode, Url, header::HeaderMap};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use store::{
    json::{Decoded, decode_answer},
    storage::{Cursor, Record, Selection, Start, Storage},
};

use crate::{answer::ApiError, process::Process, trace, upstream::Upstream, wire::Resource};

/// Where the judge finds the records of another service.
#[derive(Clone, Debug)]
pub enum RecordSource {
    /// A storage that this process has opened.
    Storage(Arc<dyn Storage>),
    /// A service that runs apart.
    Service(RemoteService),
}

/// A service that runs apart, asked by the contract's routes alone, so that any version of it will do.
#[derive(Clone, Debug)]
pub struct RemoteService {
    /// The service, and where it runs.
    pub upstream: Upstream,
    /// The key that it asks for.
    pub key: Option<SecretString>,
    /// Must not follow redirects: they would be given the key.
    pub client: reqwest::Client,
}

/// Records that are asked for at once, from a service that gives one at a time.
const AT_ONCE: usize = 8;

/// Records of a page that a storage is asked for.
const PAGE: u32 = 1000;
/// The longest page of the contract.
const REMOTE_PAGE: u32 = 100;

impl RecordSource {
    /// The records with these ids, in their order; `None` where there is none.
    pub(super) async fn find<R: Resource>(
        &self,
        ids: &[String],
        process: &Process,
    ) -> Result<Vec<Option<Record>>, ApiError> {
        match self {
            Self::Storage(storage) => {
                let found = process.measured(R::SERVICE, "get", storage.get(ids)).await?;
                let found: HashMap<String, Record> =
                    found.into_iter().map(|record| (record.id.clone(), record)).collect();
                Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
            }
            Self::Service(service) => {
                let found: Vec<BoxFuture<'_, _>> =
                    ids.iter().map(|id| service.record::<R>(id).boxed()).collect();
                stream::iter(found).buffered(AT_ONCE).try_collect().await
            }
        }
    }

    /// Up to `limit` records of a category, newest first.
    pub(super) async fn newest<R: Resource>(
        &self,
        category: &str,
        limit: u32,
        process: &Process,
    ) -> Result<Vec<Record>, ApiError> {
        match self {
            Self::Storage(storage) => {
                let selection = Selection { category: Some(category.to_owned()), ..Selection::default() };
                let listed = storage.list(&selection, Start::Offset(0), limit);
                Ok(process.measured(R::SERVICE, "list", listed).await?)
            }
            Self::Service(service) => service.newest::<R>(category, limit).await,
        }
    }

    /// Up to `limit` of the selected records, newest first.
    pub(super) async fn selected<R: Resource>(
        &self,
        selection: &Selection,
        limit: u32,
        process: &Process,
    ) -> Result<Vec<Record>, ApiError> {
        let storage = match self {
            Self::Storage(storage) => storage,
            Self::Service(service) => return service.selected::<R>(selection, limit).await,
        };
        let mut records: Vec<Record> = Vec::new();
        let mut start = Start::Offset(0);
        loop {
            let left = limit - u32::try_from(records.len()).expect("there are no more than `limit`");
            let page = left.min(PAGE);
            let listed = process.measured(R::SERVICE, "list", storage.list(selection, start, page)).await?;
            let is_last = listed.len() < usize::try_from(page).expect("a page fits into memory");
            records.extend(listed);
            match records.last() {
                Some(last) if !is_last && left > page => start = Start::After(Cursor::after(last)),
                _ => return Ok(records),
            }
        }
    }
}

impl RemoteService {
    /// As the contract's routes can select: by category alone.
    async fn selected<R: Resource>(
        &self,
        selection: &Selection,
        limit: u32,
    ) -> Result<Vec<Record>, ApiError> {
        let only = Selection { category: selection.category.clone(), ..Selection::default() };
        let category = selection.category.as_deref().filter(|_| *selection == only);
        let Some(category) = category else {
            let service = R::SERVICE;
            return Err(ApiError::invalid(
                "filter",
                format!("the {service} service runs apart and selects by `theme` alone: give `query_ids`"),
            ));
        };
        let limit = usize::try_from(limit).expect("it fits into memory");
        let mut records = Vec::new();
        for page in 1.. {
            let found = self.page::<R>(category, page, REMOTE_PAGE).await?;
            let is_last = found.len() < usize::try_from(REMOTE_PAGE).expect("a page fits into memory");
            records.extend(found);
            if is_last || records.len() >= limit {
                break;
            }
        }
        records.truncate(limit);
        Ok(records)
    }

    async fn record<R: Resource>(&self, id: &str) -> Result<Option<Record>, ApiError> {
        let answer = self.get::<R>(&[id], None).await?;
        answer.map(|data| self.read::<R>(data)).transpose()
    }

    async fn newest<R: Resource>(&self, category: &str, limit: u32) -> Result<Vec<Record>, ApiError> {
        self.page::<R>(category, 1, limit).await
    }

    async fn page<R: Resource>(
        &self,
        category: &str,
        page: u32,
        limit: u32,
    ) -> Result<Vec<Record>, ApiError> {
        let (by, _) = R::BY_CATEGORY.split_once('/').expect("the path ends with the category");
        let answer = self.get::<R>(&[by, category], Some((page, limit))).await?;
        match answer.map(|mut page| take(&mut page, "items")) {
            Some(Value::Array(items)) => items.into_iter().map(|item| self.read::<R>(item)).collect(),
            _ => Err(self.failed("answered without a page of records")),
        }
    }

    /// `data` of the answer; `None` when there is no such record.
    async fn get<R: Resource>(
        &self,
        path: &[&str],
        page: Option<(u32, u32)>,
    ) -> Result<Option<Value>, ApiError> {
        let Upstream { service, url } = &self.upstream;
        let mut url = Url::parse(url).map_err(|_| self.failed("has a URL that is none"))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1", R::PATH]).extend(path);
        }
        if let Some((page, limit)) = page {
            let (page, limit) = (page.to_string(), limit.to_string());
            url.query_pairs_mut().append_pair("page", &page).append_pair("limit", &limit);
        }
        let mut headers = HeaderMap::new();
        trace::pass_on(&mut headers);
        let mut request = self.client.get(url).headers(headers);
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key.expose_secret());
        }
        let unreachable =
            |source: reqwest::Error| ApiError::Gateway { service: *service, source: source.without_url() };
        let response = request.send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(self.failed(&format!("answered with status {}", status.as_u16()))),
        }
        let body = response.bytes().await.map_err(unreachable)?;
        let answer = std::str::from_utf8(&body).map(decode_answer);
        match answer {
            Ok(Decoded { mut value, problems }) if problems.is_empty() => Ok(Some(take(&mut value, "data"))),
            _ => Err(self.failed("answered with something else than JSON")),
        }
    }

    fn read<R: Resource>(&self, mut data: Value) -> Result<Record, ApiError> {
        let metadata = match take(&mut data, "metadata") {
            Value::Object(metadata) => metadata,
            _ => Map::new(),
        };
        match (take(&mut data, "id"), take(&mut data, R::TEXT)) {
            (Value::String(id), Value::String(text)) => {
                Ok(Record { id, text, metadata, created_at: None, problems: Vec::new() })
            }
            _ => Err(self.failed("answered with something else than a record")),
        }
    }

    fn failed(&self, reason: &str) -> ApiError {
        ApiError::Upstream { service: self.upstream.service, reason: reason.to_owned() }
    }
}

/// The value under `key`; null of what has none, or is no object.
fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}
