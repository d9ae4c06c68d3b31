//! Decides what a table's vector index should be, and which changes lead there. A pure function: the same observation
//! and policy give the same plan, and once it is carried out the next plan has nothing to do.

mod loss;

pub(crate) use loss::at_target;

use std::fmt;

use store::postgres::vector_index::{
    Filtering, IndexChange, IndexDefinition, IndexKind, IndexState, IndexUse, Memory, Observation, Precision,
    VectorIndex,
};

use crate::{
    names::{final_name, free, temporary_name},
    policy::{Haste, IndexType, Policy},
};

/// Up to here an exact scan of 384 components answers in some 5 ms, and finds everything.
pub(crate) const EXACT_SCAN_ROWS: u64 = 10_000;
/// pgvector's guidance: one list for each thousand rows up to a million, then the square root.
const ROWS_PER_LIST: u64 = 1_000;
const SQUARE_ROOT_FROM_ROWS: u64 = 1_000_000;
/// pgvector's limit.
const MAX_LISTS: u64 = 32_768;
/// An index keeps while its number of lists is within this factor of the planned one.
const LISTS_TOLERANCE: u32 = 2;
/// pgvector's defaults, which met 0.98 with 20 candidates on 50,000 sentences; and what is tried where they do not meet
/// the target: twice the edges, three times the time to build.
const GRAPHS: [IndexKind; 2] =
    [IndexKind::Hnsw { m: 16, ef_construction: 64 }, IndexKind::Hnsw { m: 32, ef_construction: 200 }];
/// On a busy machine a vector went into a graph of 50,000 in 2.6 ms, and into a list in 0.06 ms: beyond this rate a
/// graph would take a processor for itself.
const MAX_GRAPH_WRITES_PER_SECOND: f64 = 300.0;
/// A graph is walked from place to place: it has to be in memory, of which it may have one of so many parts.
const GRAPH_MEMORY_SHARE: u64 = 2;
/// Settings are measured again when the table has become so many times as large or as small.
const GROWTH: u64 = 2;

/// What is to be done about the vector index of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// What it should have.
    pub wanted: Wanted,
    /// Why, each a sentence.
    pub reasons: Vec<String>,
    /// What leads there, in this order.
    pub changes: Vec<IndexChange>,
    /// Whose search settings are to be measured afterwards.
    pub tuning: Option<Tuning>,
}

/// What a table should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No index: searches look at every row.
    Exact,
    /// The same, since pgvector indexes no vectors of this dimension.
    TooWide,
    /// The same, since vectors of this dimension are indexed in half precision alone, which cannot hold all of these.
    OutOfRange,
    /// What it has, whatever that is: the table is small, or another session builds an index.
    AsItIs,
    /// An index.
    Index(IndexDefinition),
}

/// Search settings to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// The index, by the name that it has by then.
    pub index: String,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.tuning.is_none()
    }

    /// The definition of the index that is to be built, if one is.
    pub fn built(&self) -> Option<IndexDefinition> {
        self.changes.iter().find_map(|change| match change {
            IndexChange::Build { definition, .. } => Some(*definition),
            IndexChange::Drop { .. } | IndexChange::Rename { .. } => None,
        })
    }
}

