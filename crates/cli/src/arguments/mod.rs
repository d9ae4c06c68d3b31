//! The command line.

mod installation;

use std::{fmt, net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use records::Service;
use uuid::Uuid;

pub(crate) use self::installation::{
    BackupArguments, DatabaseArguments, DbCommand, DistributeArguments, GenerateCommand, HealthArguments,
    RestoreArguments,
};

const AFTER_HELP: &str = "\
Each setting is taken from a flag, the environment or a .env file, in this order.
`panopticon config` prints the current settings; `panopticon config --help` lists all variables.

Exit codes:
  0    complete and verified
  1    failed; run again. If a migration's status is `verified`, only an index is missing: run
       `panopticon index apply`. Of `health`: not ready
  2    wrong usage or configuration, an incompatible database, or an unreadable source
  3    records were rejected, are missing, have no vector, or cannot be shown exactly; or
       judgements of a run have no result
  4    a comparison found a difference
  5    refused: the table or its indexes are locked by another process, another run is
       unfinished, rows edited in PostgreSQL conflict, or `restore` would replace rows
  6    `doctor` found errors or warnings, or the recall that `index apply` or `index tune` measured
       is below the target
  130  interrupted
  141  the reader of standard output closed it early";

/// Evaluates LLMs, stores prompts, outputs and scores in PostgreSQL, and migrates them there from ChromaDB.
#[derive(Debug, Parser)]
#[command(
    version,
    disable_version_flag = true,
    arg_required_else_help = true,
    override_usage = "panopticon [OPTIONS] <COMMAND>",
    after_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    /// Print the version
    #[arg(short = 'V', long)]
    pub(crate) version: bool,
    /// With --version: print one JSON object with the build, the schema, and the versions of PostgreSQL and pgvector
    #[arg(long, requires = "version")]
    pub(crate) json: bool,
    /// Absent only with `version`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Flags that every command takes. Their help texts are in the table of settings.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SettingFlags {
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) model_dir: Option<String>,
}

