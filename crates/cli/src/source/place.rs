//! Hints for a source path without Chroma data: where the data may be.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use uuid::Uuid;

/// The file that every directory since Chroma 0.4 has.
pub(super) const DATABASE: &str = "chroma.sqlite3";
/// Those of Chroma 0.3.
const PARQUET: [&str; 2] = ["chroma-collections.parquet", "chroma-embeddings.parquet"];
/// Files of an index folder.
const INDEX_FILES: [&str; 5] =
    ["data_level0.bin", "header.bin", "length.bin", "link_lists.bin", "index_metadata.pickle"];

/// Maximum entries of a folder that are examined.
const MOST_ENTRIES: usize = 10_000;
/// Maximum folders that a hint lists.
const MOST_NAMED: usize = 3;
const MOST_BYTES: u64 = 512;

/// What to give instead of `path`, which has no Chroma data.
pub(super) fn hint(path: &Path) -> String {
    let text = path.to_string_lossy();
    // A trailing slash makes a file look like a missing folder.
    let path = path.components().collect::<PathBuf>();
    let path = path.as_path();
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() && fs::metadata(path).is_err() => {
            // Only the hint depends on it: a link that has just been removed is shown without its target.
            let target = fs::read_link(path).unwrap_or_default();
            format!("it is a symbolic link to `{}`, which does not exist", target.display())
        }
        Ok(_) if path.is_dir() => of_folder(path),
        Ok(_) => of_file(path),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            not_a_path(&text).unwrap_or_else(|| of_nothing(path))
        }
        Err(error) => format!("it cannot be examined: {error}"),
    }
}

/// The URL of the server that `text` abbreviates, such as `localhost:8000`.
pub(super) fn server_url(text: &str) -> Option<String> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    for (scheme, is_tls) in [("https:", true), ("http:", false)] {
        if let Some(rest) = lower.starts_with(scheme).then(|| text[scheme.len()..].trim_start_matches('/')) {
            return (!rest.is_empty()).then(|| format!("http{}://{rest}", if is_tls { "s" } else { "" }));
        }
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let is_server = ["chroma", "chromadb", "tcp", "grpc", "ws", "htp", "htpp", "hhtp"];
        let is_tls = ["htps", "htpps", "wss", "grpcs", "chromas"];
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.trim_start_matches('/');
        return match () {
            () if rest.is_empty() => None,
            () if is_server.contains(&scheme.as_str()) => Some(format!("http://{}", with_port(rest))),
            () if is_tls.contains(&scheme.as_str()) => Some(format!("https://{rest}")),
            () => None,
        };
    }
    let authority = text.trim_start_matches('/').split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        // The end of an IPv6 address without brackets is no port.
        Some((host, port)) if authority.parse::<IpAddr>().is_err() && port.parse::<u16>().is_ok() => {
            (host, Some(port))
        }
        _ => (authority, None),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<IpAddr>().is_ok();
    let is_known = bare.eq_ignore_ascii_case("localhost") || is_address;
    let is_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let rest = text.trim_start_matches('/');
    match port {
        Some(_) if is_name || is_address => Some(format!("http://{rest}")),
        None if is_address && bare.contains(':') => Some(format!("http://[{bare}]:8000")),
        None if is_known => Some(format!("http://{}", with_port(rest))),
        _ => None,
    }
}

/// Chroma listens on 8000 unless told otherwise.
fn with_port(rest: &str) -> String {
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { rest.to_owned() } else { format!("{authority}:8000{path}") }
}

