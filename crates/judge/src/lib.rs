//! Evaluation of models' answers.
//!
//! Entry points of the engine: [`engine::Judging`] evaluates queries while its caller waits, [`runs::Runs`] many
//! queries in the background. Both have their own requests, progress and errors, which the services and the command
//! line convert.
//!
//! Its parts: [`provider::limits::Caller`] calls models; [`registry`] contains built-in models and their prices;
//! [`rubric::Rubric`] creates prompts for judges and [`rubric::Verdict`] evaluates their answers, which [`parse`]
//! parses; [`statistics`] estimates from many verdicts, and [`results`] evaluates stored ones.

pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod lenient;
pub mod outcome;
pub mod parse;
pub mod provider;
pub mod registry;
pub mod results;
pub mod rubric;
pub mod runs;
pub mod statistics;