impl SettingFlags {
    /// The value of `flag`, if it is one of these and given.
    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        match flag {
            "--database-url" => self.database_url.as_deref(),
            "--data-dir" => self.data_dir.as_deref(),
            "--model-dir" => self.model_dir.as_deref(),
            _ => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sets everything up, migrates three sample Chroma directories, searches them, and adds sample verdicts and labels
    Demo {
        /// Then serve the demo's database, as `serve --demo` does
        #[arg(long)]
        serve: bool,
    },
    /// Copies Chroma collections into PostgreSQL and verifies every record; rerun the command to resume an interrupted
    /// migration
    Migrate(Box<MigrateArguments>),
    /// Compares Chroma collections with their tables record by record, without changing anything
    Verify(Box<VerifyArguments>),
    /// Shows the contents of a Chroma directory and whether all of it can be migrated exactly
    Inspect(InspectArguments),
    /// Prints each record of a Chroma directory as a line of JSON
    Dump(DumpArguments),
    /// Finds the stored texts nearest in meaning to a text
    Search(SearchArguments),
    /// Judges the answers of models
    #[command(subcommand)]
    Judge(JudgeCommand),
    /// Serves the three services over HTTP, and all of them behind one gateway; or Chroma's API (`serve chroma`)
    Serve(ServeArguments),
    /// Shows, plans, builds and tunes the vector indexes that searches use
    #[command(subcommand)]
    Index(IndexCommand),
    /// Examines server, tables, indexes, searches and embeddings, and reports problems and fixes without changing anything
    Doctor {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        replicas: ReplicaFlags,
    },
    /// Maintains tables while they are in use, as `serve` does: dead rows, indexes and search parameters that no longer
    /// fit, statistics, old job history
    Maintain(MaintainArguments),
    /// Prints whether a service is ready to serve requests; exit code 0 if it is
    Health(HealthArguments),
    /// Backs up the database of the embedded PostgreSQL while it is in use
    Backup(BackupArguments),
    /// Restores a backup into the embedded PostgreSQL, and compares every table with it
    Restore(RestoreArguments),
    /// Opens or stops the embedded PostgreSQL, or prints its URL
    #[command(subcommand)]
    Db(DbCommand),
    /// Prints shell completions, the reference of commands, a .env file or a compose file, or writes manual pages
    #[command(subcommand)]
    Generate(GenerateCommand),
    /// Prints each current setting and its origin
    Config {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
}

/// Collections and their tables.
#[derive(Debug, Args)]
pub(crate) struct TransferArguments {
    /// Collections to process
    #[arg(value_enum)]
    pub(crate) what: Option<MigrationScope>,
    /// Name of the collection, after `collection`
    pub(crate) name: Option<String>,
    /// Chroma persist directory, which is never written to, or URL of a Chroma server
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) scope: ScopeFlags,
    /// Table of the collection [default: the collection's name]
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// With `collections`: only those whose name matches, where * is any text and ? any character. May be repeated
    #[arg(long = "match", value_name = "PATTERN")]
    pub(crate) patterns: Vec<String>,
    /// With `collections`: one table for all of them, and one more for each further dimension or distance [default: a
    /// table each, named after the collection]
    #[arg(long, value_name = "TABLE")]
    pub(crate) into: Option<String>,
    /// With --into: column for the name of each row's collection [default: collection_name]
    #[arg(long, value_name = "COLUMN", requires = "into")]
    pub(crate) collection_column: Option<String>,
    /// Column for the documents [default: document]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text_column: Option<String>,
    /// Metadata key of the category, stored in a column that is `unknown` where the key is absent
    #[arg(long, value_name = "KEY[:COLUMN]")]
    pub(crate) category: Option<String>,
    /// Metadata key to store as a column too: text (the default), bigint, double, boolean or timestamp. May be repeated
    #[arg(long, value_name = "KEY[:COLUMN[:TYPE]]")]
    pub(crate) column: Vec<String>,
    /// Embed the text of each record that has no vector; by default such records are rejected
    #[arg(long)]
    pub(crate) embed_missing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    #[command(flatten)]
    pub(crate) transfer: TransferArguments,
    /// Compare both sides and print what would be done, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Connections to copy with [default: one per core, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) jobs: Option<u8>,
    /// Rows per transaction
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_rows: u32,
    /// Records that PostgreSQL cannot store: stop before anything is changed, or keep them in `migration_rejects`
    #[arg(long, value_enum, default_value_t = OnReject::Fail)]
    pub(crate) on_reject: OnReject,
    /// Delete migrated rows whose records are gone from ChromaDB
    #[arg(long)]
    pub(crate) delete: bool,
    /// Overwrite migrated rows that were edited in PostgreSQL
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Skip the comparison of both sides at the end
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Vector index of tables from 10,000 rows on [default: VECTOR_INDEX_TYPE]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) index: Option<IndexChoice>,
    /// Undo a run: remove the rows it added, restore those it changed
    #[arg(long, value_name = "RUN", conflicts_with_all = ["what", "dry_run", "delete", "no_verify", "index"])]
    pub(crate) undo: Option<Uuid>,
    /// Print the report as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// The vector index after a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IndexChoice {
    /// HNSW with measured search parameters if that takes less than a minute, otherwise IVFFlat, which `serve` or
    /// `index apply` replaces by HNSW
    Auto,
    /// HNSW with measured search parameters, however long it takes
    Hnsw,
    /// IVFFlat
    Ivfflat,
    /// None: searches use exact scans
    None,
}

impl IndexChoice {
    /// The index type of the policy.
    pub(crate) fn index_type(self) -> upkeep::IndexType {
        match self {
            Self::Auto => upkeep::IndexType::Auto,
            Self::Hnsw => upkeep::IndexType::Hnsw,
            Self::Ivfflat => upkeep::IndexType::Ivfflat,
            Self::None => upkeep::IndexType::None,
        }
    }
}

/// What to do with records that PostgreSQL cannot store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnReject {
    /// Stop before anything is changed, and list them
    Fail,
    /// Keep each in `migration_rejects`, and copy the others
    Quarantine,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) transfer: TransferArguments,
    /// Print the report as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which collections to migrate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MigrationScope {
    /// All three services, each from the directory that its variable names
    All,
    /// Query storage: collection `queries`
    #[value(alias = "queries")]
    Query,
    /// Evaluation storage: collection `evaluation_metrics`
    #[value(alias = "metrics")]
    Evaluation,
    /// Judge service: collection `llm_outputs`
    #[value(alias = "outputs")]
    Judge,
    /// Any collection, by its NAME
    Collection,
    /// Every collection of every database of the source, in one run
    Collections,
}

impl MigrationScope {
    /// The services to process; empty for collections by name.
    pub(crate) fn services(self) -> Vec<Service> {
        match self {
            Self::All => Service::ALL.to_vec(),
            Self::Query => vec![Service::Query],
            Self::Evaluation => vec![Service::Evaluation],
            Self::Judge => vec![Service::Judge],
            Self::Collection | Self::Collections => Vec::new(),
        }
    }
}

