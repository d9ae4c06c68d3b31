//! Printed plans, and that the plan after an executed plan is empty.

use expect_test::{Expect, expect};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use store::postgres::{
    maintenance::{Autovacuum, Column, Ledger, Threshold},
    vector_index::{
        Filtering, IndexChange, IndexState, IndexUse, MeasuredSetting, Memory, Observation, Precision,
        SearchRecall,
    },
};
use time::macros::datetime;

use super::*;
use crate::{plan::TargetIndex, policy::IndexType};

const NOW: time::PrimitiveDateTime = datetime!(2026-02-01 12:00);
const HNSW: IndexKind = IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert: 64 };

fn health(name: &str, rows: u64, dead_rows: u64) -> TableHealth {
    TableHealth {
        name: name.to_owned(),
        rows,
        dead_rows,
        inserted: 0,
        changed: 0,
        vacuumed_at: None,
        autovacuumed_at: None,
        analyzed_at: None,
        heap_bytes: rows * 1_800,
        index_bytes: rows * 2_000,
        is_being_vacuumed: false,
        autovacuum: Autovacuum {
            is_on: true,
            dead: Threshold { base: 50.0, scale: 0.2 },
            inserted: Some(Threshold { base: 1_000.0, scale: 0.2 }),
            changed: Threshold { base: 50.0, scale: 0.1 },
        },
    }
}

fn measured(candidates: u32, rows: u64) -> MeasuredSetting {
    MeasuredSetting {
        filtering: Filtering::None,
        depth: 10,
        candidates,
        first_candidates: Some(candidates),
        target: 0.98,
        recall: 0.99,
        recall_low: 0.985,
        latency_ms: 1.0,
        sampled: 100,
        rows,
        measured_at: datetime!(2026-01-31 12:00),
    }
}

fn index(kind: IndexKind, rows: u64) -> VectorIndex {
    VectorIndex {
        name: "queries_panopticon_vector".to_owned(),
        definition: IndexDefinition { kind, precision: Precision::Full },
        state: IndexState::Valid,
        service: IndexUse::Searches,
        size_bytes: rows * 2_000,
        build: 1,
        measured: vec![measured(20, rows)],
    }
}

/// The table of queries, with an index of `kind`.
fn queries(rows: u64, dead_rows: u64, kind: Option<IndexKind>) -> ObservedTable {
    let observation = Observation {
        table: store::postgres::Table::of(records::Service::Query),
        rows,
        dead_rows,
        writes: 0,
        writes_per_second: None,
        table_bytes: rows * 1_800,
        indexes: kind.map(|kind| index(kind, rows)).into_iter().collect(),
        searches: Vec::new(),
        observed_at: NOW,
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
    };
    let columns = [
        Column::OfTable("metadata".to_owned()),
        Column::FirstOfIndex("queries_panopticon_category".to_owned()),
    ];
    let statistics = columns.map(|column| ColumnStatistics { column, target: 100 }).to_vec();
    ObservedTable {
        health: health("queries", rows, dead_rows),
        held_rows: 0,
        vectors: Some(Vectors { observation, statistics }),
        migration: Migration::None,
    }
}

fn other(health: TableHealth) -> ObservedTable {
    ObservedTable { health, held_rows: 0, vectors: None, migration: Migration::None }
}

fn of(tables: Vec<ObservedTable>) -> Observed {
    Observed { at: NOW, tables, expired: Vec::new(), timeless: Vec::new(), damaged: Vec::new() }
}

fn check(observed: &Observed, expected: &Expect) {
    expected.assert_eq(&plan(observed, &Policy::default(), &Limits::default()).to_string());
}

