//! Judging what a model answered.
//!
//! Entry points of the engine: [`engine::Judging`] evaluates what its caller waits for, [`runs::Runs`] many queries in the
//! background. Both speak requests, progress and errors of their own; the services and the command line translate.
//!
//! What it is made of: [`provider::limits::Caller`] has models answer; [`registry`] knows them and their prices;
//! [`rubric::Rubric`] makes prompts for judges and [`rubric::Verdict`] reads their answers, by [`parse`], which says what
//! a judge's words are worth; [`statistics`] says what many verdicts mean, and [`results`] what stored ones do.

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
