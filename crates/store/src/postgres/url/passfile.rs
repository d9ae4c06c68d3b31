//! Passwords from a file in libpq's format: `host:port:database:user:password`, with `*` as a wildcard and `\` as the
//! escape character.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
};

/// Maximum size, far above that of real files.
const MAX_BYTES: u64 = 1 << 20;

/// The connection for which a password is searched.
pub(super) struct Wanted<'w> {
    pub(super) host: &'w str,
    pub(super) port: &'w str,
    pub(super) database: &'w str,
    pub(super) user: &'w str,
}

/// The password of the first matching line; `None` if no line matches or the file does not exist. As in libpq, the file
/// must not be accessible to others.
pub(super) fn password(path: &str, wanted: &Wanted<'_>) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("other users can read it: run chmod 600"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text.lines().find_map(|line| password_in(line, wanted)))
}

fn password_in(line: &str, wanted: &Wanted<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    // For libpq, a socket directory is `localhost` only if it is the default one.
    let fields = [wanted.host, wanted.port, wanted.database, wanted.user];
    let mut rest = line;
    for wanted in fields {
        let (field, after) = field(rest);
        if field.0 != "*" && field.1 != wanted {
            return None;
        }
        rest = after?;
    }
    Some(field(rest).0.1)
}

/// The first field of `text`, raw and unescaped, and the rest after the colon.
fn field(text: &str) -> ((&str, String), Option<&str>) {
    let mut meant = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            ':' => return ((&text[..index], meant), Some(&text[index + 1..])),
            '\\' => meant.extend(chars.next().map(|(_, escaped)| escaped)),
            c => meant.push(c),
        }
    }
    ((text, meant), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_matching_line_has_the_password() {
        let wanted = Wanted { host: "h", port: "5432", database: "d:1", user: "u" };
        for (line, password) in [
            (r"h:5432:d\:1:u:pa\:ss\\", Some(r"pa:ss\")),
            ("*:*:*:*:p", Some("p")),
            ("*:*:*:*:p:of another version", Some("p")),
            ("#*:*:*:*:p", None),
            ("h:5432:d:u:p", None),
            ("h:5433:*:u:p", None),
            (r"\*:*:*:*:p", None),
            ("h:5432", None),
            ("", None),
        ] {
            assert_eq!(password_in(line, &wanted).as_deref(), password, "{line}");
        }
    }
}
