//! The command line.

use std::{fmt, net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use records::Service;
use uuid::Uuid;

use crate::source::Selection;

const AFTER_HELP: &str = "\
Every setting comes from a flag, the environment, or a .env file, in this order; `panopticon config` shows them.
Without DATABASE_URL, Panopticon runs a PostgreSQL server of its own in its data folder. Without a flag:
  QUERY_STORAGE_TYPE, EVALUATION_STORAGE_TYPE, JUDGE_STORAGE_TYPE   postgres (the default) or chroma
  LOG_LEVEL                                                         ERROR, WARNING (the default), INFO or DEBUG

Exit codes: 0 complete and verified; 1 failed, run again; 2 wrong usage or configuration, or unreadable source;
3 records were rejected, are missing, have no vector, or cannot be shown exactly; 4 a comparison found a
difference; 5 refused: another process holds the table or its indexes, another run is unfinished, or rows edited in
PostgreSQL are in the way; 6 `doctor` found errors or warnings;
130 interrupted; 141 the reader of standard output went away.";

/// Evaluates language models; keeps prompts, outputs and scores in PostgreSQL and moves them there from ChromaDB.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) settings: SettingFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SettingFlags {
    /// PostgreSQL database to use: postgresql://user:password@host:5432/database [env: DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Folder of the embedded server, its programs and the model [env: PANOPTICON_DATA_DIR] [default: the
    /// platform's data folder; /var/lib/panopticon for root]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Folder with your own copy of all-MiniLM-L6-v2 (model.safetensors, tokenizer.json, vocab.txt) [env:
    /// PANOPTICON_MODEL_DIR] [default: downloaded into the data folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) model_dir: Option<String>,
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
    /// Keeps tables in order while they are in use, as `serve` does by itself: dead rows, indexes and search settings that
    /// no longer fit, statistics, old records of what was done
    Maintain(MaintainArguments),
