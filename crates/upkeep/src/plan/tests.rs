//! Printed plans, and that the plan after an executed plan is empty.

use expect_test::{Expect, expect};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use store::postgres::{
    Table,
    vector_index::{Filtering, MeasuredSetting, Memory},
};
use time::macros::datetime;

use super::{
    graph::{DENSE_GRAPH, GRAPH, SPARSE_GRAPH},
    *,
};

const HNSW: IndexKind = GRAPH;

fn index(name: &str, kind: IndexKind) -> VectorIndex {
    VectorIndex {
        name: name.to_owned(),
        definition: IndexDefinition { kind, precision: Precision::Full },
        state: IndexState::Valid,
        service: IndexUse::Searches,
        size_bytes: 1 << 20,
        build: 1,
        measured: Vec::new(),
    }
}

fn measured(target: f64, recall: f64, rows: u64) -> MeasuredSetting {
    MeasuredSetting {
        filtering: Filtering::None,
        depth: TARGET_DEPTH,
        candidates: 20,
        first_candidates: Some(20),
        target,
        recall,
        recall_low: recall - 0.005,
        latency_ms: 1.0,
        sampled: 100,
        rows,
        measured_at: datetime!(2026-01-31 12:00),
    }
}

fn observation(rows: u64, indexes: Vec<VectorIndex>) -> Observation {
    Observation {
        table: Table::of(records::Service::Query),
        rows,
        dead_rows: 0,
        writes: 0,
        writes_per_second: None,
        table_bytes: rows * 1_800,
        indexes,
        searches: Vec::new(),
        observed_at: datetime!(2026-02-01 12:00),
        memory: Memory {
            shared_buffers_bytes: 4 << 30,
            cache_bytes: 8 << 30,
            maintenance_bytes: 1 << 30,
            machine_bytes: Some(16 << 30),
        },
        cores: Some(2),
        pgvector: "0.8.6".to_owned(),
        is_iterative: true,
        exceeds_half: false,
    }
}

/// An HNSW index whose option is this.
fn with_insert(ef_insert: u32) -> IndexKind {
    IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert }
}

fn of_type(index_type: IndexType) -> Policy {
    Policy { index_type, ..Policy::default() }
}

fn check(observation: &Observation, policy: &Policy, expected: &Expect) {
    expected.assert_eq(&plan(observation, policy).to_string());
}

/// The table after the plan was executed and its search parameters meet the target.
fn executed(mut observation: Observation, plan: &Plan, policy: &Policy) -> Observation {
    for change in &plan.changes {
        match change {
            IndexChange::Drop { name } => observation.indexes.retain(|index| index.name != *name),
            IndexChange::Build { name, definition } => {
                assert!(observation.indexes.iter().all(|index| index.name != *name), "{plan}");
                let mut definition = *definition;
                if let IndexKind::Hnsw { ef_construction, ef_insert, .. } = &mut definition.kind {
                    *ef_insert = *ef_construction;
                }
                observation.indexes.push(VectorIndex { definition, ..index(name, HNSW) });
            }
            IndexChange::SetConstruction { name, ef_construction } => {
                let set = observation.indexes.iter_mut().find(|index| index.name == *name);
                let IndexKind::Hnsw { ef_insert, .. } = &mut set.expect("it is there").definition.kind else {
                    panic!("{plan}");
                };
                *ef_insert = *ef_construction;
            }
            IndexChange::Rename { from, to } => {
                assert!(observation.indexes.iter().all(|index| index.name != *to), "{plan}");
                let renamed = observation.indexes.iter_mut().find(|index| index.name == *from);
                renamed.expect("it is there").name.clone_from(to);
            }
        }
    }
    if let Some(tuning) = &plan.tuning {
        let tuned = observation.indexes.iter_mut().find(|index| index.name == tuning.index);
        tuned.expect("it is there").measured = vec![measured(policy.recall_target, 1.0, observation.rows)];
    }
    observation
}

