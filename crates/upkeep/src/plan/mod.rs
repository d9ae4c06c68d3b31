//! Plans a table's vector index and the changes towards it. A pure function: the same observation and policy give the
//! same plan, and once it is executed the next plan is empty.

mod graph;
mod loss;

pub(crate) use self::{graph::rebuilt, loss::at_target};

use std::fmt;

use serde::Serialize;
use store::postgres::vector_index::{
    IndexChange, IndexDefinition, IndexKind, IndexState, IndexUse, Memory, Observation, Precision,
    VectorIndex,
};

use crate::{
    names::{final_name, free, temporary_name},
    policy::{BuildUrgency, EXACT_SCAN_ROWS, IndexType, Policy},
};

/// pgvector's guidance: one list per 1,000 rows up to a million rows, then the square root of the rows.
const ROWS_PER_LIST: u64 = 1_000;
const SQUARE_ROOT_FROM_ROWS: u64 = 1_000_000;
/// pgvector's limit.
const MAX_LISTS: u64 = 32_768;
/// An index is kept while its number of lists is within this factor of the planned one.
const LISTS_TOLERANCE: u32 = 2;
/// On a busy machine, inserting a vector took 2.6 ms into an HNSW index of 50,000 and 0.06 ms into an IVFFlat index:
/// beyond this rate, an HNSW index would occupy a core.
const MAX_GRAPH_WRITES_PER_SECOND: f64 = 300.0;
/// Scans of an HNSW index access it randomly, so it must fit into this fraction (1/n) of memory.
const GRAPH_MEMORY_SHARE: u64 = 2;
/// Search parameters are measured again when the table has grown or shrunk by this factor.
const GROWTH: u64 = 2;

/// The plan for the vector index of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The table.
    pub table: String,
    /// Its number of rows.
    pub rows: u64,
    /// The index that it should have.
    pub wanted: TargetIndex,
    /// The reasons.
    pub reasons: Vec<String>,
    /// The changes, in order of execution.
    pub changes: Vec<IndexChange>,
    /// The search parameters to measure afterwards.
    pub tuning: Option<Tuning>,
}

/// The index that a table should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetIndex {
    /// No index: searches use exact scans.
    Exact,
    /// No index, because pgvector cannot index this dimension.
    TooWide,
    /// No index, because this dimension can only be indexed in half precision, whose range some vectors exceed.
    OutOfRange,
    /// The current state: the table is small, or another session is building an index.
    AsItIs,
    /// An index.
    Index(IndexDefinition),
}

/// Search parameters to measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tuning {
    /// The name of the index after the changes.
    pub index: String,
    /// The reason.
    pub reason: String,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.tuning.is_none()
    }

    /// The definition of the index to build, if any.
    pub fn built(&self) -> Option<IndexDefinition> {
        self.changes.iter().find_map(|change| match change {
            IndexChange::Build { definition, .. } => Some(*definition),
            IndexChange::Drop { .. } | IndexChange::Rename { .. } | IndexChange::SetConstruction { .. } => {
                None
            }
        })
    }
}

