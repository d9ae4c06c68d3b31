//! libpq's environment variables. They are the user's settings for the database of `DATABASE_URL`, not for our own
//! server. They are removed from this process's environment before the driver or a child process reads them, and applied
//! only to that URL.

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

/// Removes them from the environment. Other threads, such as the allocator's, may read the environment at any time, so
/// changing it in place is not safe: this program is executed again without them, in the same process.
///
/// # Errors
/// When this program cannot be executed.
pub(crate) fn take_libpq() -> io::Result<()> {
    let given: Vec<[String; 2]> = LIBPQ_VARIABLES
        .iter()
        .filter_map(|name| {
            // A value that is not Unicode is refused later: no parameter is valid after this replacement.
            let value = env::var_os(name)?.to_string_lossy().into_owned();
            Some([(*name).to_owned(), value])
        })
        .collect();
    if given.is_empty() {
        // Without variables, this program was not executed again and nothing was passed on.
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
    // The process id distinguishes this process from children that inherit the variable.
    Err(command.args(words).env(LIBPQ_HANDED_ON, format!("{} {}", process::id(), json!(given))).exec())
}

/// The variables that this process removed before it was executed again.
fn handed_on() -> Option<Vec<(String, String)>> {
    let text = env::var(LIBPQ_HANDED_ON).ok()?;
    let (id, given) = text.split_once(' ')?;
    if id != process::id().to_string() {
        return None;
    }
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    serde_json::from_str::<Value>(given).ok()?.as_array()?.iter().map(pair).collect()
}

/// Tells the libraries to trust the certificates of OpenSSL's `SSL_CERT_FILE`.
pub(crate) fn trust_certificates() {
    if let Some(path) = env::var_os("SSL_CERT_FILE") {
        store::tls::trust_file(path.into());
    }
}

/// Name and value of libpq's variables that were set.
pub(crate) fn libpq() -> &'static [(String, String)] {
    TAKEN.get().map_or(&[], Vec::as_slice)
}

/// The environment variable `name`, libpq's included.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    let taken = libpq().iter().find(|(taken, _)| taken == name).map(|(_, value)| value.into());
    // No variable's name contains `=` or NUL.
    taken.or_else(|| if name.is_empty() || name.contains(['=', '\0']) { None } else { env::var_os(name) })
}
