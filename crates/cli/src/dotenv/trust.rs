//! Who can have written a file: it says where programs lie and whom keys are sent to, so that of a folder above the
//! working one, only what nobody but us or root can change is believed.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Why others than we and root can have written a file. `None` if they cannot.
///
/// # Errors
/// When a folder above it cannot be looked at.
pub(super) fn who_else_writes(path: &Path, file: &Metadata) -> io::Result<Option<String>> {
    let groups = Groups::of_this_machine();
    if let Some(who) = writers(file, &groups) {
        return Ok(Some(format!("{who} can write it")));
    }
    // Whoever can write a folder can put another file in its place; in a sticky one, only into places that are free.
    for folder in path.ancestors().skip(1) {
        let metadata = fs::metadata(folder)?;
        if metadata.mode() & STICKY != 0 && is_ours(metadata.uid()) {
            continue;
        }
        if let Some(who) = writers(&metadata, &groups) {
            return Ok(Some(format!("{who} can write the folder `{}`", folder.display())));
        }
    }
    Ok(None)
}

/// Whether the user id is ours or root's.
pub(super) fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn writers(metadata: &Metadata, groups: &Groups) -> Option<String> {
    if !is_ours(metadata.uid()) {
        return Some(format!("user id {}", metadata.uid()));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Some("every user".to_owned());
    }
    let is_groups = metadata.mode() & GROUP_WRITES != 0 && !groups.is_ours_alone(metadata.gid());
    is_groups.then(|| format!("group id {}", metadata.gid()))
}

/// The machine's users and groups: many systems give each user a group of their own, which may write what they make.
struct Groups {
    passwd: String,
    group: String,
}

impl Groups {
    fn of_this_machine() -> Self {
        // A file that cannot be read lists no user: then no group is known to be ours alone, and the file is not trusted.
        let read = |path: &str| fs::read_to_string(PathBuf::from(path)).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// Whether nobody but us and root is known to be in the group. Of a group that is not listed nothing is known.
    fn is_ours_alone(&self, gid: u32) -> bool {
        let field = |line: &str, index: usize| line.split(':').nth(index).unwrap_or_default().to_owned();
        let number = |line: &str, index| field(line, index).parse::<u32>().ok();
        let users: Vec<&str> = self.passwd.lines().collect();
        let is_ours_by_name = |name: &str| {
            let user = users.iter().find(|line| field(line, 0) == name);
            user.and_then(|line| number(line, 2)).is_some_and(is_ours)
        };
        let Some(line) = self.group.lines().find(|line| number(line, 2) == Some(gid)) else { return false };
        let members = field(line, 3);
        let members_are_ours = members.split(',').filter(|name| !name.is_empty()).all(is_ours_by_name);
        let others_are_in_it =
            |line: &&str| number(line, 3) == Some(gid) && !number(line, 2).is_some_and(is_ours);
        members_are_ours && !users.iter().any(others_are_in_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_is_ours_alone_if_no_other_user_is_in_it() {
        let uid = rustix::process::geteuid().as_raw();
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
            assert_eq!(groups.is_ours_alone(gid), expected, "{gid}");
        }
    }
}
