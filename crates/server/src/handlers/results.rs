//! The judge's results.

use std::sync::Arc;

use axum::extract::State;
use records::Service;
use store::postgres::{Database, ResultCursor, ResultSelection};

use crate::{
    answer::{Answer, ApiError, Bare, Enveloped},
    process::Process,
    request::{Both, Ignored, Parameters},
    wire::{
        KeysetPage, Page, PageParameters, Pagination, ResultFilters, ResultPage, ResultPaging, ShownResult,
    },
};

/// Where the results are.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    pub(crate) database: Database,
    pub(crate) process: Arc<Process>,
}

/// Lists results, newest first: pages with their numbers, as the contract has them, or from a cursor on.
pub(crate) async fn list(
    State(results): State<Results>,
    parameters: Parameters<Both<ResultFilters, ResultPaging>, Ignored>,
) -> Result<Answer<Enveloped, ResultPage>, ApiError> {
    let Both(filters, ResultPaging { page, limit, cursor }) = parameters.value;
    let selection = filters.into_selection()?;
    let page = match (page, cursor) {
        (Some(_), Some(_)) => return Err(ApiError::invalid("page", "expected no page beside a cursor")),
        (None, Some(cursor)) => ResultPage::Keyset(results.after(&selection, &cursor, limit.get()).await?),
        (page, None) => {
            let page = PageParameters { page: page.unwrap_or_default(), limit };
            let (items, pagination) = results.page(&selection, page).await?;
            ResultPage::Page(Page { items, pagination })
        }
    };
    Ok(Answer::new(page, "listed").ignoring(&parameters.ignored))
}

/// Lists results, newest first: the list alone.
pub(crate) async fn list_bare(
    State(results): State<Results>,
    parameters: Parameters<Both<ResultFilters, PageParameters>, Ignored>,
) -> Result<Answer<Bare, Vec<ShownResult>>, ApiError> {
    let Both(filters, page) = parameters.value;
    let (items, _) = results.page(&filters.into_selection()?, page).await?;
    Ok(Answer::new(items, "listed").ignoring(&parameters.ignored))
}

impl Results {
    async fn page(
        &self,
        selection: &ResultSelection,
        page: PageParameters,
    ) -> Result<(Vec<ShownResult>, Pagination), ApiError> {
        let counted = self.database.count_evaluation_results(selection);
        let total = self.process.measured(Service::Judge, "count_results", counted).await?;
        let listed = self.database.evaluation_results(selection, page.offset(), page.limit.get());
        let items = self.process.measured(Service::Judge, "list_results", listed).await?;
        Ok((items.into_iter().map(ShownResult::from).collect(), page.among(total)))
    }

    /// What follows on `cursor`; the newest if that is empty.
    async fn after(
        &self,
        selection: &ResultSelection,
        cursor: &str,
        limit: u32,
    ) -> Result<KeysetPage<ShownResult>, ApiError> {
        let cursor = match cursor {
            "" => None,
            cursor => {
                let cursor: Result<ResultCursor, _> = cursor.parse();
                Some(cursor.map_err(|error| ApiError::invalid("cursor", error.to_string()))?)
            }
        };
        // One more tells whether there is more.
        let listed = self.database.evaluation_results_after(selection, cursor.as_ref(), limit + 1);
        let mut items = self.process.measured(Service::Judge, "list_results", listed).await?;
        let limit = usize::try_from(limit).expect("a limit fits into memory");
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|last| ResultCursor::after(last).to_string());
        Ok(KeysetPage { items: items.into_iter().map(ShownResult::from).collect(), next_cursor })
    }
}
