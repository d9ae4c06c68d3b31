//! All labels: whose they are, and how far people agree.

use std::collections::BTreeMap;

use judge::{
    parse::Winner,
    results::{AnnotatorsAgree, PersonLabel, PersonVerdict, annotators_agree},
    statistics::{Bootstrap, Interval, LabelScale},
};
use maud::{Markup, html};
use serde::Serialize;
use store::postgres::{LabelSelection, LabelVerdict, LabelWinner, StoredLabel};

use super::{Chosen, Kind};
use crate::{
    answer::ApiError,
    console::{
        Section,
        measured::{Share, interval, named, number},
        page::Page,
        plot::{Estimate, forest},
        text,
        view::View,
    },
    handlers::summaries::MOST_LABELS,
    results::Results,
};

/// Fewer than for other intervals: each sample goes through all items.
const REPLICATES: u32 = 1_000;
/// Annotators that are listed, those with most labels first.
const MOST_LISTED: usize = 100;
/// Rows that are plotted.
const PLOTTED: usize = 40;

/// The labels of all annotators.
#[derive(Debug, Serialize)]
pub(super) struct OverviewPage {
    filters: Chosen,
    /// Number of labels that the numbers below are about.
    labels: u64,
    /// Whether older labels were left out, because there are too many.
    older_left_out: bool,
    annotators: Vec<Annotator>,
    unlisted: u64,
    agreement: Vec<Agreement>,
    position: Position,
}

#[derive(Debug, Serialize)]
struct Annotator {
    annotator: String,
    scores: u64,
    preferences: u64,
}

/// Agreement of people by one metric.
#[derive(Debug, Serialize)]
struct Agreement {
    evaluation_prompt_id: Option<String>,
    kind: Kind,
    annotators: u64,
    /// Items with labels of several people.
    items: u64,
    /// Their labels.
    labels: u64,
    /// Items with a label of one person, which the numbers exclude.
    alone: u64,
    /// Pairs of labels of one item that are equal.
    same: Share,
    /// Krippendorff's: nominal of pairs, interval of scores.
    alpha: Option<f64>,
    interval: Option<Interval>,
}

/// Which of two answers people prefer, by the side on which they were shown.
#[derive(Debug, Serialize)]
struct Position {
    /// Of labels that are no tie.
    first: Share,
    ties: u64,
}

impl OverviewPage {
    /// All labels by the metric of `filters`.
    pub(super) async fn of(results: &Results, filters: Chosen) -> Result<Self, ApiError> {
        let metric = filters.evaluation_prompt_id.clone();
        let selection = LabelSelection { metric, ..LabelSelection::default() };
        let (labels, is_whole) = results.labels(&selection, MOST_LABELS).await?;
        let page = results.compute([], move |[]| Self::computed(filters, &labels));
        Ok(Self { older_left_out: !is_whole, ..page.await })
    }

    fn computed(filters: Chosen, labels: &[StoredLabel]) -> Self {
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let (mut first, mut second, mut ties) = (0, 0, 0);
        for label in labels {
            let (scores, preferences) = counts.entry(&label.annotator).or_default();
            match &label.verdict {
                LabelVerdict::Score { .. } => *scores += 1,
                LabelVerdict::Preference { winner, .. } => {
                    *preferences += 1;
                    match winner {
                        Some(LabelWinner::A) => first += 1,
                        Some(LabelWinner::B) => second += 1,
                        Some(LabelWinner::Tie) => ties += 1,
                        None => {}
                    }
                }
            }
        }
        let mut annotators: Vec<Annotator> = counts
            .into_iter()
            .map(|(annotator, (scores, preferences))| Annotator {
                annotator: annotator.to_owned(),
                scores,
                preferences,
            })
            .collect();
        annotators.sort_by_key(|one| std::cmp::Reverse(one.scores + one.preferences));
        let unlisted = annotators.len().saturating_sub(MOST_LISTED) as u64;
        annotators.truncate(MOST_LISTED);
        let items: Vec<[u8; 16]> = labels.iter().map(StoredLabel::item).collect();
        let said = labels.iter().zip(&items).filter_map(|(label, item)| {
            let verdict = person_verdict(&label.verdict)?;
            Some(PersonLabel { annotator: &label.annotator, item, metric: label.metric.as_deref(), verdict })
        });
        let bootstrap = Bootstrap { replicates: REPLICATES, ..Bootstrap::default() };
        let agreement = annotators_agree(said, &bootstrap).into_iter().map(Agreement::from).collect();
        Self {
            filters,
            labels: labels.len() as u64,
            older_left_out: false,
            annotators,
            unlisted,
            agreement,
            position: Position { first: Share::of(first, first + second), ties },
        }
    }
}

/// What people say, in an order of the two models that does not depend on how they were shown.
fn person_verdict(verdict: &LabelVerdict) -> Option<PersonVerdict> {
    match verdict {
        LabelVerdict::Score { score, .. } => score.map(PersonVerdict::Score),
        LabelVerdict::Preference { first, second, winner } => {
            let winner = Winner::from((*winner)?);
            Some(PersonVerdict::Winner(if first > second { winner.swapped() } else { winner }))
        }
    }
}

impl From<AnnotatorsAgree> for Agreement {
    fn from(agree: AnnotatorsAgree) -> Self {
        let AnnotatorsAgree { metric, scale, annotators, alone, pairs, same, alpha } = agree;
        Self {
            evaluation_prompt_id: metric,
            kind: match scale {
                LabelScale::Interval => Kind::Scores,
                LabelScale::Nominal => Kind::Pairs,
            },
            annotators,
            items: alpha.units,
            labels: alpha.labels,
            alone,
            same: Share::of(same, pairs),
            alpha: alpha.alpha,
            interval: alpha.interval,
        }
    }
}

