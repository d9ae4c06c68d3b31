//! The account that runs PostgreSQL: the current one, or an unprivileged one instead of root, since PostgreSQL refuses to
//! run as root.
//!
//! Files in a folder of that account are written by a process of that account: root would follow a link that the account
//! puts there.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Stdio},
};

use rustix::fs::OFlags;

use super::environment;
use crate::{
    error::{Error, FileContext as _},
    program::last_lines,
};

/// More than any file of PostgreSQL that we read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The account that owns the cluster and runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The current account.
    Ourselves,
    /// An unprivileged account that root switches to.
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// The account for a cluster in `folder`: its owner, else `postgres`, else `nobody`.
    pub(crate) fn choose(folder: &Path) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let passwd = fs::read_to_string("/etc/passwd").during("read", "/etc/passwd")?;
        // A missing folder has no owner; for any other error the owner is unknown.
        let owner = match fs::metadata(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            metadata => Some(metadata.during("examine", folder)?.uid()),
        };
        let account = find(&passwd, |_, uid| uid != 0 && Some(uid) == owner)
            .or_else(|| find(&passwd, |name, _| name == "postgres"))
            .or_else(|| find(&passwd, |name, _| name == "nobody"))
            .ok_or(Error::NoAccount)?;
        account.check_reach(folder)?;
        Ok(account)
    }

    /// Makes `command` run as this account, from a folder that it can enter, without libpq's environment.
    pub(crate) fn run<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
        environment::without_libpq(command).current_dir("/")
    }

    /// The account's user id.
    pub(crate) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves => rustix::process::geteuid().as_raw(),
            Self::Other { uid, .. } => *uid,
        }
    }

    /// Creates `folder`, which must not exist yet, with access only for this account.
    pub(crate) fn create_folder(&self, folder: &Path) -> Result<(), Error> {
        fs::DirBuilder::new().create(folder).during("create", folder)?;
        let opened = open_folder(folder).during("open", folder)?;
        opened.set_permissions(fs::Permissions::from_mode(0o700)).during("set mode of", folder)?;
        self.own(&opened, folder)
    }

    /// Gives `file`, which was opened at `path`, to this account.
    pub(crate) fn own(&self, file: &File, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                fchown(file, Some(*uid), Some(*gid)).during("change owner of", path)
            }
        }
    }

    /// Writes `content` to `path` in a folder of this account, as this account.
    pub(crate) fn write(&self, path: &Path, content: &str) -> Result<(), Error> {
        if *self == Self::Ourselves {
            return fs::write(path, content).during("write", path);
        }
        let failed = |source| Error::File { verb: "write", path: path.to_owned(), source };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"umask 077 && cat > "$1""#, "sh"]).arg(path);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.run(&mut command).spawn().map_err(failed)?;
        let mut input = child.stdin.take().expect("standard input is piped");
        // A shell that could not open the file has ended; its message is reported below.
        let written = input.write_all(content.as_bytes());
        drop(input);
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let output_end = last_lines(&output.stderr, 3);
            let program = format!("writing {}", path.display());
            return Err(Error::Program { program, status: output.status, output: output_end });
        }
        written.map_err(failed)
    }

    /// Checks the folders above `folder`, since PostgreSQL's message names neither cause nor remedy.
    fn check_reach(&self, folder: &Path) -> Result<(), Error> {
        let Self::Other { name, uid, gid } = self else { return Ok(()) };
        let outermost_first = folder.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev();
        for ancestor in outermost_first {
            let metadata = fs::metadata(ancestor).during("examine", ancestor)?;
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

/// The text of the regular file at `path`, which may be in a folder of another account: does not follow links or block, and
/// reads at most [`MAX_FILE_BYTES`].
pub(crate) fn read_untrusted(path: &Path) -> std::io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = File::options().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// The folder at `path`; does not follow a link.
pub(crate) fn open_folder(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path)
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
    fn accounts_are_found_by_name_or_id_and_invalid_lines_are_skipped() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nnobody:x:65534:65533::/:/bin/false\n";
        let nobody = Account::Other { name: "nobody".into(), uid: 65534, gid: 65533 };
        assert_eq!(find(passwd, |name, _| name == "nobody"), Some(nobody.clone()));
        assert_eq!(find(passwd, |_, uid| uid == 65534), Some(nobody));
        assert_eq!(find(passwd, |name, _| name == "postgres"), None);
    }

    #[test]
    fn reading_does_not_follow_links_or_block_on_pipes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (secret, link, pipe) =
            (folder.path().join("secret"), folder.path().join("link"), folder.path().join("pipe"));
        fs::write(&secret, "18\n").expect("the file is written");
        std::os::unix::fs::symlink(&secret, &link).expect("a link can be made");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        assert_eq!(read_untrusted(&secret).expect("a file reads"), "18\n");
        assert!(read_untrusted(&link).is_err() && read_untrusted(&pipe).is_err());
        assert!(read_untrusted(folder.path()).is_err(), "a folder is no file");
    }
}