/// Plans the vector index of the observed table.
pub fn plan(observation: &Observation, policy: &Policy) -> Plan {
    let table = &observation.table.name;
    let mut plan = Plan {
        table: table.clone(),
        rows: observation.rows,
        wanted: Wanted::AsItIs,
        reasons: Vec::new(),
        changes: Vec::new(),
        tuning: None,
    };
    let ours: Vec<&VectorIndex> =
        observation.indexes.iter().filter(|index| index.service == IndexUse::Searches).collect();
    let others = observation.indexes.iter().filter(|index| index.service == IndexUse::Others);
    plan.reasons.extend(
        others.map(|index| format!("index `{}` is not what searches use: it is left alone", index.name)),
    );
    if let Some(building) = ours.iter().find(|index| index.state == IndexState::Building) {
        plan.reasons.push(format!("another session builds index `{}`: plan again afterwards", building.name));
        return plan;
    }
    for index in ours.iter().filter(|index| index.state == IndexState::Invalid) {
        plan.reasons.push(format!("index `{}` was never finished", index.name));
        plan.changes.push(IndexChange::Drop { name: index.name.clone() });
    }
    let valid: Vec<&VectorIndex> =
        ours.iter().filter(|index| index.state == IndexState::Valid).copied().collect();
    let Choice { wanted, reason, instead } = choose(observation, policy, &valid);
    plan.wanted = wanted;
    plan.reasons.push(reason);
    let kept = match wanted {
        Wanted::Exact => {
            plan.changes.extend(valid.iter().map(|index| IndexChange::Drop { name: index.name.clone() }));
            None
        }
        Wanted::TooWide | Wanted::OutOfRange => None,
        Wanted::AsItIs => valid.first().copied(),
        Wanted::Index(definition) => {
            let (drifted, fitting): (Vec<&VectorIndex>, Vec<&VectorIndex>) = valid
                .iter()
                .filter(|index| fits(index, definition, instead))
                // A migration does not wait for an index that is there to become a better one.
                .partition(|index| policy.haste == Haste::None && loss::drift(index, policy).is_some());
            if fitting.is_empty() {
                plan.reasons.extend(drifted.iter().filter_map(|index| loss::drift(index, policy)));
            }
            let kept = fitting.first().copied();
            put_in_place(&mut plan, observation, &valid, kept, definition);
            kept
        }
    };
    plan.tuning = tuning(&plan, observation, kept, policy);
    plan
}

/// What a table should have, and why.
struct Choice {
    wanted: Wanted,
    reason: String,
    instead: Instead,
}

/// Whether a graph that is there will do where lists would be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instead {
    /// It will: what speaks for lists is how long a build takes, or passes.
    Graph,
    /// It will not.
    Nothing,
}

fn choose(observation: &Observation, policy: &Policy, valid: &[&VectorIndex]) -> Choice {
    let (rows, dimension) = (observation.rows, observation.table.dimension);
    let choice = |wanted, reason| Choice { wanted, reason, instead: Instead::Nothing };
    if dimension > Observation::MAX_DIMENSION {
        let reason = format!(
            "pgvector indexes up to {} dimensions, and these are {dimension}: searches are exact",
            Observation::MAX_DIMENSION
        );
        return choice(Wanted::TooWide, reason);
    }
    if dimension > Observation::MAX_FULL_DIMENSION && observation.exceeds_half {
        let reason = format!(
            "pgvector indexes {dimension} dimensions in half precision alone, which ends at 65,504, and there are components beyond: searches are exact"
        );
        return choice(Wanted::OutOfRange, reason);
    }
    let least = if dimension > Observation::MAX_FULL_DIMENSION { Precision::Half } else { Precision::Full };
    let lists = Wanted::Index(IndexDefinition {
        kind: IndexKind::Ivfflat { lists: planned_lists(rows) },
        precision: least,
    });
    match policy.index_type {
        IndexType::None => return choice(Wanted::Exact, "the index type is set to none".to_owned()),
        _ if rows < EXACT_SCAN_ROWS => {
            let reason = format!("an exact search is fast up to {EXACT_SCAN_ROWS} rows");
            return choice(Wanted::AsItIs, reason);
        }
        IndexType::Ivfflat => return choice(lists, "the index type is set to ivfflat".to_owned()),
        IndexType::Hnsw => {
            let (kind, why) = graph(policy, valid);
            let wanted = Wanted::Index(IndexDefinition { kind, precision: least });
            return choice(wanted, format!("the index type is set to hnsw{why}"));
        }
        IndexType::Auto => {}
    }
    if policy.haste == Haste::Migration {
        let reason = "a migration waits, and lists are built ten times as fast as a graph";
        return Choice { wanted: lists, reason: reason.to_owned(), instead: Instead::Graph };
    }
    if let Some(rate) = observation.writes_per_second.filter(|rate| *rate > MAX_GRAPH_WRITES_PER_SECOND) {
        let reason = format!(
            "{rate:.0} rows a second are written, and a graph takes {MAX_GRAPH_WRITES_PER_SECOND:.0} beside searches"
        );
        return Choice { wanted: lists, reason, instead: Instead::Graph };
    }
    let (kind, why) = graph(policy, valid);
    let memory = &observation.memory;
    let room = graph_room(memory);
    // A graph with fewer edges than the target asks for is better than lists, and than one and the other by turns.
    let definitions = [kind, GRAPHS[0]]
        .into_iter()
        .flat_map(|kind| {
            [Precision::Full, Precision::Half].map(|precision| IndexDefinition { kind, precision })
        })
        .filter(|definition| least == Precision::Full || definition.precision == Precision::Half)
        .filter(|definition| definition.precision == Precision::Full || !observation.exceeds_half);
    let fitting =
        definitions.into_iter().find(|definition| definition.estimated_bytes(rows, dimension) <= room);
    let Some(definition) = fitting else {
        let reason =
            "a graph would not fit into half of the server's memory, and lists can be read from disk";
        return choice(lists, reason.to_owned());
    };
    let how = if definition.precision == least { "" } else { ", and in half precision it fits into memory" };
    let why = if definition.kind == kind { why } else { "" };
    let reason = format!("a graph finds as much as lists in a fraction of the time{how}{why}");
    choice(Wanted::Index(definition), reason)
}

