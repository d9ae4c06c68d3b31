//! Which accounts can change a file or folder. Programs that we run, files that we write and settings that we trust must
//! belong to this account or root, as must every folder and link of their paths.

use std::{
    collections::VecDeque,
    fmt,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::process::{getegid, geteuid, getgroups};

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The limit of Linux (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Whether the user id is ours or root's.
pub fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Why accounts other than this one and root could have written the file at `path`, which was opened as `file`; `None` if
/// they could not.
///
/// # Errors
/// When a folder of the path cannot be examined.
pub fn who_else_writes(path: &Path, file: &Metadata) -> io::Result<Option<String>> {
    let way = ResolvedPath::to(path)?;
    let groups = Groups::of_this_machine();
    let is_opened = |target: &Metadata| (target.dev(), target.ino()) == (file.dev(), file.ino());
    if !is_opened(&way.target.metadata) {
        return Ok(Some("it was replaced while it was read".to_owned()));
    }
    if let Some(writer) = groups.writer(file) {
        return Ok(Some(format!("{writer} can write it")));
    }
    let weak = way.passed.iter().find_map(|entry| Some((entry, groups.writer_on_the_way(entry)?)));
    Ok(weak.map(|(entry, writer)| format!("{writer} can write {} `{}`", entry.noun(), entry.path.display())))
}

/// An account that can write a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Its owner.
    User(u32),
    Everyone,
    /// Its group, which has other members or may have them.
    Group(u32),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "user id {uid}"),
            Self::Everyone => f.write_str("every user"),
            Self::Group(gid) => write!(f, "group id {gid}"),
        }
    }
}

/// A folder, link or file; a link is not followed.
#[derive(Debug)]
pub(crate) struct PathEntry {
    pub(crate) path: PathBuf,
    pub(crate) metadata: Metadata,
}

impl PathEntry {
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), metadata: fs::symlink_metadata(path)? })
    }

    /// Whether only its owner can replace what is there: the mode of a link has no effect, and in a sticky folder, others
    /// cannot replace existing entries.
    pub(crate) fn is_kept(&self) -> bool {
        self.metadata.is_symlink() || self.metadata.mode() & STICKY != 0
    }

    fn noun(&self) -> &'static str {
        if self.metadata.is_symlink() { "the link" } else { "the folder" }
    }
}

/// The resolution of a path.
#[derive(Debug)]
pub(crate) struct ResolvedPath {
    /// Folders and links from `/` on, in the order in which they are visited.
    pub(crate) passed: Vec<PathEntry>,
    /// The target, which is not a link.
    pub(crate) target: PathEntry,
}

impl ResolvedPath {
    /// Resolves `path` through each of its links.
    pub(crate) fn to(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut rest: VecDeque<PathBuf> = components(&path);
        let (mut passed, mut links) = (Vec::new(), 0);
        let mut current = PathEntry::at(Path::new("/"))?;
        while let Some(component) = rest.pop_front() {
            let next = match component.components().next() {
                Some(Component::RootDir) => PathEntry::at(Path::new("/"))?,
                // Links are resolved one by one, so this is the folder's real parent.
                Some(Component::ParentDir) => {
                    PathEntry::at(current.path.parent().unwrap_or_else(|| Path::new("/")))?
                }
                _ => PathEntry::at(&current.path.join(&component))?,
            };
            if next.metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                for component in components(&fs::read_link(&next.path)?).into_iter().rev() {
                    rest.push_front(component);
                }
                passed.push(next);
            } else {
                passed.push(std::mem::replace(&mut current, next));
            }
        }
        Ok(Self { passed, target: current })
    }
}

fn components(path: &Path) -> VecDeque<PathBuf> {
    let named = path.components().filter(|component| !matches!(component, Component::CurDir));
    named.map(|component| PathBuf::from(component.as_os_str())).collect()
}

/// The machine's users and groups: many systems give each user a private group, which may write the user's files.
pub(crate) struct Groups {
    passwd: String,
    group: String,
}