/// The source, and which part of it to read.
#[derive(Debug, Args)]
pub(crate) struct SourceArguments {
    /// Chroma persist directory, which is never written to, or URL of a Chroma server
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    #[command(flatten)]
    pub(crate) scope: ScopeFlags,
}

/// Which part of a source to read, and the credentials of its server.
#[derive(Args)]
pub(crate) struct ScopeFlags {
    /// Only collections of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only collections of databases with this name
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// Token for the server; prefer the environment, where other users cannot see it
    #[arg(long)]
    pub(crate) token: Option<String>,
    /// Header that the server expects the token in [default: authorization]
    #[arg(long, value_enum, value_name = "HEADER")]
    pub(crate) token_header: Option<TokenHeader>,
}

impl fmt::Debug for ScopeFlags {
    // Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopeFlags")
            .field("tenant", &self.tenant)
            .field("database", &self.database)
            .field("token_header", &self.token_header)
            .finish_non_exhaustive()
    }
}

/// The header in which a Chroma server expects the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenHeader {
    /// `Authorization: Bearer TOKEN`
    Authorization,
    /// `X-Chroma-Token: TOKEN`
    XChromaToken,
}

impl From<TokenHeader> for store::chroma::TokenHeader {
    fn from(header: TokenHeader) -> Self {
        match header {
            TokenHeader::Authorization => Self::Authorization,
            TokenHeader::XChromaToken => Self::XChromaToken,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    #[command(flatten)]
    pub(crate) source: SourceArguments,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArguments {
    #[command(flatten)]
    pub(crate) source: SourceArguments,
    /// Only collections with this name; of all tenants and databases unless --tenant or --database is given
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// Service to search: query (queries), evaluation (metrics) or judge (outputs). Tables of Chroma collections are
    /// searched by Chroma clients, through `panopticon serve chroma`
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Service,
    /// Text to search for
    pub(crate) text: String,
    /// Maximum number of results
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) limit: u32,
    /// Only records of this theme (query and judge)
    #[arg(long)]
    pub(crate) theme: Option<String>,
    /// Only metrics of this type (evaluation)
    #[arg(long)]
    pub(crate) metric_type: Option<String>,
    /// Only outputs of this model (judge)
    #[arg(long)]
    pub(crate) model_id: Option<String>,
    /// Use an exact scan instead of the vector index
    #[arg(long)]
    pub(crate) exact: bool,
    /// Search the database of `panopticon demo`
    #[arg(long, conflicts_with = "database_url")]
    pub(crate) demo: bool,
    /// Print one JSON array instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArguments {
    /// One service, or the gateway for services that run separately [default: all three services, and all routes on
    /// the gateway's port]
    #[arg(value_enum)]
    pub(crate) what: Option<Served>,
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// Port of the service, the gateway, or Chroma's API (8000 unless GATEWAY_PORT is set); 0 chooses a free port
    #[arg(long, value_name = "PORT", requires = "what")]
    pub(crate) port: Option<u16>,
    /// Allow a non-loopback address without an API_KEY
    #[arg(long)]
    pub(crate) allow_open: bool,
    /// Serve the database of `panopticon demo`, whatever the settings say about storages
    #[arg(long, conflicts_with = "what")]
    pub(crate) demo: bool,
    /// Set by `demo --serve`.
    #[arg(skip)]
    pub(crate) makes_demo: bool,
    #[command(flatten)]
    pub(crate) replicas: ReplicaFlags,
}

/// The replicas of the database.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReplicaFlags {
    #[arg(long, value_name = "URLS")]
    pub(crate) database_replica_urls: Option<String>,
}

/// What one process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Served {
    /// Query storage
    Query,
    /// Evaluation storage
    Evaluation,
    /// Judge service
    Judge,
    /// The gateway for QUERY_STORAGE_URL, EVALUATION_STORAGE_URL, JUDGE_SERVICE_URL and, if set, PANOPTICON_CHROMA_API_URL
    Gateway,
    /// Chroma's HTTP API, for programs that talk to a Chroma server; without an argument, the gateway serves it too
    Chroma,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Shows each table's vector index, its size, and the measured recall of its search parameters
    Status(IndexArguments),
    /// Shows what `apply` would do, and why
    Plan(IndexArguments),
    /// Builds, swaps and drops indexes as planned, and tunes their search parameters, while the tables are in use;
    /// rerun the command to resume after an interruption
    Apply {
        #[command(flatten)]
        arguments: IndexArguments,
        /// Show what would be done, as `plan` does, without changing anything
        #[arg(long)]
        dry_run: bool,
    },
    /// Measures again, on each table's rows, which search parameters meet VECTOR_RECALL_TARGET
    Tune(IndexArguments),
}