/// How much of the server's memory a graph may have.
fn graph_room(memory: &Memory) -> u64 {
    memory.machine_bytes.unwrap_or(memory.cache_bytes) / GRAPH_MEMORY_SHARE
}

/// Whether an index of half precision may be planned where there is none, so that it has to be known whether it could hold
/// every vector.
pub(crate) fn may_want_half(observation: &Observation) -> bool {
    let (rows, dimension) = (observation.rows, observation.table.dimension);
    let is_wide = dimension > Observation::MAX_FULL_DIMENSION;
    let full = IndexDefinition { kind: GRAPHS[0], precision: Precision::Full };
    // What is in such an index shows that it fits.
    let has_half = observation.indexes.iter().any(|index| {
        index.service == IndexUse::Searches
            && index.state != IndexState::Invalid
            && index.definition.precision == Precision::Half
    });
    rows >= EXACT_SCAN_ROWS
        && dimension <= Observation::MAX_DIMENSION
        && (is_wide || full.estimated_bytes(rows, dimension) > graph_room(&observation.memory))
        && !has_half
}

/// The graph that should meet the target: the default, unless that was measured not to.
fn graph(policy: &Policy, valid: &[&VectorIndex]) -> (IndexKind, &'static str) {
    let falls_short = |index: &&&VectorIndex| {
        index.measured.iter().any(|measured| {
            measured.filtering == Filtering::None
                && measured.depth == TARGET_DEPTH
                && measured.target >= policy.recall_target
                && measured.recall < policy.recall_target
        })
    };
    let is_default = |index: &&&VectorIndex| index.definition.kind == GRAPHS[0];
    if valid.iter().filter(is_default).any(|index| falls_short(&index)) {
        return (GRAPHS[1], ", with more edges since one with fewer was measured below the target");
    }
    match valid.iter().find(|index| index.definition.kind == GRAPHS[1]) {
        Some(_) => (GRAPHS[1], ""),
        None => (GRAPHS[0], ""),
    }
}

/// The depth at which the recall target holds.
pub(crate) const TARGET_DEPTH: u32 = 10;

fn planned_lists(rows: u64) -> u32 {
    let lists = if rows <= SQUARE_ROOT_FROM_ROWS { rows / ROWS_PER_LIST } else { rows.isqrt() };
    u32::try_from(lists.clamp(1, MAX_LISTS)).expect("clamped")
}

/// Whether `index` will do where `wanted` would be built.
fn fits(index: &VectorIndex, wanted: IndexDefinition, instead: Instead) -> bool {
    let found = index.definition;
    let is_precise_enough = found.precision == wanted.precision
        // Smaller than it might be is no reason to build it anew.
        || found.precision == Precision::Half;
    let is_kind = match (found.kind, wanted.kind) {
        (IndexKind::Ivfflat { lists: found }, IndexKind::Ivfflat { lists: wanted }) => {
            found <= wanted.saturating_mul(LISTS_TOLERANCE) && wanted <= found.saturating_mul(LISTS_TOLERANCE)
        }
        (
            IndexKind::Hnsw { m, ef_construction },
            IndexKind::Hnsw { m: wanted_m, ef_construction: wanted_ef_construction },
        ) => m >= wanted_m && ef_construction >= wanted_ef_construction,
        (IndexKind::Hnsw { .. }, IndexKind::Ivfflat { .. }) => instead == Instead::Graph,
        (IndexKind::Ivfflat { .. }, IndexKind::Hnsw { .. }) => false,
    };
    is_precise_enough && is_kind
}