/// Plans the vector index of the observed table.
pub fn plan(observation: &Observation, policy: &Policy) -> Plan {
    let table = &observation.table.name;
    let mut plan = Plan {
        table: table.clone(),
        rows: observation.rows,
        wanted: TargetIndex::AsItIs,
        reasons: Vec::new(),
        changes: Vec::new(),
        tuning: None,
    };
    let ours: Vec<&VectorIndex> =
        observation.indexes.iter().filter(|index| index.service == IndexUse::Searches).collect();
    let others = observation.indexes.iter().filter(|index| index.service == IndexUse::Others);
    plan.reasons
        .extend(others.map(|index| format!("index `{}` is not used by searches and is kept", index.name)));
    if let Some(building) = ours.iter().find(|index| index.state == IndexState::Building) {
        plan.reasons
            .push(format!("another session is building index `{}`: plan again afterwards", building.name));
        return plan;
    }
    for index in ours.iter().filter(|index| index.state == IndexState::Invalid) {
        plan.reasons.push(format!("the build of index `{}` never finished", index.name));
        plan.changes.push(IndexChange::Drop { name: index.name.clone() });
    }
    let valid: Vec<&VectorIndex> =
        ours.iter().filter(|index| index.state == IndexState::Valid).copied().collect();
    // Components that are too small become zero, without an error.
    let (lossy, valid): (Vec<&VectorIndex>, Vec<&VectorIndex>) = valid
        .into_iter()
        .partition(|index| observation.exceeds_half && index.definition.precision == Precision::Half);
    for index in lossy {
        plan.reasons.push(format!(
            "index `{}` is in half precision, which cannot hold all vectors: searches miss rows",
            index.name
        ));
        plan.changes.push(IndexChange::Drop { name: index.name.clone() });
    }
    let Choice { wanted, reason, alternative } = choose(observation, policy, &valid);
    plan.wanted = wanted;
    plan.reasons.push(reason);
    let kept = match wanted {
        TargetIndex::Exact => {
            plan.changes.extend(valid.iter().map(|index| IndexChange::Drop { name: index.name.clone() }));
            None
        }
        TargetIndex::TooWide | TargetIndex::OutOfRange => None,
        TargetIndex::AsItIs => valid.first().copied(),
        TargetIndex::Index(definition) => {
            let (drifted, fitting): (Vec<&VectorIndex>, Vec<&VectorIndex>) = valid
                .iter()
                .filter(|index| fits(index, definition, alternative))
                // A migration does not wait for the replacement of an existing index by a better one.
                .partition(|index| {
                    policy.urgency == BuildUrgency::None && loss::drift(index, policy).is_some()
                });
            if fitting.is_empty() {
                plan.reasons.extend(drifted.iter().filter_map(|index| loss::drift(index, policy)));
            }
            let kept = fitting.first().copied();
            put_in_place(&mut plan, observation, &valid, kept, definition);
            kept
        }
    };
    if let Some((index, ef_construction)) =
        kept.and_then(|index| Some((index, graph::lowered(index, observation)?)))
    {
        plan.reasons.push(format!(
            "`{}` still has the ef_construction of its build, with which inserts take longer",
            index.name
        ));
        let name = renamed(&plan).unwrap_or_else(|| index.name.clone());
        plan.changes.push(IndexChange::SetConstruction { name, ef_construction });
    }
    plan.tuning = tuning(&plan, observation, kept, policy);
    plan
}

/// The index that a table should have, and the reason.
struct Choice {
    wanted: TargetIndex,
    reason: String,
    alternative: Alternative,
}

/// Whether an existing HNSW index is acceptable where IVFFlat is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alternative {
    /// It is: IVFFlat is only preferred for its build time, or temporarily.
    Graph,
    /// It is not.
    Nothing,
}

fn choose(observation: &Observation, policy: &Policy, valid: &[&VectorIndex]) -> Choice {
    let (rows, dimension) = (observation.rows, observation.table.dimension);
    let choice = |wanted, reason| Choice { wanted, reason, alternative: Alternative::Nothing };
    if dimension > Observation::MAX_DIMENSION {
        let reason = format!(
            "pgvector indexes up to {} dimensions, and the vectors have {dimension}: searches use exact scans",
            Observation::MAX_DIMENSION
        );
        return choice(TargetIndex::TooWide, reason);
    }
    if dimension > Observation::MAX_FULL_DIMENSION && observation.exceeds_half {
        let reason = format!(
            "pgvector indexes {dimension} dimensions only in half precision, which cannot hold some vectors: they have \
                components beyond 65,504, or so small that their digits are lost; searches use exact scans"
        );
        return choice(TargetIndex::OutOfRange, reason);
    }
    let least = if dimension > Observation::MAX_FULL_DIMENSION { Precision::Half } else { Precision::Full };
    let lists_definition =
        IndexDefinition { kind: IndexKind::Ivfflat { lists: planned_lists(rows) }, precision: least };
    let lists = TargetIndex::Index(lists_definition);
    match policy.index_type {
        IndexType::None => return choice(TargetIndex::Exact, "the index type is set to none".to_owned()),
        _ if rows < policy.exact_scan_rows => {
            let reason = format!("exact scans are fast up to {} rows", policy.exact_scan_rows);
            return choice(TargetIndex::AsItIs, reason);
        }
        IndexType::Ivfflat => return choice(lists, "the index type is set to ivfflat".to_owned()),
        IndexType::Hnsw => {
            let (kind, why) = graph::graph(observation, policy, valid);
            let wanted = TargetIndex::Index(IndexDefinition { kind, precision: least });
            return choice(wanted, format!("the index type is set to hnsw{why}"));
        }
        IndexType::Auto => {}
    }
    if policy.urgency == BuildUrgency::Migration
        && let Some(reason) = postponed(observation, policy, valid, lists_definition)
    {
        return Choice { wanted: lists, reason, alternative: Alternative::Graph };
    }
    // The rows of a migration were not written concurrently with searches.
    let rate = observation.writes_per_second.filter(|_| policy.urgency == BuildUrgency::None);
    if let Some(rate) = rate.filter(|rate| *rate > MAX_GRAPH_WRITES_PER_SECOND) {
        let reason = format!(
            "{rate:.0} rows per second are written, and hnsw supports {MAX_GRAPH_WRITES_PER_SECOND:.0} \
                concurrently with searches"
        );
        return Choice { wanted: lists, reason, alternative: Alternative::Graph };
    }
    let (kind, why) = graph::graph(observation, policy, valid);
    let memory = &observation.memory;
    let room = graph_room(memory);
    // An HNSW index with fewer edges than the target needs is better than IVFFlat, and than alternating between the
    // two.
    let definitions = [kind, graph::planned(observation, policy)]
        .into_iter()
        .flat_map(|kind| {
            [Precision::Full, Precision::Half].map(|precision| IndexDefinition { kind, precision })
        })
        .filter(|definition| least == Precision::Full || definition.precision == Precision::Half)
        .filter(|definition| definition.precision == Precision::Full || !observation.exceeds_half);
    let fitting =
        definitions.into_iter().find(|definition| definition.estimated_bytes(rows, dimension) <= room);
    let Some(definition) = fitting else {
        let reason = "hnsw would not fit into half of the server's memory, and ivfflat can be read from disk";
        return choice(lists, reason.to_owned());
    };
    let how = if definition.precision == least { "" } else { ", and in half precision it fits into memory" };
    let why = if definition.kind == kind { why } else { "" };
    let reason = format!("hnsw reaches the recall of ivfflat in a fraction of the time{how}{why}");
    choice(TargetIndex::Index(definition), reason)
}

