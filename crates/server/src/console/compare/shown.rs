//! The tables and plots that comparisons of models and of runs share.

use judge::statistics::Interval;
use maud::{Markup, html};

use super::{
    super::{
        filters::link,
        measured::{interval, left_out, named, number},
        plot::{Estimate, forest, win_rates},
        text,
    },
    export::ExportTable,
};
use crate::wire::{ComparisonResponse, MeanResponse, PairResponse, ScoresResponse};

/// Rows that are plotted.
const PLOTTED: usize = 40;

/// What is compared with the first one.
#[derive(Clone, Debug)]
pub(super) struct Row<'r> {
    /// The letter of the other one.
    pub(super) letter: &'static str,
    /// Its name.
    pub(super) name: String,
    pub(super) comparison: &'r ComparisonResponse,
}

/// Whether a comparison is about models, or about runs with the same models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Models,
    Runs,
}

/// A p-value; a small one is not zero.
fn p_value(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 0.001 => "< 0.001".to_owned(),
        value => number(value),
    }
}

/// Parts of a label that may be unknown.
fn joined<const N: usize>(parts: [Option<&str>; N]) -> String {
    parts.map(|part| part.unwrap_or("unknown")).join(" · ")
}

fn estimate(label: String, mean: &MeanResponse) -> Estimate {
    Estimate { label, value: mean.mean, interval: ends(mean.interval), n: mean.queries }
}

fn ends(interval: Option<Interval>) -> Option<(f64, f64)> {
    interval.map(|Interval { low, high }| (low, high))
}

/// What a comparison says, in words.
fn verdict(comparison: &ComparisonResponse, letter: &str) -> String {
    let Some(Interval { low, high }) = comparison.interval else {
        return "too few queries to tell".to_owned();
    };
    match (low > 0.0, high < 0.0) {
        (true, _) => "A is better".to_owned(),
        (_, true) => format!("{letter} is better"),
        _ => match comparison.queries_needed {
            Some(needed) if needed > comparison.queries => {
                format!("not decided; about {} queries would decide it", text::count(needed))
            }
            _ => "not decided".to_owned(),
        },
    }
}

