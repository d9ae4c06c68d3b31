//! Observers receive every step in order, and the progress of each phase.

use std::sync::{Arc, Mutex};

use migrate::{Event, MigrateOptions, Observer, Phase, Step};
use records::Service;
use store::postgres::Table;
use test_support::sample;

use crate::{prepared, sample_name, transfer};

#[derive(Debug, PartialEq)]
enum Seen {
    Phase(Phase, u64),
    Step(Step),
}

/// An observer, and its events except progress within phases.
fn recorder() -> (Observer, Arc<Mutex<Vec<Seen>>>) {
    // Shared between the observer, which is called on any thread, and the test.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let observer: Observer = Arc::new(move |event| {
        let event = match event {
            Event::Phase { collection, phase, total } => {
                assert_eq!(collection, "queries");
                Seen::Phase(phase, total)
            }
            Event::Step(step) => Seen::Step(step),
            Event::Progress { .. } => return,
        };
        record.lock().expect("no holder panics").push(event);
    });
    (observer, seen)
}

#[tokio::test]
async fn every_step_and_phase_is_observed_in_order() {
    let (_test_database, database) = prepared().await;
    let (queries, folder) = (Table::of(Service::Query), sample(sample_name(Service::Query)));
    let options = MigrateOptions { connections: 1, batch_rows: 40, ..MigrateOptions::default() };
    let run = async || {
        let (observer, seen) = recorder();
        let transfers = vec![transfer(folder.path(), &queries)];
        migrate::migrate(&database, transfers, &options, &observer).await.expect("the migration runs");
        std::mem::take(&mut *seen.lock().expect("no holder panics"))
    };
    let first = run().await;
    // The second batch is made while the first is written, but the steps of one connection are ordered.
    assert_eq!(
        first,
        [
            Seen::Step(Step::Locked),
            Seen::Phase(Phase::Target, 0),
            Seen::Phase(Phase::Plan, 61),
            Seen::Step(Step::Planned),
            Seen::Step(Step::Begun),
            Seen::Phase(Phase::Copy, 61),
            Seen::Step(Step::BatchSent),
            Seen::Step(Step::BatchCommitted),
            Seen::Step(Step::BatchSent),
            Seen::Step(Step::BatchCommitted),
            Seen::Step(Step::AllSent),
            Seen::Step(Step::Copied),
            Seen::Phase(Phase::Index, 0),
            Seen::Step(Step::Indexed),
            Seen::Phase(Phase::Target, 0),
            Seen::Phase(Phase::Verify, 61),
            Seen::Phase(Phase::Search, 20),
            Seen::Step(Step::Verified),
            Seen::Step(Step::Complete),
        ]
    );
    assert!(Step::ALL.iter().all(|step| first.contains(&Seen::Step(*step))));
    let second = run().await;
    let steps: Vec<&Seen> = second.iter().filter(|seen| matches!(seen, Seen::Step(_))).collect();
    let expected = [Step::Locked, Step::Planned, Step::Begun, Step::Verified].map(Seen::Step);
    assert_eq!(steps, expected.iter().collect::<Vec<_>>());
}