/// Why a migration, which is waiting, does not build an HNSW index, if so.
fn postponed(
    observation: &Observation,
    policy: &Policy,
    valid: &[&VectorIndex],
    lists: IndexDefinition,
) -> Option<String> {
    if valid.iter().any(|index| fits(index, lists, Alternative::Graph)) {
        return Some(
            "a migration is waiting, and does not replace an index that searches can use".to_owned(),
        );
    }
    let waiting = graph::ready_time(graph::planned(observation, policy), observation, policy);
    (waiting > policy.build_time()).then(|| {
        let minutes = waiting.as_secs().div_ceil(60);
        format!(
            "hnsw may take {minutes} minutes, for which a migration does not wait: `panopticon serve` builds it in \
                the background"
        )
    })
}

/// Memory available to an HNSW index.
fn graph_room(memory: &Memory) -> u64 {
    memory.machine_bytes.unwrap_or(memory.cache_bytes) / GRAPH_MEMORY_SHARE
}

/// Whether a new half-precision index may be planned, or an existing one may lose vectors, so that it must be known whether
/// half precision holds all vectors.
pub(crate) fn may_want_half(observation: &Observation) -> bool {
    let (rows, dimension) = (observation.rows, observation.table.dimension);
    let is_wide = dimension > Observation::MAX_FULL_DIMENSION;
    let mut halves = observation.indexes.iter().filter(|index| {
        index.service == IndexUse::Searches
            && index.state != IndexState::Invalid
            && index.definition.precision == Precision::Half
    });
    let has_half = halves.clone().next().is_some();
    // A recall that meets its target on about as many rows shows that the vectors fit.
    let is_proven = |index: &VectorIndex| {
        loss::at_target(index)
            .is_some_and(|measured| measured.recall >= measured.target && rows / GROWTH < measured.rows)
    };
    let is_doubtful = halves.any(|index| !is_proven(index));
    is_doubtful
        || rows >= EXACT_SCAN_ROWS
            && dimension <= Observation::MAX_DIMENSION
            && (is_wide || graph::full_bytes(observation) > graph_room(&observation.memory))
            && !has_half
}

/// The number of results to which the recall target applies.
pub(crate) const TARGET_DEPTH: u32 = 10;

fn planned_lists(rows: u64) -> u32 {
    let lists = if rows <= SQUARE_ROOT_FROM_ROWS { rows / ROWS_PER_LIST } else { rows.isqrt() };
    u32::try_from(lists.clamp(1, MAX_LISTS)).expect("clamped")
}

/// Whether `index` is acceptable where `wanted` is planned.
fn fits(index: &VectorIndex, wanted: IndexDefinition, alternative: Alternative) -> bool {
    let found = index.definition;
    let is_precise_enough = found.precision == wanted.precision
        // A possible reduction in size is no reason to rebuild.
        || found.precision == Precision::Half;
    let is_kind = match (found.kind, wanted.kind) {
        (IndexKind::Ivfflat { lists: found }, IndexKind::Ivfflat { lists: wanted }) => {
            found <= wanted.saturating_mul(LISTS_TOLERANCE) && wanted <= found.saturating_mul(LISTS_TOLERANCE)
        }
        (found @ IndexKind::Hnsw { .. }, wanted @ IndexKind::Hnsw { .. }) => graph::includes(found, wanted),
        (IndexKind::Hnsw { .. }, IndexKind::Ivfflat { .. }) => alternative == Alternative::Graph,
        (IndexKind::Ivfflat { .. }, IndexKind::Hnsw { .. }) => false,
    };
    is_precise_enough && is_kind
}