impl OverviewPage {
    fn form(&self) -> Markup {
        let Chosen { annotator, kind, evaluation_prompt_id, theme, run_id, .. } = &self.filters;
        html! {
            form.filters method="get" action=(Section::Label.path()) {
                label { "your name" input name="annotator" required maxlength="200" autocomplete="username" dir="auto" value=[annotator.as_ref()]; }
                label { "what"
                    select name="kind" {
                        option value="" { "single answers and pairs" }
                        option value="scores" selected[*kind == Some(Kind::Scores)] { "single answers" }
                        option value="pairs" selected[*kind == Some(Kind::Pairs)] { "pairs" }
                    }
                }
                label { "metric" input name="evaluation_prompt_id" value=[evaluation_prompt_id.as_ref()]; }
                label { "theme" input name="theme" dir="auto" value=[theme.as_ref()]; }
                label { "run" input name="run_id" value=[run_id.as_ref()]; }
                button type="submit" { "Label" }
            }
            p.note { "Label answers that judges have judged, without seeing their verdicts or the models. The name is stored with each label, and the label of one name for an item replaces its earlier one." }
        }
    }

    fn agreement(&self) -> Markup {
        let label = |one: &Agreement| {
            let metric = one.evaluation_prompt_id.as_deref().unwrap_or("no metric");
            format!("{metric} · {}", one.kind.as_str())
        };
        let shared: Vec<&Agreement> = self.agreement.iter().filter(|one| one.items > 0).collect();
        let estimates: Vec<Estimate> = shared
            .iter()
            .take(PLOTTED)
            .map(|one| Estimate {
                label: label(one),
                value: one.alpha,
                interval: one.interval.map(|Interval { low, high }| (low, high)),
                n: one.items,
            })
            .collect();
        html! {
            h2 { "Agreement between annotators" }
            @if shared.is_empty() { p.note { "No item has labels of several annotators yet. All of them see the items in the same order." } }
            @else { (forest(("Krippendorff's alpha with 95 % intervals: 1 is perfect agreement, 0 is chance", Some(0.0)), &estimates)) }
            div.scroll { table data-sortable {
                thead { tr {
                    th scope="col" { "metric" } th scope="col" { "labels of" } th.number scope="col" { "annotators" } th.number scope="col" { "alpha" }
                    th scope="col" { "95 % interval" } th scope="col" { "equal pairs of labels" } th.number scope="col" { "items" }
                    th.number scope="col" { "labels" } th.number scope="col" { "left out: one label" }
                } }
                tbody { @for one in &self.agreement { tr {
                    td { (named(one.evaluation_prompt_id.as_ref())) }
                    td { @match one.kind { Kind::Scores => "single answers", Kind::Pairs => "pairs" } }
                    td.number { (text::count(one.annotators)) } td.number { (number(one.alpha)) } td.nowrap { (interval(one.interval)) }
                    td { (one.same.shown()) } td.number { (text::count(one.items)) } td.number { (text::count(one.labels)) } td.number { (text::count(one.alone)) }
                } } }
            } }
            p.note { "Alpha is nominal for pairs and of intervals for scores; its interval is by bootstrap over items. Skipped items are left out." }
        }
    }

    fn annotators(&self) -> Markup {
        let Position { first, ties } = &self.position;
        html! {
            h2 { "Annotators" }
            div.scroll { table data-sortable {
                thead { tr { th scope="col" { "annotator" } th.number scope="col" { "single answers" } th.number scope="col" { "pairs" } } }
                tbody { @for one in &self.annotators { tr {
                    td { a href=(Chosen { annotator: Some(one.annotator.clone()), ..self.filters.clone() }.path()) { (text::text(&one.annotator)) } }
                    td.number { (text::count(one.scores)) } td.number { (text::count(one.preferences)) }
                } } }
            } }
            @if self.unlisted > 0 { p.note { (text::counted(self.unlisted, "annotator")) " with fewer labels are not listed." } }
            @if first.whole > 0 {
                h2 { "Position" }
                dl { dt { "prefer the answer shown first" } dd { (first.shown()) } dt { "ties, left out" } dd { (text::count(*ties)) } }
                p.note { "Which answer is first is drawn for each annotator and pair, so an interval that excludes 50 % shows a preference for a side." }
            }
        }
    }
}

impl Page for OverviewPage {
    fn title(&self) -> String {
        Section::Label.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Label
    }

    fn body(&self, _: &View) -> Markup {
        let path = |rest: &str| format!("{}{rest}", Section::Label.path());
        html! {
            (self.form())
            div.actions {
                a.button.quiet href=(path("/export?format=csv")) { "Export CSV" }
                a.button.quiet href=(path("/export?format=jsonl")) { "Export JSON Lines" }
                a.button.quiet href=(path("/import")) { "Import" }
                a.button.quiet href=(format!("{}/agreement?stored=true", Section::Judges.path())) { "Compare judges with these labels" }
            }
            @if self.labels == 0 { p.note { "There are no labels yet." } }
            @else {
                p { (text::counted(self.labels, "label")) "." @if self.older_left_out { " Older ones are left out of the numbers below." } }
                (self.agreement())
                (self.annotators())
            }
        }
    }
}
