//! The item that an annotator labels.

use judge::parse::Scale;
use maud::{Markup, html};
use serde::Serialize;
use store::postgres::{
    JudgedAnswer, JudgedItem, JudgedKind, LabelVerdict, LabelWinner, ResultSelection, StoredLabel,
};
use time::PrimitiveDateTime;

use super::{
    Chosen, Labelling,
    queue::{Queue, Wanted, is_turned},
};
use crate::{
    answer::ApiError,
    console::{Section, filters::link, layout, page::Page, text, view::View},
};

/// Items that are tried, if answers of some are not stored any more.
const MOST_TRIED: usize = 20;
/// Most numbers of a scale that have a button each.
const MOST_BUTTONS: f64 = 11.0;
/// Labels of the annotator that are listed.
const LAST: u32 = 5;

/// An item, and how far the annotator has come.
#[derive(Debug, Serialize)]
pub(super) struct LabelPage {
    filters: Chosen,
    progress: Progress,
    /// Null if nothing is left.
    item: Option<Item>,
    /// The annotator's last labels, newest first.
    last: Vec<Last>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Progress {
    labelled: u64,
    skipped: u64,
    left: u64,
    /// Whether `left` counts all. If not, there are more.
    is_all: bool,
    /// Pairs that were left out, because one of their answers is not stored.
    incomplete: u64,
}

/// What is shown to the annotator: neither verdicts nor the names of models.
#[derive(Debug, Serialize)]
struct Item {
    result_id: String,
    query: Option<Text>,
    /// The metric's prompt.
    criterion: Option<Text>,
    evaluation_prompt_id: Option<String>,
    /// One or two, in the order in which they are shown.
    answers: Vec<Text>,
    /// For one answer.
    scale: Option<ScaleResponse>,
    /// The id of the label, so that sending the form twice is harmless.
    label_id: String,
}

/// The beginning of a text.
#[derive(Debug, Serialize)]
struct Text {
    text: String,
    is_whole: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct ScaleResponse {
    min: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Last {
    id: String,
    /// A score, `a`, `b`, `tie`, or `skipped`.
    label: String,
    labelled_at: String,
    #[serde(skip)]
    at: Option<PrimitiveDateTime>,
}

impl LabelPage {
    /// The page of the next item of `annotator`.
    pub(super) async fn of(
        labelling: &Labelling,
        filters: Chosen,
        (annotator, selection): (&str, &ResultSelection),
    ) -> Result<Self, ApiError> {
        let wanted = Wanted { kind: filters.kind, includes_skipped: filters.skipped };
        let queue = Queue::of(&labelling.results, selection, annotator, wanted).await?;
        let (mut item, mut incomplete) = (None, 0);
        for candidate in queue.open.iter().take(MOST_TRIED) {
            item = Item::of(labelling, candidate, (annotator, filters.whole)).await?;
            if item.is_some() {
                break;
            }
            incomplete += 1;
        }
        let last = labelling.results.database.last_labels(annotator, LAST).await?;
        let progress = Progress {
            labelled: queue.labelled,
            skipped: queue.skipped,
            left: queue.open.len() as u64 - incomplete,
            is_all: queue.is_all,
            incomplete,
        };
        Ok(Self { filters, progress, item, last: last.into_iter().map(Last::from).collect() })
    }
}

impl Item {
    /// The texts of `item`; `None` if one of its answers is not stored.
    async fn of(
        labelling: &Labelling,
        item: &JudgedItem,
        (annotator, shows_whole): (&str, bool),
    ) -> Result<Option<Self>, ApiError> {
        let limit = if shows_whole { u32::MAX as usize } else { text::SHOWN_CHARACTERS };
        // One more character shows whether there is more.
        let characters = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
        let Some(own) = labelling.results.database.judged_answer(&item.result_id, characters).await? else {
            return Ok(None);
        };
        let shown = |written: &str| {
            let (beginning, is_whole) = text::beginning(written, limit);
            Text { text: beginning.to_owned(), is_whole }
        };
        let mut answers = vec![shown(&own.text)];
        let mut scale = None;
        match &own.item.kind {
            JudgedKind::Alone => scale = Some(labelling.scale(own.item.metric.as_deref()).await?),
            JudgedKind::Paired { opponent } => {
                let Some(other) = labelling.opponents_answer(&own, opponent, characters).await? else {
                    return Ok(None);
                };
                answers.push(shown(&other));
                if is_turned(annotator, &own.item) {
                    answers.reverse();
                }
            }
            JudgedKind::Incomplete => return Ok(None),
        }
        Ok(Some(Self {
            result_id: own.item.result_id,
            query: own.query_text.as_deref().map(shown),
            criterion: own.evaluation_prompt.as_deref().map(shown),
            evaluation_prompt_id: own.item.metric,
            answers,
            scale: scale.map(|Scale { min, max }| ScaleResponse { min, max }),
            label_id: uuid::Uuid::new_v4().to_string(),
        }))
    }
}

impl Labelling {
    /// The scale of a metric; that of metrics without one, if it is unknown.
    pub(super) async fn scale(&self, metric: Option<&str>) -> Result<Scale, ApiError> {
        Ok(self.judging.scale_of(metric).await?)
    }

    /// The other answer of a pair: the output that the judge saw, or else the opponent's answer in the same run.
    async fn opponents_answer(
        &self,
        own: &JudgedAnswer,
        opponent: &str,
        characters: u32,
    ) -> Result<Option<String>, ApiError> {
        if let Some(id) = &own.opponent_output_id
            && let Some(text) = self.judging.output_text(id).await?
        {
            return Ok(Some(text));
        }
        let run_id = own.run_id.as_deref().and_then(|id| uuid::Uuid::try_parse(id).ok());
        let (Some(run_id), store::postgres::LabelledQuery::Id(query)) = (run_id, &own.item.query) else {
            return Ok(None);
        };
        let selection = ResultSelection {
            query_id: Some(query.clone()),
            model_id: Some(opponent.to_owned()),
            run_id: Some(run_id),
            ..ResultSelection::default()
        };
        let newest = self.results.database.newest_answer(&selection, characters).await?;
        Ok(newest.map(|answer| answer.text))
    }
}

impl From<StoredLabel> for Last {
    fn from(label: StoredLabel) -> Self {
        let shown = match label.verdict {
            LabelVerdict::Score { score: Some(score), .. } => score.to_string(),
            LabelVerdict::Preference { winner: Some(winner), .. } => winner.as_str().to_owned(),
            LabelVerdict::Score { score: None, .. } | LabelVerdict::Preference { winner: None, .. } => {
                "skipped".to_owned()
            }
        };
        Self {
            id: label.id.to_string(),
            label: shown,
            labelled_at: label.labelled_at.to_string(),
            at: label.labelled_at.in_calendar(),
        }
    }
}

impl Progress {
    fn shown(self) -> Markup {
        let Self { labelled, skipped, left, is_all, incomplete } = self;
        html! {
            p {
                progress value=(labelled) max=((labelled + left).max(1)) aria-label="labelled items" {}
                " " (text::count(labelled)) " labelled, " (text::count(left)) @if is_all { " left" } @else { " or more left" }
                @if skipped > 0 { ", " (text::count(skipped)) " skipped" }
                "."
                @if incomplete > 0 { " Left out: " (text::counted(incomplete, "pair")) " of which an answer is not stored." }
            }
        }
    }
}

/// A button of the form, which a key presses too.
fn button(value: &str, title: &str, key: Option<&str>) -> Markup {
    html! {
        button type="submit" name="label" value=(value) data-key=[key] {
            (title) @if let Some(key) = key.filter(|key| *key != title) { " " kbd { (key) } }
        }
    }
}

impl ScaleResponse {
    /// The numbers of the scale, if they are few and whole.
    fn numbers(self) -> Option<Vec<f64>> {
        let is_short =
            self.min.fract() == 0.0 && self.max.fract() == 0.0 && self.max - self.min < MOST_BUTTONS;
        if !is_short || self.max < self.min {
            return None;
        }
        let mut numbers = vec![self.min];
        while let Some(last) = numbers.last().copied().filter(|last| *last < self.max) {
            // The largest numbers have no next one.
            if last + 1.0 <= last {
                return None;
            }
            numbers.push(last + 1.0);
        }
        Some(numbers)
    }

    fn buttons(self) -> Markup {
        let Self { min, max } = self;
        let key = |number: f64| match number {
            1.0..=9.0 => Some(number.to_string()),
            // Next to nine on the keyboard.
            10.0 => Some("0".to_owned()),
            0.0 if max < 10.0 => Some("0".to_owned()),
            _ => None,
        };
        html! {
            @match self.numbers() {
                Some(numbers) => @for number in numbers {
                    (button(&number.to_string(), &number.to_string(), key(number).as_deref()))
                },
                None => {
                    label { "score from " (min) " to " (max) " " input type="number" name="score" step="any" min=(min) max=(max); }
                    (button("score", "Save", None))
                }
            }
        }
    }
}

impl Item {
    fn long(&self, filters: &Chosen, written: &Text) -> Markup {
        let whole = filters.parameters().into_iter().chain([("whole", Some("true"))]);
        html! {
            pre tabindex="0" { (text::text(&written.text)) }
            @if !written.is_whole {
                p.note {
                    "The first " (text::count(text::SHOWN_CHARACTERS as u64)) " characters. "
                    a href=(link(&Section::Label.path(), whole)) { "Show all" }
                }
            }
        }
    }

    fn buttons(&self) -> Markup {
        html! {
            @match self.scale {
                Some(scale) => (scale.buttons()),
                None => {
                    (button(LabelWinner::A.as_str(), "A is better", Some("a")))
                    (button(LabelWinner::B.as_str(), "B is better", Some("b")))
                    (button(LabelWinner::Tie.as_str(), "Tie", Some("t")))
                }
            }
            button.quiet type="submit" name="label" value="skip" data-key="s" formnovalidate { "Skip " kbd { "s" } }
        }
    }

    fn shown(&self, view: &View, filters: &Chosen) -> Markup {
        html! {
            form.label method="post" action=(Section::Label.path()) {
                (view.token())
                (hidden(filters))
                input type="hidden" name="result" value=(self.result_id);
                input type="hidden" name="id" value=(self.label_id);
                div.actions { (self.buttons()) }
                @if let Some(ScaleResponse { min, max }) = self.scale {
                    p.note { (min) " is the worst, " (max) " the best." @if max == 10.0 { " The key 0 means 10." } }
                }
            }
            @if let Some(criterion) = &self.criterion { h2 { "Criterion" } (self.long(filters, criterion)) }
            @if let Some(query) = &self.query { h2 { "Query" } (self.long(filters, query)) }
            @match &self.answers[..] {
                [answer] => { h2 { "Answer" } (self.long(filters, answer)) },
                answers => div.sides {
                    @for (name, answer) in ["A", "B"].iter().zip(answers) {
                        section aria-label={ "answer " (name) } { h2 { (name) } (self.long(filters, answer)) }
                    }
                },
            }
        }
    }
}

/// The filters as fields of a form.
pub(super) fn hidden(filters: &Chosen) -> Markup {
    html! {
        @for (name, value) in filters.parameters() {
            @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
        }
    }
}

impl LabelPage {
    fn undo(&self, view: &View, last: &Last) -> Markup {
        html! {
            form method="post" action={ (Section::Label.path()) "/undo" } {
                (view.token())
                (hidden(&self.filters))
                input type="hidden" name="last" value=(last.id);
                button.quiet type="submit" data-key="u" { "Undo " kbd { "u" } }
            }
        }
    }

    fn last(&self, view: &View) -> Markup {
        html! {
            @if let Some(newest) = self.last.first() {
                h2 { "Your last labels" }
                ul { @for one in &self.last {
                    li { (text::text(&one.label)) ", " @match one.at { Some(at) => (text::time(at)), None => (text::text(&one.labelled_at)) } }
                } }
                div.actions { (self.undo(view, newest)) }
            }
        }
    }

    fn done(&self) -> Markup {
        let again = Chosen { skipped: true, ..self.filters.clone() };
        let Progress { labelled, skipped, is_all, .. } = self.progress;
        let what = match (labelled + skipped, is_all) {
            (0, true) => "There is nothing to label.",
            (_, true) => "Nothing is left to label.",
            (_, false) => "Nothing is left to label among the results that were looked through.",
        };
        layout::empty(
            what,
            html! {
                @if !is_all { p { "There are more results: choose a metric, a theme or a run to see others." } }
                p { "Answers to label are those of results that satisfy the filters. They come from runs: " a href=(Section::Runs.path()) { "Runs" } "." }
                @if skipped > 0 && !self.filters.skipped { p { a href=(again.path()) { "Show skipped items again" } } }
            },
        )
    }
}

impl Page for LabelPage {
    fn title(&self) -> String {
        Section::Label.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Label
    }

    fn body(&self, view: &View) -> Markup {
        let others = Chosen { annotator: None, ..self.filters.clone() };
        // This page is shown to a named annotator only.
        let annotator = self.filters.annotator().unwrap_or_default();
        html! {
            p.note { "Labels of " (text::text(annotator)) ". " a href=(others.path()) { "All labels, and another name" } }
            (self.progress.shown())
            @match &self.item {
                Some(item) => (item.shown(view, &self.filters)),
                None => (self.done()),
            }
            (self.last(view))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_whole_numbers_have_a_button_each() {
        let numbers = |min: f64, max: f64| ScaleResponse { min, max }.numbers().map(|numbers| numbers.len());
        assert_eq!(
            (numbers(1.0, 10.0), numbers(0.0, 10.0), numbers(1.0, 5.0)),
            (Some(10), Some(11), Some(5))
        );
        assert_eq!((numbers(3.0, 3.0), numbers(-2.0, 2.0)), (Some(1), Some(5)));
        for (min, max) in [
            (0.0, 1.5),
            (0.0, 100.0),
            (5.0, 1.0),
            (-f64::MAX, f64::MAX),
            (1e300, 1e300 + 1.0),
            (f64::NAN, 1.0),
        ] {
            assert!(numbers(min, max).is_none_or(|count| count <= 11), "{min} {max}");
        }
        let buttons = ScaleResponse { min: 1.0, max: 10.0 }.buttons().into_string();
        assert!(
            buttons.contains("value=\"9\" data-key=\"9\"") && buttons.contains("value=\"10\" data-key=\"0\""),
            "{buttons}"
        );
        let wide = ScaleResponse { min: 0.0, max: 100.0 }.buttons().into_string();
        assert!(wide.contains("type=\"number\"") && wide.contains("max=\"100\""), "{wide}");
    }
}
