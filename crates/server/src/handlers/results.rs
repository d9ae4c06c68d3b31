//! The judge's results.

use std::sync::Arc;

use axum::extract::State;
use records::Service;
use store::postgres::{Database, ResultSelection};

use crate::{
    answer::{Answer, ApiError, Form},
    process::Process,
    request::{Both, Ignored, Parameters},
    wire::{PageParameters, ResultFilters, ShownResult},
};

/// Where the results are.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    pub(crate) database: Database,
    pub(crate) process: Arc<Process>,
}

/// Lists results, newest first.
pub(crate) async fn list<F: Form>(
    State(results): State<Results>,
    parameters: Parameters<Both<ResultFilters, PageParameters>, Ignored>,
) -> Result<Answer<F, F::Page<ShownResult>>, ApiError> {
    let Both(filters, page) = parameters.value;
    let Results { database, process } = results;
    let selection = ResultSelection::from(filters);
    let counted = database.count_evaluation_results(&selection);
    let total = process.measured(Service::Judge, "count_results", counted).await?;
    let listed = database.evaluation_results(&selection, page.offset(), page.limit.get());
    let items = process.measured(Service::Judge, "list_results", listed).await?;
    let items = items.into_iter().map(ShownResult::from).collect();
    Ok(Answer::new(F::page(items, page.among(total)), "listed").ignoring(&parameters.ignored))
}