/// The differences between the first one and each other one.
pub(super) fn comparisons(kind: Kind, rows: &[Row<'_>]) -> Markup {
    let has_several = rows.iter().any(|row| row.letter != rows[0].letter);
    let estimates = rows.iter().take(PLOTTED).map(|row| {
        let metric = row.comparison.evaluation_prompt_id.as_deref();
        let subject = match kind {
            Kind::Models => joined([metric]),
            Kind::Runs => joined([row.comparison.model_a.as_deref(), metric]),
        };
        Estimate {
            label: if has_several { format!("{} · {subject}", row.letter) } else { subject },
            value: row.comparison.difference,
            interval: ends(row.comparison.interval),
            n: row.comparison.queries,
        }
    });
    let title = match (kind, has_several) {
        (Kind::Models, false) => "Difference of the mean scores, A minus B, by metric, with 95 % intervals",
        (Kind::Runs, false) => {
            "Difference of the mean scores, A minus B, by model and metric, with 95 % intervals"
        }
        (Kind::Models, true) => {
            "Difference of the mean scores, A minus each other model, by metric, with 95 % intervals"
        }
        (Kind::Runs, true) => {
            "Difference of the mean scores, A minus each other run, by model and metric, with 95 % intervals"
        }
    };
    html! {
        (forest((title, Some(0.0)), &estimates.collect::<Vec<_>>()))
        @if rows.len() > PLOTTED { p.note { "The first " (PLOTTED) " of " (rows.len()) " are plotted." } }
        div.scroll { table data-sortable {
            thead { tr {
                th scope="col" { "A minus" } @if kind == Kind::Runs { th scope="col" { "model" } }
                th scope="col" { "metric" } th scope="col" { "result" } th.number scope="col" { "difference" }
                th scope="col" { "95 % interval" } th.number scope="col" { "p" } th.number scope="col" { "queries" } th.number scope="col" { "queries needed" }
                th.number scope="col" { "A better" } th.number scope="col" { "other better" }
                th.number scope="col" { "only A" } th.number scope="col" { "only other" }
                th scope="col" { "left out of A" } th scope="col" { "left out of other" }
            } }
            tbody { @for Row { letter, name, comparison: one } in rows { tr {
                td { (letter) ": " (text::text(name)) }
                @if kind == Kind::Runs { td { (named(one.model_a.as_ref())) } }
                td { (named(one.evaluation_prompt_id.as_ref())) } td { (verdict(one, letter)) }
                td.number { (number(one.difference)) } td.nowrap { (interval(one.interval)) }
                td.number.nowrap { (p_value(one.p_value)) } td.number { (text::count(one.queries)) }
                td.number { @match one.queries_needed { Some(needed) => (text::count(needed)), None => "–" } }
                td.number { (text::count(one.a_better)) } td.number { (text::count(one.b_better)) }
                td.number { (text::count(one.only_a)) } td.number { (text::count(one.only_b)) }
                td { (left_out(one.counts_a)) } td { (left_out(one.counts_b)) }
            } } }
        } }
        p.note {
            "Over queries for which both have a score; intervals by bootstrap over queries, p by the paired t-test. Judgements left out have no score. "
            "Queries needed: to find this difference with 80 % power at p < 0.05."
            @if rows.len() > 1 { " Neither p nor the intervals are adjusted for the number of comparisons (" (rows.len()) "): one of twenty is below 0.05 by chance." }
        }
    }
}

/// Mean scores, each with the name of its run, if runs are compared.
pub(super) fn scores(rows: &[(Option<&str>, &ScoresResponse)]) -> Markup {
    let has_runs = rows.iter().any(|(run, _)| run.is_some());
    let of_row = |(run, one): &(Option<&str>, &ScoresResponse)| {
        let subject = joined([one.model_id.as_deref(), one.theme.as_deref()]);
        let label = run.map_or_else(|| subject.clone(), |run| format!("{run} · {subject}"));
        estimate(label, &one.mean)
    };
    let mut by_metric: Vec<_> = rows.to_vec();
    // Stable: the order of runs, themes and models stays.
    by_metric.sort_by_key(|(_, one)| one.evaluation_prompt_id.as_deref());
    html! {
        h2 { "Mean scores" }
        @for group in by_metric.chunk_by(|(_, a), (_, b)| a.evaluation_prompt_id == b.evaluation_prompt_id) {
            @let metric = group[0].1.evaluation_prompt_id.as_deref().unwrap_or("unknown");
            @let estimates: Vec<Estimate> = group.iter().take(PLOTTED).map(of_row).collect();
            (forest((&format!("Mean score by {metric}, with 95 % intervals"), None), &estimates))
            @if group.len() > PLOTTED { p.note { "The first " (PLOTTED) " of " (group.len()) " are plotted." } }
        }
        div.scroll { table data-sortable {
            thead { tr {
                @if has_runs { th scope="col" { "run" } }
                th scope="col" { "metric" } th scope="col" { "model" } th scope="col" { "theme" } th.number scope="col" { "mean" }
                th scope="col" { "95 % interval" } th.number scope="col" { "queries" } th.number scope="col" { "without a score" }
                th scope="col" { "judgements left out" } th.number scope="col" { "off the scale" }
            } }
            tbody { @for (run, one) in rows { tr {
                @if let Some(run) = run { td { (text::text(run)) } }
                td { (named(one.evaluation_prompt_id.as_ref())) } td { (named(one.model_id.as_ref())) } td { (named(one.theme.as_ref())) }
                td.number { (number(one.mean.mean)) } td.nowrap { (interval(one.mean.interval)) }
                td.number { (text::count(one.mean.queries)) } td.number { (text::count(one.queries_without_score)) }
                td { (left_out(one.counts)) } td.number { (text::count(one.out_of_range)) }
            } } }
        } }
    }
}

/// Win rates of pairs of models, each with the name of its run, if runs are compared.
pub(super) fn pairs(rows: &[(Option<&str>, &PairResponse)]) -> Markup {
    let has_runs = rows.iter().any(|(run, _)| run.is_some());
    let estimates = rows.iter().take(PLOTTED).map(|(run, pair)| {
        let subject = joined([pair.theme.as_deref(), pair.model_a.as_deref(), pair.model_b.as_deref()]);
        let label = run.map_or_else(|| subject.clone(), |run| format!("{run} · {subject}"));
        estimate(label, &pair.win_rate_a)
    });
    html! {
        h2 { "Pairwise" }
        (win_rates("Win rate of the first model with its 95 % interval; a tie counts as half a win", &estimates.collect::<Vec<_>>()))
        @if rows.len() > PLOTTED { p.note { "The first " (PLOTTED) " of " (rows.len()) "." } }
        div.scroll { table data-sortable {
            thead { tr {
                @if has_runs { th scope="col" { "run" } }
                th scope="col" { "metric" } th scope="col" { "theme" } th scope="col" { "first" } th scope="col" { "second" }
                th.number scope="col" { "win rate" } th scope="col" { "95 % interval" } th.number scope="col" { "queries" }
                th.number scope="col" { "wins" } th.number scope="col" { "losses" } th.number scope="col" { "ties" }
                th.number scope="col" { "same in both orders" } th scope="col" { "left out" } th.number scope="col" { "one order only" }
            } }
            tbody { @for (run, pair) in rows { tr {
                @if let Some(run) = run { td { (text::text(run)) } }
                td { (named(pair.evaluation_prompt_id.as_ref())) } td { (named(pair.theme.as_ref())) }
                td { (named(pair.model_a.as_ref())) } td { (named(pair.model_b.as_ref())) }
                td.number { (number(pair.win_rate_a.mean)) } td.nowrap { (interval(pair.win_rate_a.interval)) }
                td.number { (text::count(pair.win_rate_a.queries)) }
                td.number { (text::count(pair.wins_a)) } td.number { (text::count(pair.wins_b)) } td.number { (text::count(pair.ties)) }
                td.number { (number(pair.position.consistency)) } td { (left_out(pair.counts)) } td.number { (text::count(pair.incomplete)) }
            } } }
        } }
    }
}

/// The address of a comparison with everything on which it depends, and its tables as files.
pub(super) fn files(path: &str, parameters: &[(&str, Option<&str>)], tables: &[ExportTable]) -> Markup {
    let of = |path: &str, name: &str, value: &str| {
        let mut all: Vec<(&str, Option<&str>)> = parameters.to_vec();
        all.push((name, Some(value)));
        link(path, all)
    };
    html! {
        div.actions {
            a.button.quiet href=(link(path, parameters.to_vec())) { "Permalink" }
            @for table in tables {
                a.button.quiet href=(of(&format!("{path}/export"), "table", table.as_str())) download { (table.as_str()) " as CSV" }
            }
            a.button.quiet href=(of(path, "format", "json")) download="comparison.json" { "All as JSON" }
        }
    }
}