/// The changes after which the table has one index of ours: `kept`, or a new one. There is one at every moment.
fn put_in_place(
    plan: &mut Plan,
    observation: &Observation,
    valid: &[&VectorIndex],
    kept: Option<&VectorIndex>,
    definition: IndexDefinition,
) {
    let dropped = |name: &str| {
        plan.changes.iter().any(|change| matches!(change, IndexChange::Drop { name: other } if other == name))
    };
    let remaining: Vec<&str> =
        observation.indexes.iter().map(|index| index.name.as_str()).filter(|name| !dropped(name)).collect();
    let temporary = temporary_name(&plan.table);
    let name = match kept {
        Some(index) => index.name.clone(),
        None => free(&temporary, |name| remaining.contains(&name)),
    };
    if kept.is_none() {
        plan.changes.push(IndexChange::Build { name: name.clone(), definition });
    }
    let replaced: Vec<&str> =
        valid.iter().map(|index| index.name.as_str()).filter(|other| *other != name).collect();
    for index in &replaced {
        if kept.is_some() {
            plan.reasons.push(format!("index `{index}` only slows writes down beside `{name}`"));
        }
        plan.changes.push(IndexChange::Drop { name: (*index).to_owned() });
    }
    // A valid index under the temporary name was about to be put in place when its process ended.
    if kept.is_none() || name == temporary {
        let is_taken = |name: &str| remaining.contains(&name) && !replaced.contains(&name);
        let to = free(&final_name(&plan.table), is_taken);
        plan.changes.push(IndexChange::Rename { from: name, to });
    }
}

/// Whether the settings of the index that the plan leaves in place have to be measured.
fn tuning(
    plan: &Plan,
    observation: &Observation,
    kept: Option<&VectorIndex>,
    policy: &Policy,
) -> Option<Tuning> {
    let renamed = plan.changes.iter().find_map(|change| match change {
        IndexChange::Rename { to, .. } => Some(to.clone()),
        IndexChange::Drop { .. } | IndexChange::Build { .. } => None,
    });
    let (Some(index), rows) = (renamed.or_else(|| kept.map(|index| index.name.clone())), observation.rows)
    else {
        return None;
    };
    // Measuring takes longer than a migration's copy, and of a small table searches read as good as everything.
    if policy.haste == Haste::Migration || rows < EXACT_SCAN_ROWS {
        return None;
    }
    let measured = kept.and_then(loss::at_target);
    let reason = match measured {
        None => "nobody has measured which settings meet the target".to_owned(),
        Some(measured) if measured.target != policy.recall_target => {
            format!("the target was {} when they were measured", measured.target)
        }
        Some(measured) if rows / GROWTH >= measured.rows || measured.rows / GROWTH >= rows => {
            format!("the table had {} rows when they were measured", measured.rows)
        }
        // The name is part of what is kept.
        Some(_) if kept.is_some_and(|kept| kept.name != index) => "the index has another name".to_owned(),
        Some(measured) => loss::outdated(observation, measured, policy)?,
    };
    Some(Tuning { index, reason })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table `{}`, {} rows: {}", self.table, self.rows, self.wanted)?;
        for reason in &self.reasons {
            writeln!(f, "  since {reason}")?;
        }
        for change in &self.changes {
            match change {
                IndexChange::Drop { name } => writeln!(f, "  drop index `{name}`")?,
                IndexChange::Build { name, definition } => {
                    writeln!(f, "  build index `{name}`: {}", definition)?;
                }
                IndexChange::Rename { from, to } => writeln!(f, "  rename index `{from}` to `{to}`")?,
            }
        }
        match &self.tuning {
            Some(tuning) => {
                writeln!(f, "  measure the search settings of `{}`: {}", tuning.index, tuning.reason)
            }
            None if self.is_empty() => writeln!(f, "  nothing to do"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("no index"),
            Self::TooWide => f.write_str("no index, for want of one that takes so many dimensions"),
            Self::OutOfRange => f.write_str("no index, for want of one that takes so large components"),
            Self::AsItIs => f.write_str("as it is"),
            Self::Index(definition) => definition.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
