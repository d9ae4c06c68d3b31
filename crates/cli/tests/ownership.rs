//! Ownership of the data folder: another account's is refused, and one of an earlier version still works.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, lchown},
        process::CommandExt as _,
    },
    path::Path,
};

use crate::{demo::fresh_data_dir, panopticon, run};

/// The usual id of `nobody`.
const STRANGER: u32 = 65_534;
/// A group that no machine lists.
const GROUP: u32 = 471_147;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        test_support::skip("only root can give a folder away");
    }
    is_root
}

fn give(path: &Path, mode: u32) {
    lchown(path, Some(STRANGER), Some(GROUP)).expect("it can be given away");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode is set");
}

#[test]
fn every_command_refuses_a_data_folder_of_another_account() {
    if !is_root() {
        return;
    }
    let folder = fresh_data_dir();
    give(folder.path(), 0o755);
    for arguments in [&["db", "psql"][..], &["db", "url"], &["demo"], &["search", "query", "x"], &["serve"]] {
        let mut command = panopticon(Path::new("/"), arguments);
        let ended = run(command.env("PANOPTICON_DATA_DIR", folder.path()));
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        let expected = format!("`{}` belongs to user id {STRANGER}, not to 0", folder.path().display());
        assert!(ended.stderr.contains(&expected), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("set PANOPTICON_DATA_DIR to another folder"), "{ended:?}");
    }
    let left = fs::read_dir(folder.path()).expect("it lists").flatten().map(|entry| entry.file_name());
    assert!(
        left.into_iter().all(|name| name != "setup.lock" && name != "postgres"),
        "nothing was created in it"
    );
}

#[test]
fn group_writable_folder_is_closed_to_the_group_and_used() {
    if !is_root() {
        return;
    }
    // Another user may not enter the build folder.
    let home = tempfile::tempdir().expect("a temporary folder");
    let program = home.path().join("panopticon");
    fs::copy(env!("CARGO_BIN_EXE_panopticon"), &program).expect("the binary copies");
    let borrowed = fresh_data_dir();
    let data = home.path().join("data");
    fs::rename(borrowed.path(), &data).expect("it can be moved");
    let cluster = data.join("postgres");
    fs::create_dir(&cluster).expect("a folder is made");
    for folder in [home.path(), &data, &cluster] {
        give(folder, 0o2775);
    }
    let as_stranger = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").args(arguments);
        command.arg("--data-dir").arg(&data).uid(STRANGER).gid(STRANGER);
        run(&mut command)
    };
    let started = as_stranger(&["db", "url"]);
    let stopped = as_stranger(&["db", "stop"]);
    assert_eq!((started.code, stopped.code), (0, 0), "{started:?} {stopped:?}");
    let warning = format!("group id {GROUP} can write `{}`", home.path().display());
    assert!(started.stderr.contains(&warning), "{started:?}");
    assert!(stopped.stderr.contains("stopped"), "{stopped:?}");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!([home.path(), &data, &cluster].map(mode), [0o775, 0o755, 0o700]);
}
