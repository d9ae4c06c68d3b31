//! The data folder belongs to this account: no file there is executed, trusted or written that another account created or
//! could have replaced.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};

use crate::{
    error::{Error, FileContext as _},
    trust::{Groups, PathEntry, ResolvedPath, Writer, is_ours},
};

/// The folder at `path`, resolved; created if it is missing, and refused if others could redirect its path or write in it.
pub(crate) fn own_folder(path: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(path).during("resolve", path)?;
    let groups = Groups::of_this_machine();
    let exists = |path: &&Path| fs::symlink_metadata(path).is_ok();
    // The parent of a missing folder is checked first: a link there could make us create the folder anywhere.
    match path.ancestors().find(exists) {
        Some(parent) if parent != path => {
            check_way(parent, &groups)?;
            // Not wider than this with any umask.
            DirBuilder::new().recursive(true).mode(0o755).create(&path).during("create", &path)?;
        }
        _ => {}
    }
    check_folder(&path, &groups)
}

/// The same for a folder that must exist.
pub(crate) fn own_present_folder(path: &Path) -> Result<PathBuf, Error> {
    check_folder(path, &Groups::of_this_machine())
}

/// Refuses a folder with anything that belongs to another account or can be written by one.
pub(crate) fn own_tree(folder: &Path) -> Result<(), Error> {
    let groups = Groups::of_this_machine();
    let mut folders = vec![check_folder(folder, &groups)?];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).during("list", &folder)? {
            let place = entry.and_then(|entry| PathEntry::at(&entry.path())).during("list", &folder)?;
            let kind = place.metadata.file_type();
            if kind.is_symlink() {
                // Only its owner can have created it.
                check_owner(&place.path, &place.metadata)?;
                continue;
            }
            if !kind.is_dir() && !kind.is_file() {
                return Err(Error::NotRegularFile { path: place.path, owner: place.metadata.uid() });
            }
            check_own(&place, &groups)?;
            if kind.is_dir() {
                folders.push(place.path);
            }
        }
    }
    Ok(())
}

/// The place where every user or another group can write the file at `path`, which the user has named, or redirect its path.
/// It may belong to another account, and is not changed.
pub(crate) fn writer_of_given(path: &Path) -> Result<Option<(PathBuf, Writer)>, Error> {
    let groups = Groups::of_this_machine();
    let way = match ResolvedPath::to(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        way => way.during("resolve", path)?,
    };
    // The last one is the file.
    let steps = way.passed.iter().map(|place| (place, place.is_kept())).chain([(&way.target, false)]);
    for (place, _) in steps.filter(|(_, is_kept)| !is_kept) {
        match groups.writer_besides_owner(&place.metadata) {
            // The group of another owner may be that owner's own.
            Some(Writer::Group(gid))
                if !is_ours(place.metadata.uid()) || is_tolerated(&place.metadata, gid, &groups) => {}
            Some(writer) => return Ok(Some((place.path.clone(), writer))),
            None => {}
        }
    }
    Ok(None)
}

/// Opens the file at `path`, in one of our folders, for writing, and creates it if it is missing. It must be a regular file
/// of this account or of `account`, and only its owner can read and write it: any process that can open a lock file can
/// lock it.
pub(crate) fn private_file(path: &Path, account: u32) -> Result<File, Error> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = open_regular(options, path)?;
    let metadata = file.metadata().during("examine", path)?;
    if metadata.uid() != account {
        check_owner(path, &metadata)?;
    }
    // Earlier versions made these files readable for all.
    if metadata.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600)).during("set mode of", path)?;
    }
    Ok(file)
}

/// The text of the regular file at `path`, which must belong to this account.
pub(crate) fn read_own(path: &Path) -> Result<String, Error> {
    let mut options = File::options();
    options.read(true);
    let file = open_regular(options, path)?;
    let metadata = file.metadata().during("examine", path)?;
    check_owner(path, &metadata)?;
    io::read_to_string(file).during("read", path)
}

/// Opens the regular file at `path`; does not follow a link or block on a pipe.
fn open_regular(mut options: fs::OpenOptions, path: &Path) -> Result<File, Error> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let found = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => fs::symlink_metadata(path),
    };
    match found {
        Ok(metadata) if !metadata.is_file() => {
            Err(Error::NotRegularFile { path: path.to_owned(), owner: metadata.uid() })
        }
        _ => opened.during("open", path),
    }
}

fn check_folder(path: &Path, groups: &Groups) -> Result<PathBuf, Error> {
    let way = ResolvedPath::to(path).during("resolve", path)?;
    check_passed(&way.passed, groups)?;
    if !way.target.metadata.is_dir() {
        return Err(Error::NotFolder { path: way.target.path });
    }
    check_own(&way.target, groups)?;
    Ok(way.target.path)
}

fn check_way(path: &Path, groups: &Groups) -> Result<(), Error> {
    let way = ResolvedPath::to(path).during("resolve", path)?;
    check_passed(&way.passed, groups)?;
    check_passed(&[way.target], groups)
}

fn check_passed(passed: &[PathEntry], groups: &Groups) -> Result<(), Error> {
    for place in passed {
        match groups.writer_on_the_way(place) {
            None => {}
            Some(Writer::Group(gid)) if is_tolerated(&place.metadata, gid, groups) => log::warn!(
                "group id {gid} can write `{}`, so its members can replace panopticon's files there: run `chmod g-w` on it",
                place.path.display()
            ),
            Some(writer) => return Err(refusal(place, writer)),
        }
    }
    Ok(())
}

/// Checks a file or folder that we use. One of ours that our group can write, as with a umask of 002, is closed to it.
fn check_own(place: &PathEntry, groups: &Groups) -> Result<(), Error> {
    match groups.writer(&place.metadata) {
        None => Ok(()),
        Some(Writer::Group(gid)) if is_tolerated(&place.metadata, gid, groups) => {
            if place.metadata.uid() == geteuid().as_raw() {
                close_to_group(place)?;
            }
            Ok(())
        }
        Some(writer) => Err(refusal(place, writer)),
    }
}

/// Whether a group may have got write access from a umask or a container runtime, and not intentionally.
fn is_tolerated(metadata: &Metadata, gid: u32, groups: &Groups) -> bool {
    let ourselves = geteuid();
    !ourselves.is_root() && (metadata.uid() == ourselves.as_raw() || groups.is_ours_unlisted(gid))
}

fn close_to_group(place: &PathEntry) -> Result<(), Error> {
    let PathEntry { path, metadata } = place;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.during("open", path)?;
    let opened = file.metadata().during("examine", path)?;
    if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
        return Err(refusal(place, Writer::Group(metadata.gid())));
    }
    file.set_permissions(Permissions::from_mode(opened.mode() & 0o7755)).during("set mode of", path)?;
    log::info!("group id {1} can no longer write `{0}`", path.display(), metadata.gid());
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let (owner, ourselves) = (metadata.uid(), geteuid().as_raw());
    if is_ours(owner) { Ok(()) } else { Err(Error::OtherOwner { path: path.to_owned(), owner, ourselves }) }
}

fn refusal(place: &PathEntry, writer: Writer) -> Error {
    let (path, owner) = (place.path.clone(), place.metadata.uid());
    match writer {
        Writer::User(_) => Error::OtherOwner { path, owner, ourselves: geteuid().as_raw() },
        Writer::Everyone | Writer::Group(_) => Error::OthersWrite { path, owner, writer: writer.to_string() },
    }
}
