//! Errors and panics as text.

use std::{any::Any, error::Error};

use crate::cut_short;

/// Longest text of an error, in characters. Ours are shorter; longer ones repeat the request.
const ERROR_CHARACTERS: usize = 2_000;

/// An error with the chain of its causes; one of more than 2,000 characters is truncated, and says so.
pub fn error_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push_str(&format!(": {error}"));
        cause = error.source();
    }
    cut_short(&chain, ERROR_CHARACTERS).into_owned()
}

/// The message of a panic.
pub fn panic_message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => {
            panic.downcast::<&str>().map_or_else(|_| "no message".to_owned(), |text| (*text).to_owned())
        }
    }
}
