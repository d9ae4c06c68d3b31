//! Gathers the facts, in read-only transactions that are bounded in time.

use std::{sync::Arc, time::Duration};

use records::{Embedding, Service};
use store::postgres::{Database, Table, jobs::JobStatus, schema::TableState, vector_index::Observation};

use super::{EmbeddingComparison, Examination, Examined, NotExamined, TableExamination, searches::measure};
use crate::observe::{known, known_and, observe};

/// Statement time-out, so that an interactive user gets a result.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A larger table is sampled down to this many rows: they took 6 s on two cores under fourfold load.
const SCANNED_ROWS: u64 = 200_000;
/// Number of texts to embed again, which takes some tenths of a second.
const RECOGNISED_TEXTS: u32 = 32;
/// They are sampled from as many pages as contain this many rows.
const RECOGNISED_FROM_ROWS: u64 = 5_000;
/// Cosine similarity above which two vectors count as those of the same text. Different kernels of the model differ
/// by a millionth; other models and other texts, except for a letter or two, are less similar.
const SAME_TEXT: f32 = 0.99;

/// Embeds texts by the model that the services use. It is called outside async tasks.
pub type Embed = Arc<
    dyn Fn(&[&str]) -> Result<Vec<Embedding>, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync
        + 'static,
>;

/// Examines the server and our tables without changing anything; parts that the role may not read or that take too
/// long are reported as not examined. Without `embed`, vectors are not compared with their texts.
///
/// # Errors
/// When the server cannot be queried, or the model fails.
pub async fn examine(database: &Database, embed: Option<&Embed>) -> Result<Examination, ExamineError> {
    let database = &database.read_only(STATEMENT_TIMEOUT);
    let server = database.server_facts().await?;
    let mut replicas = database.read_servers();
    replicas.retain(|server| server.is_replica);
    if server.session.is_unreadable() {
        // No statement on our tables would work.
        return Ok(Examination {
            server,
            replicas,
            tables: Vec::new(),
            absent: Vec::new(),
            collections: Ok(()),
            results: Ok(None),
            times: Ok(Vec::new()),
            hidden: Vec::new(),
        });
    }
    let jobs = seen(database.jobs().await)?;
    let of_jobs = jobs.as_deref().unwrap_or(&[]);
    let all = seen(known_and(database, of_jobs, &[]).await)?;
    let collections = jobs.as_ref().map(drop).and(all.as_ref().map(drop)).map_err(Clone::clone);
    let (mut tables, mut absent) = (Vec::new(), Vec::new());
    // Without the registry of collections, those of migrations.
    for table in all.unwrap_or_else(|_| known(of_jobs)) {
        let misfits = match database.table_state(&table).await {
            Ok(TableState::Absent) => {
                // Tables of undone migrations are expected to be absent.
                let is_services = Service::ALL.iter().any(|service| service.collection() == table.name);
                let mut of_table = jobs.iter().flatten().filter(|job| job.table_name == table.name);
                if is_services || of_table.any(|job| job.status != JobStatus::Undone) {
                    absent.push(table.name);
                }
                continue;
            }
            Ok(TableState::WithoutBookkeeping | TableState::Ready) => Vec::new(),
            Err(store::Error::Schema { problems, .. }) => problems,
            Err(error) => return Err(error.into()),
        };
        tables.push(examine_table(database, table, misfits, embed).await?);
    }
    // Rows of results are small, and their pages are read within a second.
    let results = seen(database.odd_results(1.0).await)?;
    let times = seen(database.odd_bookkeeping().await)?;
    let hidden = database.tables_with_hidden_rows().await?;
    Ok(Examination { server, replicas, tables, absent, collections, results, times, hidden })
}

