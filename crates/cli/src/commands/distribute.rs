//! `panopticon db distribute`: distributes tables over the workers of Citus.

use anyhow::anyhow;
use records::Service;
use store::postgres::{Database, Placement, Table};

use crate::{
    arguments::DistributeArguments,
    configuration::Configuration,
    connection::Connection,
    exit::{ExitCode, Failure},
    output::print,
};

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &DistributeArguments,
) -> Result<ExitCode, Failure> {
    let connection = Connection::open(configuration).await?;
    let done = carry_out(&connection.database, arguments).await;
    connection.close().await?;
    done
}

async fn carry_out(database: &Database, arguments: &DistributeArguments) -> Result<ExitCode, Failure> {
    let known = Service::ALL.map(|service| Table::of(service).name);
    if let Some(table) = arguments.tables.iter().find(|table| !known.contains(table)) {
        let known = known.join(", ");
        return Err(Failure::usage(anyhow!(
            "table `{table}` cannot be distributed: expected one of {known}"
        )));
    }
    let workers = database.active_workers().await?;
    let shards = arguments.shards.unwrap_or(workers);
    // All are looked at first, so that a missing one changes nothing.
    let mut steps = Vec::new();
    for table in known.iter().filter(|table| arguments.tables.is_empty() || arguments.tables.contains(table))
    {
        match database.placement(table).await? {
            Some(placement) => steps.push((table, placement)),
            None if arguments.tables.is_empty() => {}
            None => return Err(Failure::usage(anyhow!("there is no table `{table}`"))),
        }
    }
    for (table, placement) in steps {
        let step = if arguments.undo { collected(placement) } else { distributed(placement, shards) };
        let Some(step) = step else {
            print(&format!("{table}: {}", described(placement)))?;
            continue;
        };
        if arguments.dry_run {
            print(&format!("{table}: {}; would {step}", described(placement)))?;
            continue;
        }
        eprintln!("{table}: {step}");
        match arguments.undo {
            true => database.undistribute(table).await?,
            false => database.distribute(table, shards).await?,
        }
        let placement = database.placement(table).await?.unwrap_or(placement);
        print(&format!("{table}: {}", described(placement)))?;
    }
    if !arguments.dry_run {
        eprintln!(
            "run `panopticon index apply` to build and measure the vector indexes that the tables need now"
        );
    }
    Ok(ExitCode::Complete)
}

/// What remains to be done to distribute a table.
fn distributed(placement: Placement, shards: u32) -> Option<String> {
    match placement {
        Placement::Local | Placement::Whole => Some(format!("distribute it over {shards} shards")),
        Placement::Distributed { has_leftover: true, .. } => {
            Some("remove the rows that are left on the coordinator".to_owned())
        }
        Placement::Distributed { .. } => None,
    }
}

/// What remains to be done to undo that.
fn collected(placement: Placement) -> Option<String> {
    match placement {
        Placement::Local => None,
        Placement::Whole | Placement::Distributed { .. } => {
            Some("store it on the coordinator, without reads and writes meanwhile".to_owned())
        }
    }
}

fn described(placement: Placement) -> String {
    match placement {
        Placement::Local => "stored on the coordinator".to_owned(),
        Placement::Whole => "stored on the coordinator, known to Citus".to_owned(),
        Placement::Distributed { shards, .. } => format!("distributed over {shards} shards"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_distribution_is_resumed_and_a_complete_one_is_not() {
        let done = Placement::Distributed { shards: 2, has_leftover: false };
        let interrupted = Placement::Distributed { shards: 2, has_leftover: true };
        assert_eq!(distributed(done, 2), None);
        assert_eq!(distributed(Placement::Whole, 2), distributed(Placement::Local, 2));
        assert!(distributed(interrupted, 2).is_some_and(|step| step.contains("left on the coordinator")));
        assert_eq!(collected(Placement::Local), None);
        assert!(collected(done).is_some() && collected(Placement::Whole).is_some());
    }
}
