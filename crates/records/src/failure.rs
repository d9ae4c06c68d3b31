//! Failures as text.

use std::{any::Any, error::Error};

use crate::cut_short;

/// Characters of an error. Ours are shorter; longer ones repeat what was sent.
const ERROR_CHARACTERS: usize = 2_000;

/// An error with the whole chain of its causes, cut where it repeats what was sent, which it says then.
pub fn error_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push_str(&format!(": {error}"));
        cause = error.source();
    }
    cut_short(&chain, ERROR_CHARACTERS).into_owned()
}

/// What a panic said.
pub fn panic_message(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => {
            panic.downcast::<&str>().map_or_else(|_| "no message".to_owned(), |text| (*text).to_owned())
        }
    }
}
