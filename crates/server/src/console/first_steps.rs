//! What to do next on a system without records or runs.

use maud::{Markup, html};

use super::{Section, layout, view::View};

/// What is missing, as far as the address serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstSteps {
    pub(super) lacks_queries: bool,
    pub(super) lacks_metrics: bool,
    pub(super) lacks_runs: bool,
}

/// The steps, with commands for the address of the page; nothing if nothing is missing.
pub(super) fn first_steps(view: &View, missing: FirstSteps) -> Markup {
    let FirstSteps { lacks_queries, lacks_metrics, lacks_runs } = missing;
    if !lacks_queries && !lacks_metrics && !lacks_runs {
        return html! {};
    }
    let new = |section: Section| format!("{}/new", section.path());
    let post = |path: &str, body: &str| {
        // The header of a page always names a host, except for HTTP/1.0.
        let address = view.address.as_deref().unwrap_or("HOST:PORT");
        let key = if view.needs_key() { " -H 'X-API-Key: KEY'" } else { "" };
        format!("curl {address}/api/v1/{path} -H 'content-type: application/json'{key} \\\n    -d '{body}'")
    };
    let advice = html! {
        @if lacks_queries {
            p { "Look around with sample data: " code { "panopticon demo" } ". Bring what you have:" }
            pre { "panopticon migrate query --from CHROMA_DIRECTORY" }
            p { strong { "Add queries" } " – " a href=(new(Section::Queries)) { "by form" } ", or:" }
            pre { (post("queries", r#"{"query": "How does nuclear fusion work?", "theme": "physics"}"#)) }
        }
        @if lacks_metrics {
            p { strong { "Add a metric by which a judge scores" } " – " a href=(new(Section::Metrics)) { "by form" } ", or:" }
            pre { (post("evaluation-metrics", r#"{"prompt": "Rate the factual accuracy from 1 to 10.", "metric_type": "accuracy"}"#)) }
        }
        @if lacks_runs {
            p { strong { "Have models answer and a judge score the answers" } " – " a href=(new(Section::Runs)) { "by form" } ", or:" }
            pre { "panopticon judge run --model gpt-4o --judge gpt-4o --metric METRIC_ID --theme physics" }
        }
    };
    layout::empty("What to do next", advice)
}
