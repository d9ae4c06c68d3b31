//! The server's Unix socket, in a folder that only its account may enter.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::account::{Account, open_folder};
use crate::error::{Error, FileContext as _};

/// Part of the socket's name; nothing listens on it.
pub(crate) const PORT: u16 = 5432;

/// macOS allows 103 bytes for the path, Linux 107; the socket's name takes 14 of them.
const MAX_FOLDER_BYTES: usize = 89;

/// The parent of the socket folder if the cluster's path is too long.
const SHORT: &str = "/tmp";

/// Path of the socket in `folder`.
pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

/// Path of PostgreSQL's lock file for it.
pub(crate) fn socket_lock(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}.lock"))
}

/// The socket's folder for the cluster in `cluster`: in it, or in `/tmp` if that path is too long for a socket or has
/// characters that must be quoted in PostgreSQL's setting or a URL.
pub(crate) fn folder(cluster: &Path) -> PathBuf {
    let own = cluster.join("socket");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let fits = |path: &str| path.len() <= MAX_FOLDER_BYTES && path.chars().all(is_plain);
    if own.to_str().is_some_and(fits) {
        return own;
    }
    let digest = Sha256::digest(cluster.as_os_str().as_encoded_bytes());
    let name = u64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"));
    Path::new(SHORT).join(format!("panopticon-{name:016x}"))
}

/// Creates `folder` if it is missing, and checks that it belongs to `account` and no other account may enter it.
pub(crate) fn prepare(folder: &Path, account: &Account) -> Result<(), Error> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => account.create_folder(folder)?,
        _ => {}
    }
    let not_private = || Error::SocketFolder { path: folder.to_owned() };
    let opened = open_folder(folder).map_err(|_| not_private())?;
    let metadata = opened.metadata().during("examine", folder)?;
    let parent = folder.parent().expect("the folder has a parent");
    let parent = fs::metadata(parent).during("examine", parent)?;
    // An account that can write the parent folder can replace this one, unless the parent is sticky.
    let is_replaceable = parent.mode() & 0o022 != 0 && parent.mode() & 0o1000 == 0;
    if metadata.uid() != account.uid() || metadata.mode() & 0o077 != 0 || is_replaceable {
        return Err(not_private());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn socket_is_in_the_cluster_unless_its_path_is_long_or_needs_quoting() {
        assert_eq!(
            folder(Path::new("/var/lib/panopticon/postgres")),
            Path::new("/var/lib/panopticon/postgres/socket")
        );
        for odd in [&format!("/home/{}/postgres", "x".repeat(80)), "/Users/a b/postgres", "/srv/ä,'/postgres"]
        {
            let short = folder(Path::new(odd));
            assert!(short.starts_with("/tmp") && socket(&short).as_os_str().len() < 100, "{odd}: {short:?}");
            assert_eq!(short, folder(Path::new(odd)), "every process finds the same");
        }
        assert_ne!(folder(Path::new("/a b")), folder(Path::new("/a c")));
    }

    #[test]
    fn link_file_or_folder_that_others_may_enter_is_refused() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let check = |name: &str| prepare(&top.path().join(name), &Account::Ourselves);
        check("new").expect("the folder is created");
        check("new").expect("and used again");
        symlink(top.path().join("new"), top.path().join("link")).expect("a link can be made");
        assert!(check("link").is_err());
        fs::write(top.path().join("file"), "").expect("a file can be made");
        assert!(check("file").is_err());
        let open = fs::Permissions::from_mode(0o711);
        fs::set_permissions(top.path().join("new"), open).expect("the mode can be set");
        assert!(check("new").is_err());
    }
}
