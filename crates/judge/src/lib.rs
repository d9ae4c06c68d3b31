//! Judging what a model answered.
//!
//! Entry points: [`provider::limits::Caller`] has models answer; [`registry`] knows them and their prices;
//! [`parse::read_score`] and [`parse::read_winner`] say what a judge's words are worth.

pub mod parse;
pub mod provider;
pub mod registry;
