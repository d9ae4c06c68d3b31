//! libpq's environment variables. They are the user's settings for the database of `DATABASE_URL`, and say nothing about
//! our own server: so they are taken out of this process's environment before anything else looks, the driver and the
//! programs that we run included, and given to that one URL.

use std::{env, ffi::OsString, sync::OnceLock};

use provision::postgres::LIBPQ_VARIABLES;

static TAKEN: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Takes them. To be called before there is a second thread.
pub(crate) fn take_libpq() {
    let mut taken = Vec::new();
    for name in LIBPQ_VARIABLES {
        let Some(value) = env::var_os(name) else { continue };
        // What is not Unicode is refused where it matters: no parameter's value looks like this.
        taken.push((name.to_owned(), value.to_string_lossy().into_owned()));
        // SAFETY: this is the process's only thread.
        unsafe { env::remove_var(name) };
    }
    TAKEN.set(taken).expect("they are taken once");
}

/// Name and value of those that were set.
pub(crate) fn libpq() -> &'static [(String, String)] {
    TAKEN.get().map_or(&[], Vec::as_slice)
}

/// The environment variable `name`, libpq's included.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    let taken = libpq().iter().find(|(taken, _)| taken == name).map(|(_, value)| value.into());
    // Names with `=` or NUL are none.
    taken.or_else(|| if name.is_empty() || name.contains(['=', '\0']) { None } else { env::var_os(name) })
}
