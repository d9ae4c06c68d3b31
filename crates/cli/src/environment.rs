//! libpq's environment variables. They are the user's settings for the database of `DATABASE_URL`, and say nothing about
//! our own server: so they are taken out of this process's environment before anything else looks, the driver and the
//! programs that we run included, and given to that one URL.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    process::{self, Command},
    sync::OnceLock,
};

use provision::postgres::{LIBPQ_HANDED_ON, LIBPQ_VARIABLES};
use serde_json::{Value, json};

static TAKEN: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Takes them. Other threads may read the environment of a process at any time, the allocator's for one, so that it is
/// not safe to change: this program is executed once more, without them. The process stays the same.
///
/// # Errors
/// When this program cannot be executed.
pub(crate) fn take_libpq() -> io::Result<()> {
    let given: Vec<[String; 2]> = LIBPQ_VARIABLES
        .iter()
        .filter_map(|name| {
            // What is not Unicode is refused where it matters: no parameter's value looks like this.
            let value = env::var_os(name)?.to_string_lossy().into_owned();
            Some([(*name).to_owned(), value])
        })
        .collect();
    if given.is_empty() {
        // Where no variable was set, this program was not executed a second time, and nothing was handed on.
        TAKEN.set(handed_on().unwrap_or_default()).expect("they are taken once");
        return Ok(());
    }
    let mut words = env::args_os();
    let mut command = Command::new(env::current_exe()?);
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    for name in LIBPQ_VARIABLES {
        command.env_remove(name);
    }
    // With the id of the process: one that inherits the variable is another.
    Err(command.args(words).env(LIBPQ_HANDED_ON, format!("{} {}", process::id(), json!(given))).exec())
}

/// What this process took before it was executed once more.
fn handed_on() -> Option<Vec<(String, String)>> {
    let text = env::var(LIBPQ_HANDED_ON).ok()?;
    let (id, given) = text.split_once(' ')?;
    if id != process::id().to_string() {
        return None;
    }
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    serde_json::from_str::<Value>(given).ok()?.as_array()?.iter().map(pair).collect()
}

/// Tells the libraries which file has the certificates to trust, in OpenSSL's variable for it.
pub(crate) fn trust_certificates() {
    if let Some(path) = env::var_os("SSL_CERT_FILE") {
        store::tls::trust_file(path.into());
    }
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
