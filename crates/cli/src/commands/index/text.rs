//! Tables and their indexes as text.

use store::postgres::{
    Table,
    vector_index::{Filtering, IndexState, IndexUse, MeasuredSetting, Observation, VectorIndex},
};
use upkeep::{Applied, Plan};

use crate::{
    output::{count, grouped, size_text, visible},
    settings::table::VECTOR_INDEX_TYPE,
};

/// A table, its indexes, and whether the plan has changes.
pub(super) fn status(observation: &Observation, plan: &Plan) -> String {
    let table = &observation.table;
    let mut lines = vec![format!(
        "{}: {} of {} dimensions by {}, {}",
        visible(&table.name),
        count_grouped(observation.rows, "row"),
        table.dimension,
        table.space.as_str(),
        size_text(observation.table_bytes)
    )];
    if observation.dead_rows > 0 {
        lines.push(format!("  {} that VACUUM will remove", count_grouped(observation.dead_rows, "dead row")));
    }
    if let Some(rate) = observation.writes_per_second {
        lines.push(format!("  {rate:.1} rows a second written since the last plan"));
    }
    if observation.indexes.is_empty() {
        lines.push("  no vector index: searches use an exact scan".to_owned());
    }
    for index in &observation.indexes {
        lines.extend(of_index(index));
    }
    lines.push(if plan.is_empty() {
        "  nothing to do".to_owned()
    } else {
        "  changes planned: see `panopticon index plan`".to_owned()
    });
    lines.join("\n")
}

/// What was done to a table.
pub(super) fn applied(applied: &Applied) -> String {
    let mut lines = vec![applied.plan.to_string().trim_end().to_owned()];
    lines.extend(applied.measured.iter().map(setting));
    lines.join("\n")
}

/// What was measured for a table.
pub(super) fn tuned(table: &Table, measured: &[MeasuredSetting]) -> String {
    let name = visible(&table.name);
    if measured.is_empty() {
        return format!("{name}: no vector index, or no vectors: searches use an exact scan");
    }
    let mut lines = vec![format!("{name}:")];
    lines.extend(measured.iter().map(setting));
    lines.join("\n")
}

/// The lowest recall without a filter, if it is below its target.
pub(super) fn shortfall<'m>(
    table: &Table,
    measured: impl Iterator<Item = &'m MeasuredSetting>,
) -> Option<String> {
    let below =
        measured.filter(|setting| setting.filtering == Filtering::None && setting.recall < setting.target);
    let worst = below.min_by(|one, other| one.recall.total_cmp(&other.recall))?;
    Some(format!(
        "searches of `{}` by its index return {:.1} % of the nearest records, below the target of {:.1} %: run \
            `panopticon doctor` for the cause, or set {VECTOR_INDEX_TYPE}=none for exact scans",
        visible(&table.name),
        worst.recall * 100.0,
        worst.target * 100.0
    ))
}

fn of_index(index: &VectorIndex) -> Vec<String> {
    let state = match (index.state, index.service) {
        (IndexState::Building, _) => "being built",
        (IndexState::Invalid, _) => "invalid: its build never finished",
        (IndexState::Valid, IndexUse::Others) => "not used by searches",
        (IndexState::Valid, IndexUse::Searches) if index.measured.is_empty() => "never measured",
        (IndexState::Valid, IndexUse::Searches) => "in use",
    };
    let head =
        format!("  {}: {}, {}; {state}", visible(&index.name), index.definition, size_text(index.size_bytes));
    std::iter::once(head).chain(index.measured.iter().map(setting)).collect()
}

fn setting(setting: &MeasuredSetting) -> String {
    let filtered = match setting.filtering {
        Filtering::None => "",
        Filtering::Some => " under a filter",
    };
    let shortfall = if setting.recall_low < setting.target { ", below the target" } else { "" };
    format!(
        "    {}{filtered}: recall {:.3} (at least {:.3}), target {}{shortfall}; {:.1} ms with {} candidates",
        count(setting.depth.into(), "result"),
        setting.recall,
        setting.recall_low,
        setting.target,
        setting.latency_ms,
        setting.candidates
    )
}

fn count_grouped(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{} {singular}s", grouped(number)) }
}