impl Groups {
    pub(crate) fn of_this_machine() -> Self {
        // If a file cannot be read, no group counts as private, so nothing that a group may write is trusted.
        let read = |path: &str| fs::read_to_string(PathBuf::from(path)).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The account, other than this one and root, that can write the file or create files in the folder.
    pub(crate) fn writer(&self, metadata: &Metadata) -> Option<Writer> {
        if !is_ours(metadata.uid()) {
            return Some(Writer::User(metadata.uid()));
        }
        self.writer_besides_owner(metadata)
    }

    /// The same, for any owner.
    pub(crate) fn writer_besides_owner(&self, metadata: &Metadata) -> Option<Writer> {
        if metadata.mode() & OTHERS_WRITE != 0 {
            return Some(Writer::Everyone);
        }
        let is_groups = metadata.mode() & GROUP_WRITES != 0 && !self.is_private(metadata.gid());
        is_groups.then(|| Writer::Group(metadata.gid()))
    }

    /// The account, other than this one and root, that can redirect a path through `entry`.
    pub(crate) fn writer_on_the_way(&self, entry: &PathEntry) -> Option<Writer> {
        if entry.is_kept() && is_ours(entry.metadata.uid()) { None } else { self.writer(&entry.metadata) }
    }

    /// Whether the group may come from a container runtime: this process has it, and no file lists it.
    pub(crate) fn is_ours_unlisted(&self, gid: u32) -> bool {
        let is_ours = getegid().as_raw() == gid
            || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid));
        let is_listed = self.group.lines().any(|line| number(line, 2) == Some(gid))
            || self.passwd.lines().any(|line| number(line, 3) == Some(gid));
        is_ours && !is_listed
    }

    /// Whether the group is listed and has no members but this account and root.
    fn is_private(&self, gid: u32) -> bool {
        let users: Vec<&str> = self.passwd.lines().collect();
        let is_ours_by_name = |name: &str| {
            let user = users.iter().find(|line| field(line, 0) == name);
            user.and_then(|line| number(line, 2)).is_some_and(is_ours)
        };
        let Some(line) = self.group.lines().find(|line| number(line, 2) == Some(gid)) else { return false };
        let members_are_ours = field(line, 3).split(',').filter(|name| !name.is_empty()).all(is_ours_by_name);
        let others_are_in_it =
            |line: &&str| number(line, 3) == Some(gid) && !number(line, 2).is_some_and(is_ours);
        members_are_ours && !users.iter().any(others_are_in_it)
    }
}

fn field(line: &str, index: usize) -> &str {
    // A short line has no such field.
    line.split(':').nth(index).unwrap_or_default()
}

fn number(line: &str, index: usize) -> Option<u32> {
    field(line, index).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn group_is_private_if_it_has_no_other_user() {
        let uid = geteuid().as_raw();
        let groups = Groups {
            passwd: format!(
                "root:x:0:0::/:/bin/sh\nme:x:{uid}:{uid}::/:/bin/sh\nother:x:4711:4711::/:/bin/sh\nbroken\n"
            ),
            group: format!(
                "root:x:0:\nmine:x:{}:me,root\nshared:x:5001:me,other\nothers:x:4711:\nunknown:x:5002:ghost\n",
                5000
            ),
        };
        for (gid, expected) in
            [(0, true), (5000, true), (5001, false), (4711, false), (5002, false), (9999, false)]
        {
            assert_eq!(groups.is_private(gid), expected, "{gid}");
        }
    }

    #[test]
    fn resolution_visits_each_folder_and_link_and_ends_at_the_target_of_the_system() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let top = top.path().canonicalize().expect("it resolves");
        for folder in ["a/b", "c"] {
            fs::create_dir_all(top.join(folder)).expect("folders are made");
        }
        fs::write(top.join("c/file"), "").expect("a file is made");
        symlink("../c", top.join("a/relative")).expect("a link is made");
        symlink(top.join("a/relative"), top.join("absolute")).expect("a link is made");
        symlink("absolute/../c/./file", top.join("dots")).expect("a link is made");
        symlink("loop", top.join("loop")).expect("a link is made");
        for path in ["a/b", "absolute/file", "dots", "a/b/../relative/file", ""] {
            let way = ResolvedPath::to(&top.join(path)).expect(path);
            assert_eq!(way.target.path, top.join(path).canonicalize().expect(path), "{path}");
        }
        let way = ResolvedPath::to(&top.join("dots")).expect("it resolves");
        for passed in ["dots", "absolute", "a", "a/relative", "c"] {
            assert!(way.passed.iter().any(|entry| entry.path == top.join(passed)), "{passed}: {way:?}");
        }
        ResolvedPath::to(&top.join("loop")).expect_err("a link that leads to itself");
        ResolvedPath::to(&top.join("dots/more")).expect_err("a file is not a folder");
        ResolvedPath::to(&top.join("nothing")).expect_err("it does not exist");
    }
}
