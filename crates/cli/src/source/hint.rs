//! Hints for Chroma data that cannot be read: the second line of the error.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use chroma::Error;
use store::chroma::SourceError;

use super::place;

const RECOVER: &str = "on a copy of the folder, `sqlite3 chroma.sqlite3 .recover | sqlite3 new/chroma.sqlite3` recovers what can be read; \
     put the index folders next to the new file, or restore a backup";

/// The hint for `error`, if there is one.
pub(crate) fn hint(error: &SourceError) -> Option<String> {
    match error {
        SourceError::Directory { source, .. } => of_directory(source),
        SourceError::Server(error) => error.hint(),
    }
}

/// The hint for an error of a persist directory.
pub(crate) fn of_directory(error: &Error) -> Option<String> {
    match error {
        Error::NoDatabase { path } => Some(place::hint(path)),
        Error::NotSqlite { path, .. } => Some(not_sqlite(path)),
        Error::NotRegularFile { path } | Error::NotFolder { path } => Some(other_kind(path)),
        Error::Io { path, source, .. } => io_error(path, source),
        error if error.is_damaged_database() => Some(format!("the database is damaged: {RECOVER}")),
        error if error.is_locked_database() => {
            Some("another program is writing to it: stop that program, then retry".to_owned())
        }
        _ => None,
    }
}

/// The hint for an error of the operating system.
fn io_error(path: &Path, error: &io::Error) -> Option<String> {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => Some(not_permitted(path)),
        Some(Errno::MFILE | Errno::NFILE) => {
            Some("too many files are open: raise the limit (`ulimit -n 4096`), then retry".to_owned())
        }
        Some(Errno::LOOP) => Some(other_kind(path)),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            Some("the private copy does not fit: set TMPDIR to a folder with more space".to_owned())
        }
        Some(Errno::IO | Errno::STALE | Errno::NXIO | Errno::NODEV | Errno::TIMEDOUT | Errno::NOTCONN) => {
            Some("the disk or the network file system failed: mount it again or copy the folder elsewhere, then retry".to_owned())
        }
        _ => None,
    }
}

/// Which user may read `path`.
fn not_permitted(path: &Path) -> String {
    // The contents of a closed folder are unknown: the nearest parent that can be examined denies access.
    let known = path.ancestors().find_map(|path| Some((path, path.symlink_metadata().ok()?)));
    let me = rustix::process::geteuid().as_raw();
    let Some((place, metadata)) = known else {
        return format!("run as a user who may read it (you are user {me})");
    };
    let owner = metadata.uid();
    if owner == me {
        return format!("you own it: run `chmod -R u+rX {}`", place.display());
    }
    format!(
        "it belongs to user {owner} and you are user {me}: run as its owner (`sudo -u '#{owner}' …`), or take \
         ownership: `sudo chown -R {me} {}`",
        place.display()
    )
}

/// The hint for a link, a pipe or the like in place of one of Chroma's files or folders.
fn other_kind(path: &Path) -> String {
    let Ok(target) = fs::read_link(path) else {
        return "Chroma has regular files and folders there: copy the directory again from an intact copy"
            .to_owned();
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let target = folder.join(target);
    let is_database = target.file_name().is_some_and(|name| name == place::DATABASE);
    match target.parent().filter(|_| is_database) {
        Some(target) => {
            format!("it is a symbolic link: give the folder of its target, `{}`", target.display())
        }
        None => format!(
            "it is a symbolic link: replace it by its target (`{}`), or copy the folder with all targets: `cp -aL {} NEW`",
            target.display(),
            folder.display()
        ),
    }
}

fn not_sqlite(path: &Path) -> String {
    match place::first_bytes(path) {
        Some(bytes) if bytes.is_empty() => {
            "the file is empty: copy the folder again from an intact copy, or restore a backup".to_owned()
        }
        Some(bytes) if bytes.starts_with(b"version https://git-lfs") => {
            "the file is a Git LFS pointer: run `git lfs pull` to fetch the database".to_owned()
        }
        Some(bytes) if place::archive(path, &bytes).is_some() => {
            "the file is an archive: unpack it".to_owned()
        }
        _ => format!("its beginning is damaged: restore a backup, or {RECOVER}"),
    }
}