#[test]
fn small_tables_are_unchanged_and_large_ones_get_hnsw() {
    let auto = &Policy::default();
    check(
        &observation(9_999, vec![]),
        auto,
        &expect![[r#"
            table `queries`, 9999 rows: as it is
              because exact scans are fast up to 10000 rows
              nothing to do
        "#]],
    );
    check(
        &observation(50_000, vec![]),
        auto,
        &expect![[r#"
            table `queries`, 50000 rows: hnsw with m 16, ef_construction 200 (inserts with 64)
              because hnsw reaches the recall of ivfflat in a fraction of the time
              build index `queries_panopticon_vector_new`: hnsw with m 16, ef_construction 200 (inserts with 64)
              rename index `queries_panopticon_vector_new` to `queries_panopticon_vector`
              set ef_construction of index `queries_panopticon_vector` to 64, for inserts
              measure the search parameters of `queries_panopticon_vector`: they were never measured
        "#]],
    );
}

#[test]
fn migration_gets_hnsw_if_that_takes_less_than_a_minute() {
    let migration = &Policy { urgency: BuildUrgency::Migration, ..Policy::default() };
    check(
        &observation(12_000, vec![]),
        migration,
        &expect![[r#"
            table `queries`, 12000 rows: hnsw with m 16, ef_construction 200 (inserts with 64)
              because hnsw reaches the recall of ivfflat in a fraction of the time
              build index `queries_panopticon_vector_new`: hnsw with m 16, ef_construction 200 (inserts with 64)
              rename index `queries_panopticon_vector_new` to `queries_panopticon_vector`
              set ef_construction of index `queries_panopticon_vector` to 64, for inserts
              measure the search parameters of `queries_panopticon_vector`: they were never measured
        "#]],
    );
    // A rate that includes the migration's own rows says nothing.
    let written = Observation { writes_per_second: Some(5_000.0), ..observation(12_000, vec![]) };
    assert!(plan(&written, migration).tuning.is_some());
    let elsewhere = Observation { cores: None, ..observation(40_000, vec![]) };
    let wanted = plan(&elsewhere, migration).wanted;
    assert!(matches!(wanted, TargetIndex::Index(of) if of.kind == IndexKind::Ivfflat { lists: 40 }));
    let killed = VectorIndex { measured: vec![], ..index("queries_panopticon_vector", GRAPH) };
    let resumed = plan(&observation(12_000, vec![killed.clone()]), migration);
    assert!(resumed.changes.is_empty() && resumed.tuning.is_some(), "{resumed}");
    assert!(plan(&observation(2_000_000, vec![killed]), migration).is_empty(), "that takes too long");
    let explicit = Policy { index_type: IndexType::Hnsw, ..*migration };
    let requested = plan(&observation(1_000_000, vec![]), &explicit);
    assert!(requested.built().is_some_and(|built| built.kind == GRAPH), "{requested}");
    assert!(requested.tuning.is_some(), "however long it takes: {requested}");
    let lists = Policy { index_type: IndexType::Ivfflat, ..*migration };
    assert_eq!(plan(&observation(12_000, vec![]), &lists).tuning, None);
}

#[test]
fn migration_gets_ivfflat_otherwise_which_hnsw_replaces_later() {
    let migration = &Policy { urgency: BuildUrgency::Migration, ..Policy::default() };
    check(
        &observation(200_000, vec![]),
        migration,
        &expect![[r#"
            table `queries`, 200000 rows: ivfflat with 200 lists
              because hnsw may take 4 minutes, for which a migration does not wait: `panopticon serve` builds it in the background
              build index `queries_panopticon_vector_new`: ivfflat with 200 lists
              rename index `queries_panopticon_vector_new` to `queries_panopticon_vector`
        "#]],
    );
    let lists = index("queries_panopticon_vector", IndexKind::Ivfflat { lists: 200 });
    check(
        &observation(200_000, vec![lists]),
        &Policy::default(),
        &expect![[r#"
            table `queries`, 200000 rows: hnsw with m 16, ef_construction 200 (inserts with 64)
              because hnsw reaches the recall of ivfflat in a fraction of the time
              build index `queries_panopticon_vector_new`: hnsw with m 16, ef_construction 200 (inserts with 64)
              drop index `queries_panopticon_vector`
              rename index `queries_panopticon_vector_new` to `queries_panopticon_vector`
              set ef_construction of index `queries_panopticon_vector` to 64, for inserts
              measure the search parameters of `queries_panopticon_vector`: they were never measured
        "#]],
    );
    let mut graph = index("own", HNSW);
    graph.measured = vec![measured(0.98, 0.99, 200_000)];
    let kept = plan(&observation(200_000, vec![graph]), migration);
    assert!(kept.is_empty(), "an existing HNSW index is even better: {kept}");
}

#[test]
fn lists_follow_the_rows_and_others_are_replaced_beyond_a_factor_of_two() {
    let lists_of = |rows| match plan(&observation(rows, vec![]), &of_type(IndexType::Ivfflat)).wanted {
        TargetIndex::Index(IndexDefinition { kind: IndexKind::Ivfflat { lists }, .. }) => lists,
        other => panic!("{other}"),
    };
    let found = [10_000, 250_000, 1_000_000, 4_000_000, u64::from(u32::MAX)].map(lists_of);
    assert_eq!(found, [10, 250, 1_000, 2_000, 32_768]);
    let of = |lists| {
        plan(
            &observation(100_000, vec![index("i", IndexKind::Ivfflat { lists })]),
            &of_type(IndexType::Ivfflat),
        )
    };
    for (lists, keeps) in [(49, false), (50, true), (200, true), (201, false)] {
        assert_eq!(of(lists).built().is_none(), keeps, "{}", of(lists));
    }
}

#[test]
fn indexes_left_by_crashes_are_dropped_or_completed() {
    let mut unfinished = index("queries_panopticon_vector_new", HNSW);
    unfinished.state = IndexState::Invalid;
    let old = index("queries_panopticon_vector", IndexKind::Ivfflat { lists: 1 });
    check(
        &observation(50_000, vec![old.clone(), unfinished.clone()]),
        &Policy::default(),
        &expect![[r#"
            table `queries`, 50000 rows: hnsw with m 16, ef_construction 200 (inserts with 64)
              because the build of index `queries_panopticon_vector_new` never finished
              because hnsw reaches the recall of ivfflat in a fraction of the time
              drop index `queries_panopticon_vector_new`
              build index `queries_panopticon_vector_new`: hnsw with m 16, ef_construction 200 (inserts with 64)
              drop index `queries_panopticon_vector`
              rename index `queries_panopticon_vector_new` to `queries_panopticon_vector`
              set ef_construction of index `queries_panopticon_vector` to 64, for inserts
              measure the search parameters of `queries_panopticon_vector`: they were never measured
        "#]],
    );
    let finished = VectorIndex { state: IndexState::Valid, ..unfinished.clone() };
    check(
        &observation(50_000, vec![old, finished]),
        &Policy::default(),
        &expect![[r#"
            table `queries`, 50000 rows: hnsw with m 16, ef_construction 200 (inserts with 64)
              because hnsw reaches the recall of ivfflat in a fraction of the time
              because index `queries_panopticon_vector` only slows down writes, given `queries_panopticon_vector_new`
              drop index `queries_panopticon_vector`
              rename index `queries_panopticon_vector_new` to `queries_panopticon_vector`
              measure the search parameters of `queries_panopticon_vector`: they were never measured
        "#]],
    );
    let building = VectorIndex { state: IndexState::Building, ..unfinished };
    check(
        &observation(50_000, vec![building]),
        &Policy::default(),
        &expect![[r#"
            table `queries`, 50000 rows: as it is
              because another session is building index `queries_panopticon_vector_new`: plan again afterwards
              nothing to do
        "#]],
    );
}

#[test]
fn memory_write_rate_and_dimension_affect_the_plan() {
    let mut small_machine = observation(1_000_000, vec![]);
    small_machine.memory.machine_bytes = Some(3 << 30);
    let wanted = |observation: &Observation| plan(observation, &Policy::default()).wanted.to_string();
    assert_eq!(
        wanted(&small_machine),
        "hnsw with m 16, ef_construction 200 (inserts with 64), in half precision"
    );
    small_machine.memory.machine_bytes = Some(1 << 30);
    assert_eq!(wanted(&small_machine), "ivfflat with 1000 lists");
    let mut thorough = index("i", DENSE_GRAPH);
    thorough.measured = vec![measured(0.98, 0.99, 100_000)];
    let mut tight = observation(100_000, vec![thorough]);
    tight.memory.machine_bytes = Some(256 << 20);
    assert_eq!(wanted(&tight), "hnsw with m 16, ef_construction 200 (inserts with 64), in half precision");
    small_machine.memory.machine_bytes = None;
    assert_eq!(
        wanted(&small_machine),
        "hnsw with m 16, ef_construction 200 (inserts with 64)",
        "the configured type is used"
    );

    let mut busy = observation(50_000, vec![]);
    busy.writes_per_second = Some(301.0);
    assert_eq!(wanted(&busy), "ivfflat with 50 lists");
    busy.indexes = vec![index("i", HNSW)];
    assert_eq!(plan(&busy, &Policy::default()).built(), None, "high write rates are temporary");

    let mut wide = observation(50_000, vec![]);
    wide.table.dimension = 2_001;
    assert_eq!(wanted(&wide), "hnsw with m 16, ef_construction 200 (inserts with 64), in half precision");
    wide.table.dimension = 4_001;
    assert_eq!(wanted(&wide), "no index, because none supports so many dimensions");
}

#[test]
fn settings_are_measured_again_and_an_hnsw_index_below_target_gets_more_edges() {
    let with = |measured: MeasuredSetting| {
        let mut graph = index("g", HNSW);
        graph.measured = vec![measured];
        plan(&observation(50_000, vec![graph]), &Policy::default())
    };
    assert!(with(measured(0.98, 0.99, 50_000)).is_empty());
    let reason = |plan: Plan| plan.tuning.expect("they are measured").reason;
    assert_eq!(reason(with(measured(0.95, 0.99, 50_000))), "the target was 0.95 when they were measured");
    assert_eq!(
        reason(with(measured(0.98, 0.99, 25_000))),
        "the table had 25000 rows when they were measured"
    );
    let short = with(measured(0.98, 0.97, 50_000));
    assert_eq!(short.wanted.to_string(), "hnsw with m 32, ef_construction 200 (inserts with 64)", "{short}");
    assert!(short.built().is_some(), "{short}");
}

#[test]
fn index_is_built_with_fewer_candidates_where_more_would_take_over_an_hour() {
    let wanted = |rows, cores| {
        let mut large = observation(rows, vec![]);
        (large.cores, large.memory.machine_bytes) = (cores, Some(1 << 40));
        plan(&large, &Policy::default()).wanted
    };
    let of = |kind| TargetIndex::Index(IndexDefinition { kind, precision: Precision::Full });
    assert_eq!(wanted(1_000_000, Some(2)), of(GRAPH));
    assert_eq!(wanted(5_000_000, Some(2)), of(SPARSE_GRAPH));
    assert_eq!(wanted(5_000_000, Some(16)), of(GRAPH));
    assert_eq!(wanted(1_000_000, None), of(GRAPH));
    assert_eq!(wanted(3_000_000, None), of(SPARSE_GRAPH), "a server elsewhere may have one core");
}

#[test]
fn index_built_with_fewer_candidates_is_rebuilt_where_it_pays() {
    let with = |measured: Vec<MeasuredSetting>| {
        let sparse = VectorIndex { measured, ..index("queries_embedding_idx", SPARSE_GRAPH) };
        plan(&observation(100_000, vec![sparse]), &Policy::default())
    };
    let of = |candidates| MeasuredSetting { candidates, ..measured(0.98, 0.99, 100_000) };
    let unknown = with(vec![]);
    assert!(unknown.changes.is_empty() && unknown.tuning.is_some(), "first it is measured: {unknown}");
    assert!(with(vec![of(40)]).is_empty(), "{}", with(vec![of(40)]));
    assert_eq!(with(vec![of(41)]).built().expect("it is rebuilt").kind, GRAPH);
    let short = with(vec![measured(0.98, 0.97, 100_000)]);
    assert_eq!(short.built().expect("it is rebuilt").kind, GRAPH, "{short}");
    let sparse = VectorIndex { measured: vec![of(90)], ..index("i", SPARSE_GRAPH) };
    let mut large = observation(10_000_000, vec![sparse]);
    large.indexes[0].measured[0].rows = 10_000_000;
    large.memory.machine_bytes = Some(1 << 40);
    assert!(plan(&large, &Policy::default()).is_empty(), "it would take over an hour");
}

#[test]
fn option_of_a_killed_build_or_rebuild_is_lowered() {
    let with = |name: &str, kind: IndexKind| {
        let left = VectorIndex { measured: vec![measured(0.98, 0.99, 50_000)], ..index(name, kind) };
        plan(&observation(50_000, vec![left]), &Policy::default())
    };
    let built = IndexKind::Hnsw { m: 16, ef_construction: 200, ef_insert: 200 };
    expect![[r#"
        table `queries`, 50000 rows: hnsw with m 16, ef_construction 200 (inserts with 64)
          because hnsw reaches the recall of ivfflat in a fraction of the time
          because `queries_panopticon_vector` still has the ef_construction of its build, with which inserts take longer
          set ef_construction of index `queries_panopticon_vector` to 64, for inserts
    "#]]
    .assert_eq(&with("queries_panopticon_vector", built).to_string());
    let lowered = |name: &str| {
        let change = IndexChange::SetConstruction { name: name.to_owned(), ef_construction: 64 };
        vec![change]
    };
    let rebuilt = with("queries_panopticon_vector", with_insert(200));
    assert_eq!(rebuilt.changes, lowered("queries_panopticon_vector"), "{rebuilt}");
    let renamed = with("queries_panopticon_vector_new", built);
    assert_eq!(renamed.changes[1..], lowered("queries_panopticon_vector"), "{renamed}");
    assert!(with("queries_panopticon_vector", with_insert(128)).is_empty(), "an operator has set it");
    assert!(with("own", built).is_empty(), "an operator has built it");
    let mut small = observation(100, vec![index("queries_panopticon_vector", built)]);
    assert_eq!(plan(&small, &Policy::default()).changes, lowered("queries_panopticon_vector"));
    small.indexes[0].state = IndexState::Building;
    assert!(plan(&small, &Policy::default()).is_empty());
}

#[test]
fn indexes_for_other_purposes_are_kept_and_type_none_drops_ours() {
    let mut own = index("queries_panopticon_vector", HNSW);
    own.service = IndexUse::Others;
    let of_ours = index("queries_embedding_idx", IndexKind::Ivfflat { lists: 100 });
    check(
        &observation(50_000, vec![of_ours, own]),
        &of_type(IndexType::None),
        &expect![[r#"
            table `queries`, 50000 rows: no index
              because index `queries_panopticon_vector` is not used by searches and is kept
              because the index type is set to none
              drop index `queries_embedding_idx`
        "#]],
    );
}

#[test]
fn executed_plan_leaves_nothing_to_do_and_always_an_index() {
    let kind = prop_oneof![
        (1..300_u32).prop_map(|lists| IndexKind::Ivfflat { lists }),
        select(vec![
            HNSW,
            SPARSE_GRAPH,
            with_insert(200),
            DENSE_GRAPH,
            IndexKind::Hnsw { m: 8, ef_construction: 32, ef_insert: 32 }
        ]),
    ];
    let recalls = proptest::collection::vec((select(vec![0.95, 0.98]), 0.9..1.0, 1..200_000_u64), 0..2);
    let found = (
        select(vec![
            "queries_panopticon_vector",
            "queries_panopticon_vector_new",
            "queries_embedding_idx",
            "x",
        ]),
        kind,
        select(vec![Precision::Full, Precision::Half]),
        select(vec![IndexState::Valid, IndexState::Valid, IndexState::Invalid]),
        select(vec![IndexUse::Searches, IndexUse::Searches, IndexUse::Others]),
        recalls,
    );
    let found = found.prop_map(|(name, kind, precision, state, service, recalls)| VectorIndex {
        definition: IndexDefinition { kind, precision },
        state,
        service,
        measured: recalls.into_iter().map(|(target, recall, rows)| measured(target, recall, rows)).collect(),
        ..index(name, kind)
    });
    let observed = (
        prop_oneof![0..300_000_u64, 9_000..11_000_u64],
        proptest::collection::vec(found, 0..4),
        select(vec![None, Some(1_u64 << 26), Some(1 << 28), Some(1 << 34)]),
        select(vec![384, 2_001, 4_001]),
        proptest::option::of(0.0..1_000.0_f64),
    );
    let policies = (
        select(vec![IndexType::Auto, IndexType::Ivfflat, IndexType::Hnsw, IndexType::None]),
        select(vec![BuildUrgency::None, BuildUrgency::Migration]),
    );
    let mut runner = TestRunner::new(ProptestConfig { cases: 20_000, ..ProptestConfig::default() });
    let checked = runner.run(&(observed, policies), |(observed, (index_type, urgency))| {
        let (rows, mut indexes, machine_bytes, dimension, writes_per_second) = observed;
        indexes.sort_by(|one, other| one.name.cmp(&other.name));
        indexes.dedup_by(|one, other| one.name == other.name);
        let mut observed = observation(rows, indexes);
        (observed.memory.machine_bytes, observed.writes_per_second) = (machine_bytes, writes_per_second);
        observed.table.dimension = dimension;
        let policy = Policy { index_type, urgency, ..Policy::default() };
        let first = plan(&observed, &policy);
        prop_assert_eq!(&first, &plan(&observed, &policy));
        let searched = |observed: &Observation| observed.indexes.iter().any(VectorIndex::is_searched);
        if searched(&observed) && matches!(first.wanted, TargetIndex::Index(_)) {
            for done in 0..=first.changes.len() {
                let so_far = Plan { changes: first.changes[..done].to_vec(), tuning: None, ..first.clone() };
                let between = executed(observed.clone(), &so_far, &policy);
                prop_assert!(searched(&between), "after {} changes:\n{}", done, first);
            }
        }
        // If the process is killed after any change, the next plan completes the work.
        for done in 0..=first.changes.len() {
            let so_far = Plan { changes: first.changes[..done].to_vec(), tuning: None, ..first.clone() };
            let mut state = executed(observed.clone(), &so_far, &policy);
            for round in 0..3 {
                let next = plan(&state, &policy);
                if next.is_empty() {
                    break;
                }
                prop_assert!(round < 2, "after {} changes\n{}then\n{}", done, first, next);
                state = executed(state, &next, &policy);
            }
        }
        let after = executed(observed, &first, &policy);
        let again = plan(&after, &policy);
        prop_assert!(again.is_empty(), "{}then\n{}", first, again);
        Ok(())
    });
    checked.expect("no counterexample");
}

#[test]
fn no_half_precision_index_is_planned_for_components_beyond_its_range() {
    let mut wide = observation(20_000, Vec::new());
    wide.table.dimension = 3_000;
    assert!(super::may_want_half(&wide));
    for index_type in [IndexType::Auto, IndexType::Ivfflat, IndexType::Hnsw] {
        let policy = of_type(index_type);
        assert!(plan(&wide, &policy).built().is_some(), "{index_type:?}");
        wide.exceeds_half = true;
        let planned = plan(&wide, &policy);
        assert!(planned.is_empty() && planned.wanted == TargetIndex::OutOfRange, "{planned}");
        wide.exceeds_half = false;
    }
    // An HNSW index of full precision would not fit into memory.
    let mut many = observation(5_000_000, Vec::new());
    assert!(super::may_want_half(&many));
    let precision = |observation: &Observation| {
        plan(observation, &Policy::default()).built().expect("one is built").precision
    };
    assert_eq!(precision(&many), Precision::Half);
    many.exceeds_half = true;
    assert_eq!(precision(&many), Precision::Full);
    many.exceeds_half = false;
    assert!(!super::may_want_half(&observation(20_000, Vec::new())), "there is enough memory");
}

#[test]
fn indexes_of_half_precision_that_lose_vectors_are_looked_for_and_dropped() {
    for (rows, dimension) in [(20_000, 3_000), (9_000, 3_000), (20_000, 384), (9_000, 384)] {
        let mut observed = observation(rows, vec![index("queries_embedding_idx", HNSW)]);
        observed.table.dimension = dimension;
        observed.indexes[0].definition.precision = Precision::Half;
        assert!(super::may_want_half(&observed), "nothing shows that it holds all");
        observed.indexes[0].measured = vec![measured(0.98, 0.0, rows)];
        assert!(super::may_want_half(&observed), "it finds too few");
        observed.indexes[0].measured = vec![measured(0.98, 0.99, rows / 2)];
        assert!(super::may_want_half(&observed), "half of the rows came later");
        observed.indexes[0].measured = vec![measured(0.98, 0.99, rows)];
        assert!(!super::may_want_half(&observed), "it was measured to find enough");

        observed.exceeds_half = true;
        let policy = Policy::default();
        let planned = plan(&observed, &policy);
        let dropped = IndexChange::Drop { name: "queries_embedding_idx".to_owned() };
        assert_eq!(planned.changes.first(), Some(&dropped), "{planned}");
        assert!(planned.to_string().contains("half precision"), "{planned}");
        let built = planned.built().map(|definition| definition.precision);
        let is_built = dimension == 384 && rows == 20_000;
        assert_eq!(built, is_built.then_some(Precision::Full), "{planned}");
        let mut after = executed(observed, &planned, &policy);
        after.exceeds_half = true;
        assert!(plan(&after, &policy).is_empty(), "{}", plan(&after, &policy));
    }
}