/// Plans the changes after which the table has exactly one of our indexes: `kept`, or a new one. At least one exists
/// at any time.
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
    let mut name = match kept {
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
            plan.reasons.push(format!("index `{index}` only slows down writes, given `{name}`"));
        }
        plan.changes.push(IndexChange::Drop { name: (*index).to_owned() });
    }
    // A valid index with the temporary name was about to be renamed when its process ended.
    if kept.is_none() || name == temporary {
        let is_taken = |name: &str| remaining.contains(&name) && !replaced.contains(&name);
        let to = free(&final_name(&plan.table), is_taken);
        plan.changes.push(IndexChange::Rename { from: name, to: to.clone() });
        name = to;
    }
    if kept.is_none() {
        plan.changes.extend(graph::lowering(&name, definition));
    }
}

/// The new name of an index that `plan` renames.
fn renamed(plan: &Plan) -> Option<String> {
    plan.changes.iter().find_map(|change| match change {
        IndexChange::Rename { to, .. } => Some(to.clone()),
        IndexChange::Drop { .. } | IndexChange::Build { .. } | IndexChange::SetConstruction { .. } => None,
    })
}

/// Whether the search parameters of the resulting index must be measured.
fn tuning(
    plan: &Plan,
    observation: &Observation,
    kept: Option<&VectorIndex>,
    policy: &Policy,
) -> Option<Tuning> {
    let (Some(index), rows) =
        (renamed(plan).or_else(|| kept.map(|index| index.name.clone())), observation.rows)
    else {
        return None;
    };
    // Searches of small tables read almost all rows.
    if rows < policy.exact_scan_rows {
        return None;
    }
    // Measuring may take longer than a migration's copy. A new HNSW index was only planned if it does not.
    let is_graph = |definition: IndexDefinition| matches!(definition.kind, IndexKind::Hnsw { .. });
    let is_new_graph = match kept {
        None => plan.built().is_some_and(is_graph),
        Some(index) => {
            is_graph(index.definition)
                && index.measured.is_empty()
                && graph::tuning_time(observation, policy) <= policy.build_time()
        }
    };
    if policy.urgency == BuildUrgency::Migration && !is_new_graph {
        return None;
    }
    let measured = kept.and_then(loss::at_target);
    let reason = match measured {
        None => "they were never measured".to_owned(),
        Some(measured) if measured.target != policy.recall_target => {
            format!("the target was {} when they were measured", measured.target)
        }
        Some(measured) if rows / GROWTH >= measured.rows || measured.rows / GROWTH >= rows => {
            format!("the table had {} rows when they were measured", measured.rows)
        }
        // The stored measurements include the name.
        Some(_) if kept.is_some_and(|kept| kept.name != index) => "the index has another name".to_owned(),
        Some(measured) => loss::outdated(observation, measured, policy)?,
    };
    Some(Tuning { index, reason })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table `{}`, {} rows: {}", self.table, self.rows, self.wanted)?;
        for reason in &self.reasons {
            writeln!(f, "  because {reason}")?;
        }
        for change in &self.changes {
            match change {
                IndexChange::Drop { name } => writeln!(f, "  drop index `{name}`")?,
                IndexChange::Build { name, definition } => {
                    writeln!(f, "  build index `{name}`: {}", definition)?;
                }
                IndexChange::Rename { from, to } => writeln!(f, "  rename index `{from}` to `{to}`")?,
                IndexChange::SetConstruction { name, ef_construction } => {
                    writeln!(f, "  set ef_construction of index `{name}` to {ef_construction}, for inserts")?;
                }
            }
        }
        match &self.tuning {
            Some(tuning) => {
                writeln!(f, "  measure the search parameters of `{}`: {}", tuning.index, tuning.reason)
            }
            None if self.is_empty() => writeln!(f, "  nothing to do"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TargetIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("no index"),
            Self::TooWide => f.write_str("no index, because none supports so many dimensions"),
            Self::OutOfRange => f.write_str("no index, because none supports such large or small components"),
            Self::AsItIs => f.write_str("as it is"),
            Self::Index(definition) => definition.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
