//! The `.env` file: which one is read, which of its settings are trusted, and its values.
//!
//! It is the nearest one in the working folder or a folder above it, as in python-dotenv. Lines that cannot be read, or
//! that belong to other programs, are ignored; nothing from the file is printed but names of our variables.

mod parser;
mod variables;

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{self, ErrorKind, Read as _},
    os::unix::{
        ffi::OsStringExt as _,
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use provision::trust;
use rustix::fs::OFlags;

use self::variables::Variables;

/// A larger file is not a file of settings.
const MAX_BYTES: u64 = 1 << 20;

/// The `.env` file that was read, and those that were not.
#[derive(Debug, Default)]
pub(crate) struct DotEnv {
    /// The file that was read.
    read: Option<ReadFile>,
    /// Files that were not read, nearest first.
    pub(crate) skipped: Vec<Skipped>,
}

#[derive(Debug)]
struct ReadFile {
    path: PathBuf,
    variables: Variables,
    /// Why it is not trusted to name programs and addresses.
    distrust: Option<String>,
    is_unicode: bool,
}

/// A file that was not read.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    pub(crate) path: PathBuf,
    /// Why not.
    pub(crate) reason: String,
    /// Whether it seems to be the user's, so that its settings are missing.
    pub(crate) is_missed: bool,
}

/// One of our variables in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its value.
    Value(String),
    /// It is set, but not trusted, for this reason.
    Untrusted(String),
    /// Its line cannot be read.
    Unreadable,
}

impl DotEnv {
    /// Looks in `folder` and those above it. Values may refer to variables of `environment`.
    pub(crate) fn find(folder: &Path, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut found = Self::default();
        for (index, ancestor) in folder.ancestors().enumerate() {
            let path = ancestor.join(".env");
            let opened = match open(&path) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) => {
                    // Skipping another user's file in a parent folder loses no setting of ours.
                    let owner = std::fs::metadata(&path).map(|metadata| metadata.uid());
                    let is_missed = index == 0 || owner.is_ok_and(trust::is_ours);
                    found.skipped.push(Skipped { path, reason: error.to_string(), is_missed });
                    continue;
                }
            };
            if index > 0
                && let Some(distrust) = opened.distrust
            {
                found.skipped.push(Skipped { path, reason: distrust, is_missed: opened.is_ours });
                continue;
            }
            let (text, is_unicode) = decoded(&opened.content);
            let is_untrusted = opened.distrust.is_some();
            let variables = Variables::read(&text, |name| {
                // Other users could have our secrets sent to their server. Invalid text makes the line unreadable.
                environment(name)
                    .map(|value| if is_untrusted { OsString::from_vec(vec![0xff]) } else { value })
            });
            found.read = Some(ReadFile { path, variables, distrust: opened.distrust, is_unicode });
            break;
        }
        found
    }

    /// The file that was read.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.read.as_ref().map(|file| file.path.as_path())
    }

    /// Why some settings of the file are not trusted: who else could have written it.
    pub(crate) fn distrust(&self) -> Option<&str> {
        self.read.as_ref()?.distrust.as_deref()
    }

    /// The line and the value of `name`, unless it is empty; the value of a delicate setting only if the file is trusted.
    pub(crate) fn get(&self, name: &str, importance: Sensitivity) -> Option<(usize, Found)> {
        let file = self.read.as_ref()?;
        let bound = file.variables.bound.get(name);
        let unreadable = file.variables.unreadable.iter().filter_map(|(line, text)| {
            let offset = text.lines().position(|line| begins_with(line, name))?;
            Some(line + offset)
        });
        let last_unreadable = unreadable.max();
        if let Some(line) = last_unreadable
            && bound.is_none_or(|(bound, _)| *bound < line)
        {
            return Some((line, Found::Unreadable));
        }
        let (line, value) = bound?;
        let value = value.as_ref().filter(|value| !value.trim().is_empty())?;
        let found = match (&file.distrust, importance) {
            (Some(distrust), Sensitivity::Delicate) => Found::Untrusted(distrust.clone()),
            _ if !file.is_unicode && value.contains(char::REPLACEMENT_CHARACTER) => Found::Unreadable,
            _ => Found::Value(value.clone()),
        };
        Some((*line, found))
    }

    /// What was ignored, one sentence each, without values from a file.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<String> = self
            .skipped
            .iter()
            .map(|Skipped { path, reason, .. }| format!("`{}` was not read: {reason}", path.display()))
            .collect();
        if let Some(ReadFile { path, variables, .. }) = &self.read
            && !variables.unreadable.is_empty()
        {
            const SHOWN: usize = 10;
            let lines: Vec<String> =
                variables.unreadable.iter().take(SHOWN).map(|(line, _)| line.to_string()).collect();
            let more = if variables.unreadable.len() > SHOWN { ", …" } else { "" };
            remarks.push(format!(
                "`{}`: statements that cannot be read, from line {}{more}, were skipped",
                path.display(),
                lines.join(", ")
            ));
        }
        remarks
    }
}