/// What the user may mean by `text`, which is not a path.
fn not_a_path(text: &str) -> Option<String> {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    if trimmed != text && Path::new(trimmed).exists() {
        return Some(format!("did you mean `{trimmed}`, without quotes or spaces around it?"));
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("file:") {
        let rest = text["file:".len()..].trim_start_matches('/');
        let rest = rest.strip_prefix("localhost/").unwrap_or(rest);
        return Some(format!("give the path itself: `/{}`", percent_decoded(rest)));
    }
    if lower.starts_with("sqlite:") {
        let rest = text["sqlite:".len()..].trim_start_matches('/');
        let folder = rest.strip_suffix(DATABASE).unwrap_or(rest).trim_end_matches('/');
        return Some(format!("give the path of the folder itself: `/{folder}`"));
    }
    if lower.starts_with("postgres:") || lower.starts_with("postgresql:") {
        return Some(
            "that is a PostgreSQL database, which --database-url takes; give the Chroma data here".to_owned(),
        );
    }
    if let Some(rest) = text.strip_prefix('~') {
        let home = std::env::var("HOME").ok().filter(|_| rest.is_empty() || rest.starts_with('/'));
        let path = home.map_or_else(|| "the full path".to_owned(), |home| format!("`{home}{rest}`"));
        return Some(format!("the shell expands `~` only outside of quotes: give {path}"));
    }
    if text.starts_with('$') || text.contains("${") || text.starts_with('%') {
        return Some("the variable was not expanded: give its value".to_owned());
    }
    if let Some(url) = server_url(text) {
        return Some(format!("for a server: {url}"));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Some(format!(
            "`{scheme}://` cannot be read: copy the folder to this machine and give its path, or for a server give http://host:8000"
        ));
    }
    if text.as_bytes().get(1) == Some(&b':') && text.contains('\\') {
        let (drive, rest) = text.split_at(1);
        let rest = rest[1..].replace('\\', "/");
        return Some(format!(
            "that is a Windows path: in WSL it is `/mnt/{}{rest}`",
            drive.to_ascii_lowercase()
        ));
    }
    match text.split_once(':') {
        Some((host, path)) if path.starts_with('/') && !host.is_empty() && !host.contains('/') => {
            Some(format!(
                "copy it to this machine first: `docker cp {text} chroma` from a container, `scp -r {text} chroma` from another machine"
            ))
        }
        _ => None,
    }
}

fn of_nothing(path: &Path) -> String {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Some(file) = path.ancestors().find(|ancestor| ancestor.is_file()) {
        return of_file(file);
    }
    if path.file_name().is_some_and(|name| name == DATABASE) && parent.is_dir() {
        return of_folder(parent);
    }
    let named = match nearby(parent) {
        Nearby { folders, .. } if !folders.is_empty() => format!("; did you mean {}?", one_of(&folders)),
        _ => String::new(),
    };
    format!("there is no such file or folder{named}")
}

fn of_file(path: &Path) -> String {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Only the hint depends on them: for an unreadable file, the hint says only that it is a file.
    let bytes = first_bytes(path).unwrap_or_default();
    if name.starts_with(DATABASE) || PARQUET.contains(&name.as_str()) {
        return format!("that is the file: give the folder `{}`", shown(parent));
    }
    if INDEX_FILES.contains(&name.as_str()) && has_data(&parent.join("..")) {
        return format!("that is a file of an index: give the folder `{}`", shown(&above(parent)));
    }
    if let Some(unpack) = archive(path, &bytes) {
        return format!("unpack it first, and give the folder with `{DATABASE}` in it: {unpack}");
    }
    if bytes.starts_with(b"SQLite format 3\0") {
        return format!(
            "that is a database file: Chroma's is named `{DATABASE}`, with the folders of its indexes next to it; give the folder that has them"
        );
    }
    if has_data(parent) {
        return format!("that is a file: give the folder `{}`", shown(parent));
    }
    "that is a file: give the folder that Chroma wrote".to_owned()
}

fn of_folder(path: &Path) -> String {
    let parent = above(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_index = Uuid::try_parse(&name).is_ok() || INDEX_FILES.iter().any(|file| path.join(file).exists());
    if is_index && has_data(&parent) {
        return format!("that is an index folder: give the folder above it, `{}`", shown(&parent));
    }
    let Nearby { folders, archives, closed, is_empty } = nearby(path);
    if !folders.is_empty() {
        return format!("did you mean {}?", one_of(&folders));
    }
    if has_data(&parent) {
        return format!("did you mean the folder above it, `{}`?", shown(&parent));
    }
    if let Some(archive) = archives.first() {
        return format!("unpack `{}` first, and give the folder with `{DATABASE}` in it", shown(archive));
    }
    if let Some(closed) = closed.first() {
        return format!("`{}` in it may not be entered (Permission denied): run as its owner", shown(closed));
    }
    if is_empty {
        return "the folder is empty: check that the volume is mounted and that Chroma writes to it"
            .to_owned();
    }
    format!("give the folder that has `{DATABASE}` in it, or for a server http://host:8000")
}

/// Chroma data one level below a folder.
#[derive(Default)]
struct Nearby {
    folders: Vec<PathBuf>,
    archives: Vec<PathBuf>,
    /// Folders that this user may not enter.
    closed: Vec<PathBuf>,
    is_empty: bool,
}

fn nearby(folder: &Path) -> Nearby {
    let mut found = Nearby { is_empty: true, ..Nearby::default() };
    let Ok(entries) = fs::read_dir(folder) else { return Nearby::default() };
    for entry in entries.take(MOST_ENTRIES).flatten() {
        found.is_empty = false;
        let path = entry.path();
        match path.join(DATABASE).symlink_metadata() {
            Ok(_) => found.folders.push(path),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => found.closed.push(path),
            Err(_) if has_data(&path) => found.folders.push(path),
            Err(_) if archive_by_name(&path).is_some() && path.is_file() => found.archives.push(path),
            Err(_) => {}
        }
    }
    for paths in [&mut found.folders, &mut found.archives, &mut found.closed] {
        paths.sort();
    }
    found
}

fn has_data(folder: &Path) -> bool {
    [DATABASE, PARQUET[0], PARQUET[1]].iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// The folder above, also for `.` and for a path that ends with it.
fn above(folder: &Path) -> PathBuf {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && folder.file_name().is_some() => parent.to_owned(),
        _ => folder.join(".."),
    }
}

fn one_of(folders: &[PathBuf]) -> String {
    let named: Vec<String> =
        folders.iter().take(MOST_NAMED).map(|folder| format!("`{}`", shown(folder))).collect();
    let more = folders.len() - named.len();
    let more = if more > 0 { format!(", or one of {more} more") } else { String::new() };
    format!("{}{more}", named.join(" or "))
}

fn shown(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.is_empty() { ".".to_owned() } else { path.into_owned() }
}

/// The beginning of a file; `None` if it cannot be read.
pub(super) fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// How to unpack the file, if it is an archive.
pub(super) fn archive(path: &Path, bytes: &[u8]) -> Option<String> {
    let by_bytes = || {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        match () {
            () if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") => Some("unzip"),
            () if starts(b"7z\xbc\xaf\x27\x1c") => Some("7z x"),
            () if starts(b"Rar!") => Some("unrar x"),
            () if starts(b"\x1f\x8b")
                || starts(b"BZh")
                || starts(b"\xfd7zXZ\0")
                || starts(b"\x28\xb5\x2f\xfd") =>
            {
                Some("tar -xf")
            }
            () if bytes.get(257..262) == Some(b"ustar") => Some("tar -xf"),
            () => None,
        }
    };
    let program = by_bytes().or_else(|| archive_by_name(path))?;
    Some(format!("`{program} {}`", path.display()))
}

fn archive_by_name(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    match () {
        () if ends(&[".zip"]) => Some("unzip"),
        () if ends(&[".7z"]) => Some("7z x"),
        () if ends(&[".rar"]) => Some("unrar x"),
        () if ends(&[
            ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".gz", ".zst",
        ]) =>
        {
            Some("tar -xf")
        }
        () => None,
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, later)) = rest.split_first() {
        let code = later.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &later[2..];
            }
            None => {
                bytes.push(*first);
                rest = later;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_without_a_scheme_get_one() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(server_url(text).as_deref(), expected, "{text}");
        };
        check("localhost:8000", Some("http://localhost:8000"));
        check("127.0.0.1:8000", Some("http://127.0.0.1:8000"));
        check("[::1]:8000", Some("http://[::1]:8000"));
        check("::1", Some("http://[::1]:8000"));
        check("localhost", Some("http://localhost:8000"));
        check("//localhost:8000", Some("http://localhost:8000"));
        check("chroma.internal:443/below", Some("http://chroma.internal:443/below"));
        check("chroma://localhost:8000", Some("http://localhost:8000"));
        check("chroma://db", Some("http://db:8000"));
        check("http:/localhost:8000", Some("http://localhost:8000"));
        check("https:localhost", Some("https://localhost"));
        check("data/chroma", None);
        check("data:notes", None);
        check("s3://bucket/chroma", None);
        check("", None);
    }

    #[test]
    fn hint_distinguishes_text_that_is_no_path_from_a_missing_path() {
        let check = |text: &str, expected: &str| {
            let hint = hint(Path::new(text));
            assert!(hint.contains(expected), "{text}: {hint}");
        };
        check("file:///data/my%20chroma", "`/data/my chroma`");
        check("sqlite:////data/chroma/chroma.sqlite3", "`/data/chroma`");
        check("~/chroma-that-is-not-there", "`~` only outside of quotes");
        check("$HOME/chroma", "not expanded");
        check("postgresql://u@h/d", "--database-url");
        check("s3://bucket/chroma", "copy the folder");
        check("C:\\data\\chroma", "`/mnt/c/data/chroma`");
        check("container:/data", "docker cp");
        check("/nowhere/at/all", "no such file or folder");
    }
}
