//! Locks on files, between processes.

use std::fs::{File, TryLockError};
use std::io;

/// A file that is locked as long as this lives.
///
/// It is unlocked rather than only closed: a child that another thread has just forked has a copy of the descriptor
/// until it executes its program, and with it a lock that was only closed.
#[derive(Debug)]
pub(crate) struct LockedFile(File);

impl LockedFile {
    /// Waits until no other process has `file` locked.
    pub(crate) fn exclusive(file: File) -> io::Result<Self> {
        file.lock()?;
        Ok(Self(file))
    }

    /// Waits until no process has `file` locked exclusively.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        file.lock_shared()?;
        Ok(Self(file))
    }

    /// `None` where another has `file` locked.
    pub(crate) fn try_exclusive(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // An error loses nothing: closing the file unlocks it too.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_unlocked_though_a_copy_of_its_descriptor_is_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let open =
            || File::options().create(true).append(true).open(folder.path().join("lock")).expect("a file");
        let file = open();
        let copy = file.try_clone().expect("a copy, as a forked child has it");
        let lock = LockedFile::exclusive(file).expect("it is free");
        assert!(LockedFile::try_exclusive(open()).expect("a lock").is_none(), "it is held");
        drop(lock);
        assert!(LockedFile::try_exclusive(open()).expect("a lock").is_some(), "it is free again");
        drop(copy);
    }
}
