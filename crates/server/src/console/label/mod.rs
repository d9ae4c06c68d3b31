//! Labels of people: one answer, or two, at a time, without the verdicts of judges.

mod item;
mod overview;
mod queue;
mod save;
mod transfer;

use axum::{
    Router,
    extract::{FromRef, State},
    response::Response,
    routing::{get, post},
};
use judge::engine::Judging;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::ResultSelection;

use super::{
    Section,
    filters::{Filters, link},
    view::View,
};
use crate::{
    answer::ApiError, handlers::labels::export, request::Both, results::Results, wire::ResultFilters,
};

/// The results to label, and where to find metrics and outputs.
#[derive(Clone)]
pub(crate) struct Labelling {
    pub(crate) results: Results,
    pub(crate) judging: Judging,
}

impl FromRef<Labelling> for Results {
    fn from_ref(labelling: &Labelling) -> Self {
        labelling.results.clone()
    }
}

/// The pages of labels.
pub(crate) fn router() -> Router<Labelling> {
    let path = |rest: &str| format!("{}{rest}", Section::Label.path());
    Router::new()
        .route(&path(""), get(show).post(save::save))
        .route(&path("/undo"), post(save::undo))
        .route(&path("/import"), get(transfer::show).post(transfer::store))
        .route(&path("/export"), get(export))
}

/// Who labels what, as it was given.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct Chosen {
    annotator: Option<String>,
    kind: Option<Kind>,
    evaluation_prompt_id: Option<String>,
    theme: Option<String>,
    run_id: Option<String>,
    /// Whether skipped items are shown again.
    #[serde(default)]
    skipped: bool,
    /// Whether long texts are shown completely.
    #[serde(default)]
    whole: bool,
}

/// What is labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Kind {
    /// Single answers.
    Scores,
    /// Two answers.
    Pairs,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Scores => "scores",
            Self::Pairs => "pairs",
        }
    }
}

impl Chosen {
    /// The annotator's name, if one is given.
    fn annotator(&self) -> Option<&str> {
        self.annotator.as_deref().map(str::trim).filter(|name| !name.is_empty())
    }

    /// The parameters that choose the next item.
    fn parameters(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("annotator", self.annotator()),
            ("kind", self.kind.map(Kind::as_str)),
            ("evaluation_prompt_id", self.evaluation_prompt_id.as_deref()),
            ("theme", self.theme.as_deref()),
            ("run_id", self.run_id.as_deref()),
            ("skipped", self.skipped.then_some("true")),
        ]
    }

    /// The page of the next item.
    fn path(&self) -> String {
        link(&Section::Label.path(), self.parameters())
    }
}

async fn show(
    view: View,
    State(labelling): State<Labelling>,
    Filters(Both(chosen, selected)): Filters<Both<Chosen, ResultFilters>>,
) -> Result<Response, ApiError> {
    let selection: ResultSelection = selected.into_selection()?;
    match chosen.annotator().map(str::to_owned) {
        Some(annotator) => {
            let page = item::LabelPage::of(&labelling, chosen, (&annotator, &selection)).await?;
            Ok(view.show(&page))
        }
        None => Ok(view.show(&overview::OverviewPage::of(&labelling.results, chosen).await?)),
    }
}
