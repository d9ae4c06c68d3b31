//! What to do about Chroma data that cannot be read: the second line of the error.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use chroma::Error;
use store::chroma::SourceError;

use super::place;

const RECOVER: &str = "on a copy of the folder, `sqlite3 chroma.sqlite3 .recover | sqlite3 new/chroma.sqlite3` saves what can be read; \
     put the index folders beside the new file, or restore a backup";

/// What may help against `error`.
pub(crate) fn hint(error: &SourceError) -> Option<String> {
    match error {
        SourceError::Directory { source, .. } => of_directory(source),
        SourceError::Server(error) => error.hint(),
    }
}

/// What may help against an error of a persist directory.
pub(crate) fn of_directory(error: &Error) -> Option<String> {
    match error {
        Error::NoDatabase { path } => Some(place::hint(path)),
        Error::NotSqlite { path, .. } => Some(not_sqlite(path)),
        Error::NotRegularFile { path } | Error::NotFolder { path } => Some(other_kind(path)),
        Error::Io { path, source, .. } => io_error(path, source),
        error if error.is_damaged_database() => Some(format!("the database is damaged: {RECOVER}")),
        error if error.is_locked_database() => {
            Some("another program is writing to it: stop it, and try again".to_owned())
        }
        _ => None,
    }
}

/// What to do about a file that the operating system refused.
fn io_error(path: &Path, error: &io::Error) -> Option<String> {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => Some(not_permitted(path)),
        Some(Errno::MFILE | Errno::NFILE) => {
            Some("too many files are open: raise the limit (`ulimit -n 4096`), and try again".to_owned())
        }
        Some(Errno::LOOP) => Some(other_kind(path)),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            Some("a private copy needs room: set TMPDIR to a folder that has it".to_owned())
        }
        Some(Errno::IO | Errno::STALE | Errno::NXIO | Errno::NODEV | Errno::TIMEDOUT | Errno::NOTCONN) => {
            Some("the disk or the network file system failed: mount it again or copy the folder elsewhere, and try again".to_owned())
        }
        _ => None,
    }
}

/// Who may read what we may not.
fn not_permitted(path: &Path) -> String {
    // What may not be entered tells nothing of what is in it: the first parent that does is in the way.
    let known = path.ancestors().find_map(|path| Some((path, path.symlink_metadata().ok()?)));
    let me = rustix::process::geteuid().as_raw();
    let Some((place, metadata)) = known else {
        return format!("run as a user who may read it (this is user {me})");
    };
    let owner = metadata.uid();
    if owner == me {
        return format!("it is yours: `chmod -R u+rX {}`", place.display());
    }
    format!(
        "it belongs to user {owner} and this is user {me}: run as its owner (`sudo -u '#{owner}' …`), or make it yours \
         to read: `sudo chown -R {me} {}`",
        place.display()
    )
}

/// A link, a pipe or the like in the place of a file or a folder of Chroma's.
fn other_kind(path: &Path) -> String {
    let Ok(target) = fs::read_link(path) else {
        return "Chroma has plain files and folders there: copy the directory from where it is whole"
            .to_owned();
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let target = folder.join(target);
    let is_database = target.file_name().is_some_and(|name| name == place::DATABASE);
    match target.parent().filter(|_| is_database) {
        Some(target) => {
            format!("it is a symbolic link: give the folder that it leads to, `{}`", target.display())
        }
        None => format!(
            "it is a symbolic link: put what it leads to in its place (`{}`), or give the folder that holds it all: `cp -aL {} NEW`",
            target.display(),
            folder.display()
        ),
    }
}

fn not_sqlite(path: &Path) -> String {
    match place::first_bytes(path) {
        Some(bytes) if bytes.is_empty() => {
            "the file is empty: copy the folder again from where it is whole, or restore a backup".to_owned()
        }
        Some(bytes) if bytes.starts_with(b"version https://git-lfs") => {
            "the file is a pointer of Git LFS: `git lfs pull` fetches the database".to_owned()
        }
        Some(bytes) if place::archive(path, &bytes).is_some() => {
            "the file is an archive: unpack it".to_owned()
        }
        _ => format!("its beginning is damaged: restore a backup, or {RECOVER}"),
    }
}