#[test]
fn dead_rows_are_vacuumed_before_autovacuum_and_an_hnsw_index_with_many_is_rebuilt_first() {
    check(
        &of(vec![queries(20_000, 2_000, Some(HNSW))]),
        &expect![[r#"
        nothing to do
    "#]],
    );
    check(
        &of(vec![queries(20_000, 2_100, Some(HNSW))]),
        &expect![[r#"
            queries: vacuum, because there are 2100 dead rows and 20000 live ones: searches cannot wait for autovacuum
        "#]],
    );
    check(
        &of(vec![queries(20_000, 5_000, Some(HNSW))]),
        &expect![[r#"
            queries: rebuild `queries_panopticon_vector`, because 20 % of the entries of `queries_panopticon_vector` are dead, and a rebuild is faster than VACUUM
            queries: vacuum, because there are 5000 dead rows and 20000 live ones: searches cannot wait for autovacuum
            queries: measure the search parameters of `queries_panopticon_vector`, because it is rebuilt
        "#]],
    );
    check(
        &of(vec![queries(20_000, 5_000, Some(IndexKind::Ivfflat { lists: 20 }))]),
        &expect![[r#"
            queries: build an index, hnsw with m 16, ef_construction 200 (inserts with 64), because hnsw reaches the recall of ivfflat in a fraction of the time
            queries: vacuum, because there are 5000 dead rows and 20000 live ones: searches cannot wait for autovacuum
        "#]],
    );
    check(
        &of(vec![queries(9_000, 9_000, None)]),
        &expect![[r#"
            queries: vacuum, because there are 9000 dead rows and 9000 live ones: searches cannot wait for autovacuum
        "#]],
    );
}

#[test]
fn other_tables_are_left_to_autovacuum_unless_it_is_not_keeping_up() {
    let off = |mut health: TableHealth| {
        health.autovacuum.is_on = false;
        other(health)
    };
    let inserted = TableHealth { inserted: 12_000, changed: 12_000, ..health("run_tasks", 10_000, 0) };
    let changed = TableHealth { changed: 2_200, ..health("evaluation_results", 10_000, 0) };
    check(
        &of(vec![
            other(health("run_attempts", 10_000, 4_000)),
            other(health("runs", 10_000, 4_101)),
            off(health("run_queries", 10_000, 2_051)),
            other(inserted),
            other(changed),
        ]),
        &expect![[r#"
            runs: vacuum, because there are 4101 dead rows and 10000 live ones: autovacuum is not keeping up
            run_queries: vacuum, because there are 2051 dead rows and 10000 live ones: autovacuum is off for it
            run_tasks: vacuum, because 12000 rows were inserted, 10000 in total: autovacuum is not keeping up
            evaluation_results: refresh statistics, because there were 2200 changes since statistics were gathered, 10000 rows in total: autovacuum is not keeping up
        "#]],
    );
}

#[test]
fn tables_are_skipped_with_a_reason() {
    let with_held = |held_rows| ObservedTable { held_rows, ..queries(20_000, 5_000, Some(HNSW)) };
    check(
        &of(vec![with_held(4_500)]),
        &expect![[r#"
            queries: skipped, because VACUUM could not remove 4500 dead rows, which an open transaction may still see
            nothing to do
        "#]],
    );
    assert_eq!(plan(&of(vec![with_held(1_000)]), &Policy::default(), &Limits::default()).actions.len(), 3);
    let mut table = queries(20_000, 5_000, None);
    table.migration = Migration::Unfinished;
    check(
        &of(vec![table.clone()]),
        &expect![[r#"
            queries: vacuum, because there are 5000 dead rows and 20000 live ones: searches cannot wait for autovacuum
            queries: skipped, because its index waits for an unfinished migration: run it again, or undo it
        "#]],
    );
    table.migration = Migration::Running;
    check(
        &of(vec![table]),
        &expect![[r#"
            queries: skipped, because a migration writes into it
            nothing to do
        "#]],
    );
    let mut table = queries(20_000, 5_000, None);
    table.health.is_being_vacuumed = true;
    check(
        &of(vec![table]),
        &expect![[r#"
            queries: skipped, because a VACUUM is running on it
            nothing to do
        "#]],
    );
}

#[test]
fn heavy_actions_wait_for_quiet_hours() {
    let mut observed = of(vec![queries(20_000, 2_100, Some(HNSW))]);
    observed.expired =
        vec![Expired { ledger: Ledger::Actions, before: datetime!(2025-11-03 12:00), rows: 7 }];
    let limits = Limits { quiet_hours: Some("22:00-06:00".parse().expect("hours")), ..Limits::default() };
    let planned = plan(&observed, &Policy::default(), &limits);
    expect![[r#"
        maintenance_actions: delete expired rows, because 7 rows are older than 2025-11-03
        queries: skipped, because vacuum waits for the quiet hours: there are 2100 dead rows and 20000 live ones: searches cannot wait for autovacuum
    "#]].assert_eq(&planned.to_string());
    observed.at = datetime!(2026-02-01 23:00);
    assert_eq!(plan(&observed, &Policy::default(), &limits).actions.len(), 2);
}

#[test]
fn lost_recall_is_measured_and_drifted_ivfflat_indexes_are_rebuilt() {
    let mut table = queries(20_000, 0, Some(IndexKind::Ivfflat { lists: 20 }));
    let vectors = table.vectors.as_mut().expect("it has vectors");
    vectors.observation.indexes[0].measured = vec![measured(3, 20_000)];
    vectors.observation.searches = vec![SearchRecall {
        filter_class: "none".to_owned(),
        since: datetime!(2026-02-01 11:55),
        replayed: 30,
        recall: 0.91,
        recall_low: 0.88,
        recall_high: 0.94,
    }];
    let policy = &Policy { index_type: IndexType::Ivfflat, ..Policy::default() };
    let check = |table: &ObservedTable, expected: &Expect| {
        let plan = plan(&of(vec![table.clone()]), policy, &Limits::default());
        expected.assert_eq(&plan.to_string());
    };
    check(
        &table,
        &expect![[r#"
            queries: measure the search parameters of `queries_panopticon_vector`, because the recall of searches is 0.910 since they were measured, significantly below 0.940
        "#]],
    );
    let of_setting = |table: &mut ObservedTable, change: &dyn Fn(&mut MeasuredSetting)| {
        change(&mut table.vectors.as_mut().expect("it has vectors").observation.indexes[0].measured[0]);
    };
    of_setting(&mut table, &|setting| setting.measured_at = datetime!(2026-02-01 11:54));
    check(
        &table,
        &expect![[r#"
        nothing to do
    "#]],
    );
    of_setting(&mut table, &|setting| setting.rows = 19_000);
    check(
        &table,
        &expect![[r#"
            queries: measure the search parameters of `queries_panopticon_vector`, because the recall of searches is 0.910 since they were measured, significantly below 0.940
        "#]],
    );
    of_setting(&mut table, &|setting| {
        (setting.rows, setting.candidates, setting.measured_at) = (20_000, 7, NOW);
    });
    check(
        &table,
        &expect![[r#"
            queries: build an index, ivfflat with 20 lists, because the index type is set to ivfflat; `queries_panopticon_vector` needs 7 probes instead of 3 when it was new: the rows have drifted from its lists
        "#]],
    );
}

#[test]
fn large_tables_get_higher_statistics_targets_for_filter_columns() {
    let mut table = queries(1_000_000, 0, Some(HNSW));
    check(
        &of(vec![table.clone()]),
        &expect![[r#"
            queries: set statistics target 1000 of column `metadata`, statistics target 1000 of index `queries_panopticon_category`, because the statistics of column `metadata`, index `queries_panopticon_category` are too coarse to estimate the selectivity of filters on 1000000 rows
        "#]],
    );
    let vectors = table.vectors.as_mut().expect("it has vectors");
    vectors.statistics[0].target = 0;
    vectors.statistics[1].target = 1_000;
    check(
        &of(vec![table]),
        &expect![[r#"
        nothing to do
    "#]],
    );
}

/// The database after `plan` was executed: dead rows are removed, and built indexes meet the target.
fn executed(mut observed: Observed, plan: &Plan) -> Observed {
    for Planned { table: name, action, .. } in &plan.actions {
        let table = observed.tables.iter_mut().find(|table| table.health.name == *name);
        match (action, table) {
            (Action::Expire(done), _) => {
                let expired = observed.expired.iter_mut().find(|expired| expired.ledger == done.ledger);
                expired.expect("it is there").rows = 0;
            }
            (Action::Vacuum, Some(table)) => {
                let health = &mut table.health;
                (health.dead_rows, health.inserted, health.changed) = (0, 0, 0);
                if let Some(vectors) = &mut table.vectors {
                    vectors.observation.dead_rows = 0;
                }
            }
            (Action::Statistics(columns), Some(table)) => {
                table.health.changed = 0;
                for done in columns {
                    let vectors = table.vectors.as_mut().expect("only those have columns that filters use");
                    let kept = vectors.statistics.iter_mut().find(|kept| kept.column == done.column);
                    kept.expect("it is there").target = done.target;
                }
            }
            (Action::Reindex { index, .. }, Some(table)) => {
                let indexes = &mut table.vectors.as_mut().expect("it has vectors").observation.indexes;
                let rebuilt = indexes.iter_mut().find(|other| other.name == *index);
                rebuilt.expect("it is there").measured.clear();
            }
            (Action::Index(plan), Some(table)) => {
                let observation = &mut table.vectors.as_mut().expect("it has vectors").observation;
                let rows = observation.rows;
                for change in &plan.changes {
                    match change {
                        IndexChange::Drop { name } => observation.indexes.retain(|index| index.name != *name),
                        IndexChange::Build { name, definition } => observation.indexes.push(VectorIndex {
                            name: name.clone(),
                            definition: *definition,
                            measured: Vec::new(),
                            ..index(HNSW, rows)
                        }),
                        IndexChange::SetConstruction { name, ef_construction: set } => {
                            let set_in = observation.indexes.iter_mut().find(|index| index.name == *name);
                            let definition = &mut set_in.expect("it is there").definition;
                            if let IndexKind::Hnsw { ef_insert, .. } = &mut definition.kind {
                                *ef_insert = *set;
                            }
                        }
                        IndexChange::Rename { from, to } => {
                            let renamed = observation.indexes.iter_mut().find(|index| index.name == *from);
                            renamed.expect("it is there").name.clone_from(to);
                        }
                    }
                }
                if let Some(tuning) = &plan.tuning {
                    let tuned = observation.indexes.iter_mut().find(|index| index.name == tuning.index);
                    let tuned = tuned.expect("the plan has left it in place");
                    let first = tuned.measured.first().and_then(|measured| measured.first_candidates);
                    let setting = MeasuredSetting { measured_at: NOW, ..measured(20, rows) };
                    tuned.measured =
                        vec![MeasuredSetting { first_candidates: first.or(Some(20)), ..setting }];
                }
            }
            (_, None) => panic!("{name} is not there: {plan}"),
        }
    }
    observed
}

#[test]
fn plan_after_an_executed_plan_is_empty() {
    let kinds = vec![
        None,
        Some(HNSW),
        Some(IndexKind::Hnsw { m: 32, ef_construction: 200, ef_insert: 200 }),
        Some(IndexKind::Ivfflat { lists: 10 }),
        Some(IndexKind::Ivfflat { lists: 300 }),
    ];
    let strategy = (
        (0_u64..3_000_000, 0_u64..1_000_000, select(kinds), any::<bool>()),
        (0_u64..500_000, 0_u64..500_000, 1_u32..40, 0_u64..2, 0.8_f64..1.0),
    );
    let seen = std::cell::RefCell::new(std::collections::HashSet::new());
    TestRunner::deterministic()
        .run(&strategy, |((rows, dead, kind, is_on), (inserted, changed, first, expired, recall))| {
            let mut table = queries(rows, dead, kind);
            (table.health.inserted, table.health.changed) = (inserted, changed);
            table.health.autovacuum.is_on = is_on;
            let vectors = table.vectors.as_mut().expect("it has vectors");
            for index in &mut vectors.observation.indexes {
                index.measured[0].first_candidates = Some(first);
            }
            vectors.observation.searches = vec![SearchRecall {
                filter_class: "category".to_owned(),
                since: datetime!(2026-01-31 13:00),
                replayed: 20,
                recall,
                recall_low: recall,
                recall_high: recall,
            }];
            let other = other(TableHealth { inserted, changed, ..health("runs", rows, dead) });
            let mut observed = of(vec![table, other]);
            observed.expired = vec![Expired { ledger: Ledger::IndexPlans, before: NOW, rows: expired }];
            let (policy, limits) = (Policy::default(), Limits::default());
            let first = plan(&observed, &policy, &limits);
            prop_assert_eq!(&first, &plan(&observed, &policy, &limits), "the same state, the same plan");
            seen.borrow_mut().extend(first.actions.iter().map(|planned| planned.action.as_str()));
            let mut after = executed(observed, &first);
            let second = plan(&after, &policy, &limits);
            // Parameters that are measured again may show that the lists have drifted: then the index is rebuilt
            // once.
            if !second.is_empty() {
                let is_drift = |planned: &Planned| {
                    matches!(&planned.action, Action::Index(plan)
                        if matches!(plan.wanted, TargetIndex::Index(_)) && planned.reason.contains("when it was new"))
                };
                prop_assert!(second.actions.iter().all(is_drift), "{first}then\n{second}");
                after = executed(after, &second);
            }
            let last = plan(&after, &policy, &limits);
            prop_assert!(last.is_empty(), "{first}then\n{second}then\n{last}");
            Ok(())
        })
        .expect("no counterexample");
    assert_eq!(seen.borrow().len(), 5, "each action is planned: {seen:?}");
}
