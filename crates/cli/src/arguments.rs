//! The command line.

use std::{fmt, net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use records::Service;
use uuid::Uuid;

const AFTER_HELP: &str = "\
Every setting comes from a flag, the environment, or a .env file, in this order.
`panopticon config` prints those in force; `panopticon config --help` lists all variables.

Exit codes:
  0    complete and verified
  1    failed; run again (a migration whose status is `verified` lacks an index only: `panopticon index apply`)
  2    wrong usage or configuration, a database that does not fit, or unreadable source
  3    records were rejected, are missing, have no vector, or cannot be shown exactly; or judgements of a run are no
       measurement
  4    a comparison found a difference
  5    refused: another process holds the table or its indexes, another run is unfinished, or rows edited in
       PostgreSQL are in the way
  6    `doctor` found errors or warnings
  130  interrupted
  141  the reader of standard output closed it before its end";

/// Evaluates language models; keeps prompts, outputs and scores in PostgreSQL and moves them there from ChromaDB.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes. The table of settings has their help texts, as that of `--bind`.
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
    /// Sets everything up, migrates three sample Chroma directories, and searches them
    Demo,
    /// Copies Chroma collections into PostgreSQL and verifies every record; killed at any moment, it goes on when run
    /// again
    Migrate(Box<MigrateArguments>),
    /// Compares Chroma collections with their tables, record by record, and changes nothing
    Verify(Box<VerifyArguments>),
    /// Tells what is in a Chroma directory, and whether all of it can be migrated exactly
    Inspect(InspectArguments),
    /// Prints every record of a Chroma directory as a line of JSON
    Dump(DumpArguments),
    /// Finds the stored texts that are nearest in meaning to a text
    Search(SearchArguments),
    /// Judges what models answered
    #[command(subcommand)]
    Judge(JudgeCommand),
    /// Serves the three services over HTTP, and all of them under one address
    Serve(ServeArguments),
    /// Looks after the vector indexes that searches use: which there are, which there should be, how much they find
    #[command(subcommand)]
    Index(IndexCommand),
    /// Examines server, tables, indexes, searches and embeddings, changes nothing, and says what hurts and what to do
    Doctor {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Keeps tables in order while they are in use, as `serve` does by itself: dead rows, indexes and search settings that
    /// no longer fit, statistics, old records of what was done
    Maintain(MaintainArguments),
    /// Opens, names or stops the embedded PostgreSQL
    #[command(subcommand)]
    Db(DbCommand),
    /// Prints every setting in force and where it came from
    Config {
        /// Print one JSON object instead of lines
        #[arg(long)]
        json: bool,
    },
}

/// Which collections, and which tables they belong to.
#[derive(Debug, Args)]
pub(crate) struct TransferArguments {
    /// Which collections
    #[arg(value_enum)]
    pub(crate) what: Option<What>,
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
    /// Metadata key that sorts the records, into a column that is `unknown` where the key is absent
    #[arg(long, value_name = "KEY[:COLUMN]")]
    pub(crate) category: Option<String>,
    /// Metadata key to have as a column too: text (the default), bigint, double, boolean or timestamp. May be repeated
    #[arg(long, value_name = "KEY[:COLUMN[:TYPE]]")]
    pub(crate) column: Vec<String>,
    /// Make a vector from the text of each record that has none; without it such records are rejected
    #[arg(long)]
    pub(crate) embed_missing: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    #[command(flatten)]
    pub(crate) transfer: TransferArguments,
    /// Look at both sides, print what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Connections to copy on [default: one a core, at most 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) jobs: Option<u8>,
    /// Rows in one transaction
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_rows: u32,
    /// Records that PostgreSQL cannot hold: stop before anything is changed, or keep them in `migration_rejects`
    #[arg(long, value_enum, default_value_t = OnReject::Fail)]
    pub(crate) on_reject: OnReject,
    /// Delete migrated rows whose records are gone from ChromaDB
    #[arg(long)]
    pub(crate) delete: bool,
    /// Write over migrated rows that were edited in PostgreSQL
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Do not compare both sides at the end
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Take a run back: remove the rows it brought, restore those it changed
    #[arg(long, value_name = "RUN", conflicts_with_all = ["what", "dry_run", "delete", "no_verify"])]
    pub(crate) undo: Option<Uuid>,
    /// Print the report as one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with records that PostgreSQL cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnReject {
    /// Stop before anything is changed, and name them
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
pub(crate) enum What {
    /// All three services, each from the directory that the environment names
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

impl What {
    /// The services that are meant; none of a collection by name.
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

/// What to read, and which part of it.
#[derive(Debug, Args)]
pub(crate) struct SourceArguments {
    /// Chroma persist directory, which is never written to, or URL of a Chroma server
    #[arg(value_name = "SOURCE")]
    pub(crate) source: PathBuf,
    #[command(flatten)]
    pub(crate) scope: ScopeFlags,
}

/// Which part of a source is meant, and what its server asks for.
#[derive(Args)]
pub(crate) struct ScopeFlags {
    /// Only collections of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only collections of databases of this name
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// Token that the server asks for; better in the environment, where other users do not see it
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

/// Where a Chroma server looks for the token.
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
    /// Only collections of this name, of all tenants and databases unless --tenant and --database say which
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// Where to search: query (queries), evaluation (metrics) or judge (outputs)
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Service,
    /// What to search for
    pub(crate) text: String,
    /// Most results to print
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
    /// Compare every record, without the vector index, for recall 1
    #[arg(long)]
    pub(crate) exact: bool,
    /// Search what `panopticon demo` has migrated
    #[arg(long, conflicts_with = "database_url")]
    pub(crate) demo: bool,
    /// Print one JSON array instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// One service alone, or the gateway before services that run apart [default: all three services, and all routes
    /// at the gateway's port]
    #[arg(value_enum)]
    pub(crate) what: Option<Served>,
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// Port of the one service, or of the gateway; 0 is any that is free
    #[arg(long, value_name = "PORT", requires = "what")]
    pub(crate) port: Option<u16>,
    /// Listen beyond this machine without an API_KEY
    #[arg(long)]
    pub(crate) allow_open: bool,
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
    /// The gateway to QUERY_STORAGE_URL, EVALUATION_STORAGE_URL and JUDGE_SERVICE_URL
    Gateway,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Prints the embedded server's URL, with its password, and leaves the server running
    Url {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Opens psql on the embedded server
    Psql {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Arguments for psql itself
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Stops the embedded server
    Stop,
}

/// Which database of the embedded server, and as whom.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArguments {
    /// The demo's database
    #[arg(long)]
    pub(crate) demo: bool,
    /// As the server's superuser, whom commands are never, to make roles or change extensions
    #[arg(long)]
    pub(crate) superuser: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Tells each table's vector index, its size, and what its search settings were measured to find
    Status(IndexArguments),
    /// Tells what `apply` would do, and why
    Plan(IndexArguments),
    /// Builds, swaps and drops indexes as planned, and measures their search settings, while the tables are in use;
    /// killed at any moment, it goes on when run again
    Apply {
        #[command(flatten)]
        arguments: IndexArguments,
        /// Tell what would be done, as `plan` does, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Measures again which search settings meet VECTOR_RECALL_TARGET, on each table's own rows
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
    /// Do what is to be done now, and end [default: again each MAINTENANCE_INTERVAL_SECONDS, until a signal]
    #[arg(long)]
    pub(crate) once: bool,
    /// Tell what would be done, and why, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object for each round instead of lines
    #[arg(long)]
    pub(crate) json: bool,
    /// Only this table [default: all]
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JudgeCommand {
    /// Reads the score or the winner from a judge's words on standard input, and prints it as JSON
    Parse(ParseArguments),
    /// Has models answer queries and judges judge the answers, and keeps it all; can be interrupted and resumed
    Run(Box<RunArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Go on with this run instead of beginning one
    #[arg(long, value_name = "RUN", conflicts_with_all = ["models", "metrics", "theme", "query_ids", "filter"])]
    pub(crate) resume: Option<String>,
    /// With --resume: do again what failed
    #[arg(long, requires = "resume")]
    pub(crate) retry_failed: bool,
    /// What to call the run
    #[arg(long, conflicts_with = "resume")]
    pub(crate) name: Option<String>,
    /// Ask the newest queries of this theme
    #[arg(long)]
    pub(crate) theme: Option<String>,
    /// Ask the query with this id; may be repeated
    #[arg(long = "query", value_name = "ID", conflicts_with_all = ["theme", "filter"])]
    pub(crate) query_ids: Vec<String>,
    /// Ask queries whose metadata satisfy this, written as ChromaDB's `where`
    #[arg(long = "where", value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Most queries that are asked [default: 1000]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Model that answers; may be repeated. MODEL=PROVIDER for one whose name suggests no provider: openai for every
    /// server that speaks its API
    #[arg(long = "model", value_name = "MODEL[=PROVIDER]", required_unless_present = "resume")]
    pub(crate) models: Vec<String>,
    /// Model that judges [default: gpt-4]; may be repeated, for a panel
    #[arg(long = "judge", value_name = "MODEL[=PROVIDER]")]
    pub(crate) judges: Vec<String>,
    /// Evaluation metric by whose prompt is judged; may be repeated
    #[arg(long = "metric", value_name = "ID", required_unless_present = "resume")]
    pub(crate) metrics: Vec<String>,
    /// Have each two models' answers compared, in both orders, instead of scored
    #[arg(long)]
    pub(crate) pairwise: bool,
    /// Times that each judge is asked the same [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) repeats: Option<u32>,
    /// Temperature with which models answer [default: MODEL_DEFAULT_TEMPERATURE]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) temperature: Option<f64>,
    /// Ask judges again what they were asked before
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Stop after so many calls
    #[arg(long, value_name = "N")]
    pub(crate) max_requests: Option<u64>,
    /// Stop after so many tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// Stop once it has cost so much; for models whose prices are known
    #[arg(long, value_name = "USD")]
    pub(crate) max_cost: Option<f64>,
    /// Stop after so many seconds
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
    /// Worst score of the judge's scale
    #[arg(long, value_name = "NUMBER", requires = "max", allow_negative_numbers = true)]
    pub(crate) min: Option<f64>,
    /// Best score of the judge's scale: `8/10` counts only if it is 10
    #[arg(long, value_name = "NUMBER", requires = "min", allow_negative_numbers = true)]
    pub(crate) max: Option<f64>,
    /// Read one JSON object with a `text` from each line, and print one answer for each
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