/// An examination failed.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The database could not be queried.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The model failed on texts of a table.
    #[error("failed to embed texts of table `{table}` again")]
    Embed {
        /// The table.
        table: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

async fn examine_table(
    database: &Database,
    table: Table,
    misfits: Vec<String>,
    embed: Option<&Embed>,
) -> Result<TableExamination, ExamineError> {
    let facts = database.table_facts(&table).await?;
    let history = seen(database.last_searches(&table).await)?;
    if !misfits.is_empty() {
        return Ok(TableExamination {
            table,
            facts,
            misfits,
            indexes: Err(NotExamined::Misfit),
            searches: Err(NotExamined::Misfit),
            history,
            embeddings: Err(NotExamined::Misfit),
            odd: Err(NotExamined::Misfit),
            recognised: Err(NotExamined::Misfit),
        });
    }
    let indexes = seen(observed(database, &table).await)?;
    let searches = match &indexes {
        Ok(observation) => seen(measure(database, observation).await)?,
        Err(unseen) => Err(unseen.clone()),
    };
    let rows = match &indexes {
        Ok(observation) => observation.rows,
        // Without statistics, an upper bound: as many rows as fit if they contained only vectors.
        Err(_) => facts.estimated_rows.unwrap_or(facts.table_bytes / (4 * table.dimension as u64).max(1)),
    };
    let share = |wanted: u64| (wanted as f64 / rows.max(1) as f64).min(1.0);
    let embeddings = seen(database.embedding_health(&table, share(SCANNED_ROWS)).await)?;
    let odd = seen(database.odd_values(&table, share(SCANNED_ROWS)).await)?;
    let recognised = recognise(database, &table, share(RECOGNISED_FROM_ROWS), embed).await?;
    Ok(TableExamination { table, facts, misfits, indexes, searches, history, embeddings, odd, recognised })
}

/// Whether the vectors of sample rows match their texts.
async fn recognise(
    database: &Database,
    table: &Table,
    share: f64,
    embed: Option<&Embed>,
) -> Result<Examined<Option<EmbeddingComparison>>, ExamineError> {
    // The model of other collections is unknown.
    if !Service::ALL.iter().any(|service| Table::of(*service) == *table) {
        return Ok(Ok(None));
    }
    let Some(embed) = embed else { return Ok(Err(NotExamined::NoModel)) };
    let rows = match seen(database.sample_texts(table, share, RECOGNISED_TEXTS).await)? {
        Ok(rows) => rows,
        Err(unseen) => return Ok(Err(unseen)),
    };
    let embed = Arc::clone(embed);
    let compared = tokio::task::spawn_blocking(move || {
        let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
        let made = embed(&texts)?;
        let foreign = rows.iter().zip(&made).filter(|((_, stored), made)| cosine(stored, made) < SAME_TEXT);
        let count = |number: usize| u32::try_from(number).expect("few are sampled");
        Ok(EmbeddingComparison { compared: count(rows.len()), foreign: count(foreign.count()) })
    });
    let compared = compared.await.expect("embedding does not panic");
    let compared = compared.map_err(|source| ExamineError::Embed { table: table.name.clone(), source })?;
    Ok(Ok(Some(compared)))
}

/// The cosine similarity of two vectors; 0 if one of them is a zero vector.
fn cosine(one: &Embedding, other: &Embedding) -> f32 {
    let dot = |one: &Embedding, other: &Embedding| -> f32 {
        one.as_slice().iter().zip(other.as_slice()).map(|(x, y)| x * y).sum()
    };
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths > 0.0 { dot(one, other) / lengths } else { 0.0 }
}

/// The observation for the index plan; if it requires reading every vector, as far as possible within the time limit.
async fn observed(database: &Database, table: &Table) -> Result<Observation, store::Error> {
    match observe(database, table).await {
        Err(error) if error.is_timeout() => database.observe_indexes(table).await,
        observed => observed,
    }
}

/// Separates what could not be examined from failures.
fn seen<T>(result: Result<T, store::Error>) -> Result<Examined<T>, store::Error> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(store::Error::Privilege { remedy, .. }) => Ok(Err(NotExamined::Privilege(remedy))),
        Err(error) if error.is_timeout() => Ok(Err(NotExamined::TooSlow(STATEMENT_TIMEOUT))),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_depends_only_on_the_direction() {
        let vector = |components: [f32; 2]| Embedding::from(components.to_vec());
        assert!((cosine(&vector([1.0, 1.0]), &vector([3.0, 3.0])) - 1.0).abs() < 1e-6);
        assert!(cosine(&vector([1.0, 0.0]), &vector([0.0, 2.0])).abs() < 1e-6);
        assert_eq!(cosine(&vector([0.0, 0.0]), &vector([1.0, 0.0])), 0.0);
    }
}
