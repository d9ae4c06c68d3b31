//! As whom PostgreSQL runs: ourselves, or an unprivileged account when we are root, since it refuses root.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use crate::error::{Error, FileContext as _};

/// The account that owns the cluster and runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Whoever runs us.
    Ourselves,
    /// An unprivileged account that root switches to.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// The account for a cluster in `folder`: who owns it already, else `postgres`, else `nobody`.
    pub(crate) fn choose(folder: &Path) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let passwd = fs::read_to_string("/etc/passwd").during("read", "/etc/passwd")?;
        let owner = fs::metadata(folder).map(|metadata| metadata.uid()).ok();
        let account = find(&passwd, |_, uid| uid != 0 && Some(uid) == owner)
            .or_else(|| find(&passwd, |name, _| name == "postgres"))
            .or_else(|| find(&passwd, |name, _| name == "nobody"))
            .ok_or(Error::NoAccount)?;
        account.check_reach(folder)?;
        Ok(account)
    }

    /// Makes `command` run as this account, from a folder that it can enter.
    pub(crate) fn run<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        command.current_dir("/")
    }

    /// Creates `folder` for this account alone.
    pub(crate) fn create_folder(&self, folder: &Path) -> Result<(), Error> {
        fs::create_dir_all(folder).during("create", folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).during("set mode of", folder)?;
        self.own(folder)
    }

    /// Gives `path` to this account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                std::os::unix::fs::chown(path, Some(*uid), Some(*gid)).during("change owner of", path)
            }
        }
    }

    /// PostgreSQL's own message for this ("could not access directory") names no cause and no remedy.
    fn check_reach(&self, folder: &Path) -> Result<(), Error> {
        let Self::Other { name, uid, gid } = self else { return Ok(()) };
        let outermost_first = folder.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev();
        for ancestor in outermost_first {
            let metadata = fs::metadata(ancestor).during("look at", ancestor)?;
            let execute = match (metadata.uid() == *uid, metadata.gid() == *gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if metadata.mode() & execute == 0 {
                return Err(Error::Unreachable { account: name.clone(), path: ancestor.to_owned() });
            }
        }
        Ok(())
    }
}

/// The first account in `passwd` (the format of passwd(5)) whose name and user id are `wanted`.
fn find(passwd: &str, wanted: impl Fn(&str, u32) -> bool) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        wanted(name, uid).then(|| Account::Other { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_or_id_and_broken_lines_are_passed_over() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nnobody:x:65534:65533::/:/bin/false\n";
        let nobody = Account::Other { name: "nobody".into(), uid: 65534, gid: 65533 };
        assert_eq!(find(passwd, |name, _| name == "nobody"), Some(nobody.clone()));
        assert_eq!(find(passwd, |_, uid| uid == 65534), Some(nobody));
        assert_eq!(find(passwd, |name, _| name == "postgres"), None);
    }
}
