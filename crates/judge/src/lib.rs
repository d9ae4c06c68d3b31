//! Judging what a model answered.
//!
//! Entry points: [`parse::read_score`] and [`parse::read_winner`] say what a judge's words are worth.

pub mod parse;
