//! Decides from earlier jobs whether a migration starts, resumes, or is refused. Pure functions.

use store::postgres::{
    Table,
    jobs::{Job, JobStatus, Origin},
};
use uuid::Uuid;

use crate::{Error, options::Transfer};

/// Earlier jobs relevant to a migration of one collection into one table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EarlierJobs {
    /// The job to resume.
    pub(crate) unfinished: Option<Job>,
    /// The runs of existing rows.
    pub(crate) origins: Origins,
}

/// The runs of the rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins {
    /// Runs of the same collection.
    pub(crate) own_runs: Vec<Uuid>,
    /// Runs of other collections.
    pub(crate) other_runs: Vec<Uuid>,
}

/// Finds the `jobs` relevant to `origin` and `table`.
///
/// # Errors
/// When another migration is unfinished, or an earlier one used other columns.
pub(crate) fn look_back(jobs: &[Job], origin: &Origin, table: &Table) -> Result<EarlierJobs, Error> {
    let definition = table.definition();
    let is_own = |job: &Job| job.origin.collection_id == origin.collection_id;
    let standing = || jobs.iter().filter(|job| job.status != JobStatus::Undone);
    let here = || standing().filter(|job| job.table_name == table.name);

    // Ids of collections in a shared table cannot collide.
    let is_in_the_way = |job: &Job| is_own(job) || (job.table_name == table.name && table.shared.is_none());
    let concerned = standing().filter(|job| job.status.is_unfinished() && is_in_the_way(job));
    let mut unfinished = None;
    let is_unknown = |job: &&Job| job.status == JobStatus::Unknown && is_in_the_way(job);
    if let Some(job) = standing().find(is_unknown) {
        // A job of unknown status always has a problem; the error names the run.
        let problem = job.problems.first().cloned().unwrap_or_default();
        return Err(Error::Damaged { run: job.run_id, problem });
    }
    for job in concerned {
        let is_same = is_own(job)
            && job.table_name == table.name
            && job.origin.source == origin.source
            && job.definition == definition;
        if !is_same {
            return Err(Error::Unfinished(Box::new(job.clone())));
        }
        unfinished = Some(job.clone());
    }
    if let Some(job) = here().find(|job| is_own(job) && job.definition != definition) {
        return Err(Error::OtherMapping(Box::new(job.clone())));
    }
    Ok(EarlierJobs { unfinished, origins: Origins::of(jobs, origin, table) })
}

impl EarlierJobs {
    /// The `jobs` relevant to `transfer`.
    ///
    /// # Errors
    /// Those of [`look_back`].
    pub(crate) fn of(jobs: &[Job], transfer: &Transfer) -> Result<Self, Error> {
        look_back(jobs, &transfer.source.origin(), &transfer.table)
    }
}

impl Origins {
    /// The runs of the rows of `table`, split into those of `origin` and others.
    pub(crate) fn of(jobs: &[Job], origin: &Origin, table: &Table) -> Self {
        let here = jobs.iter().filter(|job| job.status != JobStatus::Undone && job.table_name == table.name);
        let (own, others): (Vec<&Job>, Vec<&Job>) =
            here.partition(|job| job.origin.collection_id == origin.collection_id);
        let runs = |jobs: Vec<&Job>| jobs.into_iter().map(|job| job.run_id).collect();
        Self { own_runs: runs(own), other_runs: runs(others) }
    }
}

#[cfg(test)]
mod tests {
    use records::Service;
    use store::postgres::jobs::Counts;

    use super::*;

    fn job(run: u128, status: JobStatus) -> Job {
        let table = Table::of(Service::Query);
        Job {
            id: Uuid::from_u128(run + 1_000),
            run_id: Uuid::from_u128(run),
            origin: origin(),
            definition: table.definition(),
            table_name: table.name,
            status,
            holder: Uuid::nil(),
            created_table: false,
            counts: Counts::default(),
            problems: Vec::new(),
        }
    }

    fn origin() -> Origin {
        Origin {
            collection_id: Uuid::from_u128(7),
            tenant: "t".into(),
            database: "d".into(),
            collection: "queries".into(),
            source: "/chroma".into(),
        }
    }

    fn look(jobs: &[Job]) -> Result<EarlierJobs, Error> {
        look_back(jobs, &origin(), &Table::of(Service::Query))
    }

    #[test]
    fn same_command_resumes_and_completed_runs_are_origins() {
        let jobs = [job(1, JobStatus::Complete), job(2, JobStatus::Undone), job(3, JobStatus::Copying)];
        let earlier = look(&jobs).expect("nothing conflicts");
        assert_eq!(earlier.unfinished.map(|job| job.run_id), Some(Uuid::from_u128(3)));
        assert_eq!(earlier.origins.own_runs, [1, 3].map(Uuid::from_u128));
        assert!(look(&[]).expect("nothing conflicts").unfinished.is_none());
    }

    #[test]
    fn unfinished_run_of_another_source_target_or_mapping_is_an_error() {
        let refused = |change: &dyn Fn(&mut Job)| {
            let mut job = job(1, JobStatus::Copied);
            change(&mut job);
            let error = look(&[job]).expect_err("the other run is not finished");
            assert!(matches!(error, Error::Unfinished(_)), "{error}");
        };
        refused(&|job| job.origin.source = "/elsewhere".into());
        refused(&|job| job.table_name = "other".into());
        refused(&|job| job.definition["dimension"] = 3.into());
        refused(&|job| job.origin.collection_id = Uuid::nil());
    }

    #[test]
    fn run_of_unknown_status_blocks_only_its_collection_and_table() {
        let mut odd = job(1, JobStatus::Unknown);
        odd.problems = vec!["`status` is `zzz`".to_owned()];
        let error = look(&[odd.clone()]).expect_err("it is not known what it does");
        assert!(matches!(&error, Error::Damaged { run, .. } if *run == odd.run_id), "{error}");
        odd.table_name = "other".into();
        odd.origin.collection_id = Uuid::nil();
        assert!(look(&[odd]).is_ok());
    }

    #[test]
    fn other_collection_of_another_table_is_irrelevant() {
        let mut other = job(1, JobStatus::Copying);
        other.table_name = "other".into();
        other.origin.collection_id = Uuid::nil();
        assert!(look(&[other]).is_ok());
    }

    #[test]
    fn collection_migrated_with_other_columns_is_an_error() {
        let mut other = job(1, JobStatus::Complete);
        other.definition["columns"] = serde_json::json!([]);
        assert!(matches!(look(&[other]), Err(Error::OtherMapping(_))));
    }
}