/// The harm that a setting can do in a file that other users can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sensitivity {
    /// It names programs, addresses, keys or limits: ignored there. The default of a new setting.
    Delicate,
    /// Some: the code that uses the setting checks its origin first.
    Checked,
    /// None.
    Harmless,
}

struct Opened {
    content: Vec<u8>,
    distrust: Option<String>,
    is_ours: bool,
}

/// The file at `path`; `None` if it does not exist.
fn open(path: &Path) -> io::Result<Option<Opened>> {
    let mut options = OpenOptions::new();
    // Opening a pipe would block.
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        // Often a virtual environment of Python.
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let distrust = trust::who_else_writes(path, &metadata)?;
    let mut content = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut content)?;
    Ok(Some(Opened { content, distrust, is_ours: trust::is_ours(metadata.uid()) }))
}

/// The text of a file, and whether it was decoded exactly. Editors and shells of Windows also write UTF-16.
fn decoded(content: &[u8]) -> (String, bool) {
    let utf16 = |bytes: &[u8], from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| from(*unit)).collect();
        (String::from_utf16_lossy(&units), String::from_utf16(&units).is_ok())
    };
    match content {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => (String::from_utf8_lossy(content).into_owned(), str::from_utf8(content).is_ok()),
    }
}

/// Whether `line` seems to set `name`.
fn begins_with(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line =
        line.strip_prefix("export").filter(|rest| rest.starts_with(char::is_whitespace)).unwrap_or(line);
    let rest = line.trim_start().trim_start_matches(['\'', '"']).strip_prefix(name);
    rest.is_some_and(|rest| rest.trim_start_matches(['\'', '"']).trim_start().starts_with('='))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn find(folder: &Path) -> DotEnv {
        DotEnv::find(folder, |_| None)
    }

    fn value(text: &str) -> Option<(usize, Found)> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(".env"), text).expect("the file is written");
        find(folder.path()).get("NAME", Sensitivity::Harmless)
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode can be set");
    }

    #[test]
    fn variable_is_found_by_line_even_if_it_cannot_be_read() {
        let is = |line, value: &str| Some((line, Found::Value(value.to_owned())));
        assert_eq!(value("X=1\nNAME=a\n"), is(2, "a"));
        assert_eq!(value("NAME=a\nNAME=b\n"), is(2, "b"));
        assert_eq!(value("NAME='a\n"), Some((1, Found::Unreadable)));
        assert_eq!(value("NAME='a' b\nX=1\n"), Some((1, Found::Unreadable)));
        assert_eq!(value("NAME='a' b\nNAME=c\n"), is(2, "c"));
        assert_eq!(value("NAME=a\nexport NAME=\"b\n"), Some((2, Found::Unreadable)));
        assert_eq!(
            value("X=\"open\nNAME=a\nY=\"b\n"),
            Some((2, Found::Unreadable)),
            "the open quote of X includes it"
        );
        assert_eq!(value("export NAME\n"), None);
        assert_eq!(value("NAME=\n"), None);
        assert_eq!(value("NAME=a\nNAME=' '\n"), None);
        assert_eq!(value("X='NAME=a\n"), None);
    }

    #[test]
    fn utf_16_is_read_and_invalid_text_affects_only_its_line() {
        let check = |content: &[u8], expected: Option<(usize, Found)>| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            fs::write(folder.path().join(".env"), content).expect("the file is written");
            assert_eq!(find(folder.path()).get("NAME", Sensitivity::Harmless), expected, "{content:?}");
        };
        let a = || Some((1, Found::Value("a".to_owned())));
        let utf16: Vec<u8> = "\u{feff}NAME=a\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        check(&utf16, a());
        check(b"\xef\xbb\xbfNAME=a\r\n", a());
        check(b"NAME=a\nX=\xff\n", a());
        check(b"NAME=\xff\n", Some((1, Found::Unreadable)));
    }

    #[test]
    fn file_above_is_read_only_if_no_other_user_can_write_it_or_its_folder() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let (above, working) = (top.path().join("above"), top.path().join("above/working"));
        fs::create_dir_all(&working).expect("folders are made");
        mode(&above, 0o755);
        let file = above.join(".env");
        fs::write(&file, "NAME=a\n").expect("the file is written");
        let check = |expected: bool| {
            let found = find(&working);
            assert_eq!(found.path().is_some(), expected, "{found:?}");
            assert_eq!(found.skipped.len(), usize::from(!expected), "{found:?}");
            assert!(found.skipped.iter().all(|skipped| skipped.is_missed), "it is ours: {found:?}");
        };
        mode(&file, 0o644);
        check(true);
        mode(&file, 0o666);
        check(false);
        mode(&file, 0o644);
        mode(&above, 0o777);
        check(false);
        mode(&above, 0o1777);
        check(true);
        mode(&above, 0o755);
        fs::rename(&file, above.join("elsewhere")).expect("it can be moved");
        symlink("elsewhere", &file).expect("a link can be made");
        check(true);
        mode(&above.join("elsewhere"), 0o666);
        check(false);
    }

    #[test]
    fn target_of_a_link_is_trusted_only_if_all_folders_of_its_path_are() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| top.path().join(name);
        for folder in ["working/below", "open/inner", "trusted"] {
            fs::create_dir_all(path(folder)).expect("folders are made");
        }
        fs::write(path("open/inner/file"), "NAME=a\n").expect("the file is written");
        fs::write(path("trusted/file"), "NAME=a\n").expect("the file is written");
        symlink("../trusted/file", path("open/link")).expect("a link is made");
        symlink("open/inner", path("folder")).expect("a link is made");
        symlink("open/../trusted", path("past")).expect("a link is made");
        mode(&path("open"), 0o777);
        let link = path("working/.env");
        for (target, is_trusted) in [
            ("../open/inner/file", false),
            ("../open/link", false),
            ("../folder/file", false),
            ("../past/file", false),
            ("../trusted/file", true),
        ] {
            symlink(target, &link).expect("a link is made");
            let found = find(&path("working")).get("NAME", Sensitivity::Delicate);
            let is_read = matches!(found, Some((1, Found::Value(_))));
            assert_eq!(is_read, is_trusted, "{target}: {found:?}");
            assert_eq!(find(&path("working/below")).path().is_some(), is_trusted, "{target}");
            fs::remove_file(&link).expect("it can be removed");
        }
    }

    #[test]
    fn delicate_settings_of_a_file_that_others_can_write_are_ignored() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(".env");
        fs::write(&file, "NAME=a\n").expect("the file is written");
        mode(&file, 0o666);
        let found = find(folder.path());
        assert_eq!(found.get("NAME", Sensitivity::Harmless), Some((1, Found::Value("a".to_owned()))));
        let untrusted = found.get("NAME", Sensitivity::Delicate);
        assert!(
            matches!(&untrusted, Some((1, Found::Untrusted(why))) if why.contains("every user")),
            "{untrusted:?}"
        );
    }

    #[test]
    fn folder_is_ignored_and_unreadable_file_is_reported() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let working = top.path().join("working");
        fs::create_dir_all(working.join(".env")).expect("a folder of that name");
        fs::write(top.path().join(".env"), "NAME=a\n").expect("the file is written");
        assert!(find(&working).path().is_some(), "a folder is no file");
        fs::remove_dir(working.join(".env")).expect("it is empty");
        fs::write(working.join(".env"), vec![b'#'; (1 << 20) + 1]).expect("the file is written");
        let found = find(&working);
        assert!(found.skipped[0].reason.contains("1 MiB") && found.skipped[0].is_missed, "{found:?}");
    }
}