#[derive(Debug, Args)]
pub(crate) struct IndexArguments {
    /// Only this table [default: all that have vectors]
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// Print one JSON array instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MaintainArguments {
    /// Run one round and exit [default: repeat every MAINTENANCE_INTERVAL_SECONDS until a signal arrives]
    #[arg(long)]
    pub(crate) once: bool,
    /// Show what would be done, and why, without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object per round instead of lines
    #[arg(long)]
    pub(crate) json: bool,
    /// Only this table [default: all]
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JudgeCommand {
    /// Reads the score or the winner from a judge's answer on standard input, and prints it as JSON
    Parse(ParseArguments),
    /// Has models answer queries and judges score the answers, and stores both; can be interrupted and resumed
    Run(Box<RunArguments>),
    /// Compares the verdicts of judges with the labels of people that are stored
    Agreement(AgreementArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AgreementArguments {
    /// Only labels of this annotator
    #[arg(long, value_name = "NAME")]
    pub(crate) annotator: Option<String>,
    /// Only judgements by this metric
    #[arg(long, value_name = "ID")]
    pub(crate) metric: Option<String>,
    /// Only judgements of this judge
    #[arg(long, value_name = "MODEL")]
    pub(crate) judge: Option<String>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Resume this run instead of starting a new one
    #[arg(long, value_name = "RUN", conflicts_with_all = ["models", "metrics", "theme", "query_ids", "filter"])]
    pub(crate) resume: Option<String>,
    /// With --resume: retry what failed
    #[arg(long, requires = "resume")]
    pub(crate) retry_failed: bool,
    /// Name of the run
    #[arg(long, conflicts_with = "resume")]
    pub(crate) name: Option<String>,
    /// Ask the newest queries of this theme
    #[arg(long)]
    pub(crate) theme: Option<String>,
    /// Ask the query with this id; may be repeated
    #[arg(long = "query", value_name = "ID", conflicts_with_all = ["theme", "filter"])]
    pub(crate) query_ids: Vec<String>,
    /// Ask queries whose metadata match this filter, in the syntax of ChromaDB's `where`
    #[arg(long = "where", value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Maximum number of queries [default: 1000]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Model that answers; may be repeated. MODEL=PROVIDER if the name does not imply the provider: openai for any
    /// server with OpenAI's API
    #[arg(long = "model", value_name = "MODEL[=PROVIDER]", required_unless_present = "resume")]
    pub(crate) models: Vec<String>,
    /// Model that judges [default: gpt-4]; may be repeated, for a panel
    #[arg(long = "judge", value_name = "MODEL[=PROVIDER]")]
    pub(crate) judges: Vec<String>,
    /// Evaluation metric whose prompt the judges get; may be repeated
    #[arg(long = "metric", value_name = "ID", required_unless_present = "resume")]
    pub(crate) metrics: Vec<String>,
    /// Compare the answers of each pair of models, in both orders, instead of scoring them
    #[arg(long)]
    pub(crate) pairwise: bool,
    /// Number of times that each judge gets the same prompt [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) repeats: Option<u32>,
    /// Temperature with which models answer [default: MODEL_DEFAULT_TEMPERATURE]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) temperature: Option<f64>,
    /// Call judges again instead of using their stored answers
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Stop after N calls
    #[arg(long, value_name = "N")]
    pub(crate) max_requests: Option<u64>,
    /// Stop after N tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// Stop once calls have cost this many US dollars; for models whose prices are known
    #[arg(long, value_name = "USD")]
    pub(crate) max_cost: Option<f64>,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_time: Option<u64>,
    /// Print the run as one JSON object at the end
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ParseArguments {
    /// What the judge was asked for
    #[arg(long, value_enum, default_value_t = VerdictKind::Score)]
    pub(crate) kind: VerdictKind,
    /// Lowest score of the judge's scale
    #[arg(long, value_name = "NUMBER", requires = "max", allow_negative_numbers = true)]
    pub(crate) min: Option<f64>,
    /// Highest score of the judge's scale: `8/10` counts only if it is 10
    #[arg(long, value_name = "NUMBER", requires = "min", allow_negative_numbers = true)]
    pub(crate) max: Option<f64>,
    /// Read one JSON object with a `text` from each line, and print one result per line
    #[arg(long)]
    pub(crate) jsonl: bool,
}

/// What a judge was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerdictKind {
    /// A number.
    Score,
    /// Which of two answers is better.
    Winner,
}
