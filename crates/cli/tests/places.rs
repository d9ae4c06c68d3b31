//! Hints for sources that are not a Chroma directory, and for directories that cannot be read.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use test_support::{TestDatabase, sample};

use crate::{Run, json, panopticon, run, run_on};

const INDEX_FILES: [&str; 4] = ["index_metadata.pickle", "header.bin", "data_level0.bin", "length.bin"];
/// The usual id of `nobody`.
const STRANGER: u32 = 65_534;

/// A directory whose index has most of its vectors.
fn directory() -> TempDir {
    let folder = sample("judge_service_data");
    allow(folder.path(), 0o755);
    for entry in fs::read_dir(folder.path()).expect("it lists").flatten() {
        allow(&entry.path(), if entry.path().is_dir() { 0o755 } else { 0o644 });
    }
    folder
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode is set");
}

fn index_folder(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory).expect("it lists").flatten();
    entries.map(|entry| entry.path()).find(|path| path.is_dir()).expect("it has an index")
}

fn inspect(source: &str) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(panopticon(folder.path(), &["inspect"]).arg(source))
}

/// The same, as a user who is not root and owns nothing.
fn inspect_as_stranger(source: &Path) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    allow(folder.path(), 0o755);
    let program = folder.path().join("panopticon");
    // Another user may not enter the build folder.
    fs::copy(env!("CARGO_BIN_EXE_panopticon"), &program).expect("the binary copies");
    let mut command = std::process::Command::new(program);
    command.env_clear().current_dir("/").arg("inspect").arg(source);
    command.args(["--data-dir", "/nonexistent"]);
    if rustix::process::geteuid().is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    run(&mut command)
}

#[test]
fn unreadable_files_are_errors_and_not_lost_indexes() {
    let whole = directory();
    let readable = inspect_as_stranger(whole.path());
    assert_eq!((readable.code, readable.stderr.as_str()), (0, ""), "{readable:?}");
    let index = index_folder(whole.path());
    let files = INDEX_FILES.iter().map(|name| index.join(name)).filter(|path| path.exists());
    let mut closed: Vec<PathBuf> = files.collect();
    assert!(closed.len() > 2, "{closed:?}");
    closed.extend([index.clone(), whole.path().join("chroma.sqlite3"), whole.path().to_owned()]);
    for path in closed {
        let before = fs::metadata(&path).expect("it is there").permissions().mode();
        allow(&path, 0o000);
        let ended = inspect_as_stranger(whole.path());
        allow(&path, before);
        let shown = path.display().to_string();
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{shown}: {ended:?}");
        let (error, hint) = ended.stderr.split_once('\n').expect("two lines");
        assert!(error.contains(&shown) && error.contains("Permission denied"), "{shown}: {ended:?}");
        assert!(hint.starts_with("hint: ") && hint.contains("chown") | hint.contains("chmod"), "{ended:?}");
    }
}

#[test]
fn links_and_folders_in_place_of_files_are_errors_and_not_lost_indexes() {
    let check = |change: &dyn Fn(&Path, &Path), expected: &str| {
        let (directory, elsewhere) = (directory(), tempfile::tempdir().expect("a temporary folder"));
        change(directory.path(), elsewhere.path());
        let ended = inspect(&directory.path().display().to_string());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.stderr.contains(expected) && ended.stderr.contains("\nhint: "), "{ended:?}");
    };
    let move_away = |path: &Path, elsewhere: &Path| {
        let target = elsewhere.join(path.file_name().expect("it has a name"));
        // Across file systems a rename would fail.
        let moved = std::process::Command::new("mv").arg(path).arg(&target).status();
        assert!(moved.expect("mv runs").success());
        target
    };
    check(
        &|directory, elsewhere| {
            let index = index_folder(directory);
            symlink(move_away(&index, elsewhere), &index).expect("a link");
        },
        "symbolic link",
    );
    for name in INDEX_FILES {
        check(
            &|directory, elsewhere| {
                let file = index_folder(directory).join(name);
                symlink(move_away(&file, elsewhere), &file).expect("a link");
            },
            name,
        );
        check(
            &|directory, elsewhere| {
                let file = index_folder(directory).join(name);
                move_away(&file, elsewhere);
                fs::create_dir(&file).expect("a folder");
            },
            name,
        );
    }
    check(
        &|directory, elsewhere| {
            let index = index_folder(directory);
            move_away(&index, elsewhere);
            fs::write(&index, "a file").expect("a file");
        },
        "expected a folder",
    );
    check(
        &|directory, elsewhere| {
            let database = directory.join("chroma.sqlite3");
            symlink(move_away(&database, elsewhere), &database).expect("a link");
        },
        "give the folder of its target",
    );
}

#[tokio::test]
async fn records_with_unreadable_vectors_are_not_embedded_again() {
    let (folder, elsewhere) = (directory(), tempfile::tempdir().expect("a temporary folder"));
    let index = index_folder(folder.path());
    let target = elsewhere.path().join("index");
    assert!(std::process::Command::new("mv").arg(&index).arg(&target).status().expect("mv runs").success());
    symlink(&target, &index).expect("a link");
    let database = TestDatabase::create().await;
    let source = folder.path().display().to_string();
    let ended =
        run_on(&database, &["migrate", "judge", "--from", &source, "--embed-missing", "--json"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let report = json(&ended);
    assert_eq!(report["status"], "failed", "{report}");
    assert!(
        report["error"].as_str().is_some_and(|error| error.contains("links are not followed")),
        "{report}"
    );
    assert!(report["hint"].as_str().is_some_and(|hint| hint.contains("symbolic link")), "{report}");
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
        .fetch_one(&mut database.connection().await)
        .await
        .expect("the tables are counted");
    assert_eq!(tables, 0);
}

#[test]
fn hint_for_a_wrong_source_names_the_right_one() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let chroma = parent.path().join("chroma");
    let copied = std::process::Command::new("cp").arg("-r").arg(directory().path()).arg(&chroma).status();
    assert!(copied.expect("cp runs").success());
    let path = |path: &Path| path.display().to_string();
    let chroma_path = path(&chroma);
    let index = index_folder(&chroma);
    let archives = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in [
        ("chroma.zip", &b"PK\x03\x04rest"[..]),
        ("chroma.tar.gz", b"\x1f\x8brest"),
        ("backup", b"\x1f\x8brest"),
        ("other.db", b"SQLite format 3\0rest"),
        ("notes.txt", b"text"),
    ] {
        fs::write(archives.path().join(name), bytes).expect("a file");
    }
    let archive = |name: &str| path(&archives.path().join(name));
    let empty = tempfile::tempdir().expect("a temporary folder");
    let two = tempfile::tempdir().expect("a temporary folder");
    for name in ["a", "b"] {
        fs::create_dir(two.path().join(name)).expect("a folder");
        fs::copy(chroma.join("chroma.sqlite3"), two.path().join(name).join("chroma.sqlite3"))
            .expect("a copy");
    }
    let old = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(old.path().join("db")).expect("a folder");
    fs::write(old.path().join("db/chroma-collections.parquet"), "PAR1").expect("a file");
    let give = |folder: &str| format!("give the folder `{folder}`");
    for (source, expected) in [
        (path(&chroma.join("chroma.sqlite3")), give(&chroma_path)),
        (format!("{}/", path(&chroma.join("chroma.sqlite3"))), give(&chroma_path)),
        (path(parent.path()), format!("did you mean `{chroma_path}`?")),
        (format!("{}/", path(parent.path())), format!("`{chroma_path}`?")),
        (path(&index), format!("give the folder above it, `{chroma_path}`")),
        (path(&index.join("header.bin")), give(&chroma_path)),
        (path(two.path()), format!("did you mean `{}/a` or `{}/b`?", path(two.path()), path(two.path()))),
        (path(old.path()), format!("did you mean `{}/db`?", path(old.path()))),
        (path(&old.path().join("db/chroma-collections.parquet")), give(&path(&old.path().join("db")))),
        (archive("chroma.zip"), "unpack it first".to_owned()),
        (archive("chroma.tar.gz"), "unpack it first".to_owned()),
        (archive("backup"), "unpack it first".to_owned()),
        (archive("other.db"), "Chroma's is named `chroma.sqlite3`".to_owned()),
        (archive("notes.txt"), "give the folder".to_owned()),
        (path(archives.path()), "unpack".to_owned()),
        (path(empty.path()), "the folder is empty".to_owned()),
        (
            path(&parent.path().join("absent")),
            format!("no such file or folder; did you mean `{chroma_path}`?"),
        ),
        ("localhost:8000".to_owned(), "for a server: http://localhost:8000".to_owned()),
        ("127.0.0.1:8000".to_owned(), "for a server: http://127.0.0.1:8000".to_owned()),
        ("chroma://localhost:8000".to_owned(), "for a server: http://localhost:8000".to_owned()),
        (format!("file://{chroma_path}"), format!("`{chroma_path}`")),
        ("~/chroma-that-is-not-there".to_owned(), "outside of quotes".to_owned()),
    ] {
        let ended = inspect(&source);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{source}: {ended:?}");
        let hint = ended.stderr.lines().nth(1).unwrap_or_default();
        assert!(hint.starts_with("hint: ") && hint.contains(&expected), "{source}: {ended:?}");
    }
}

#[test]
fn hint_for_a_damaged_database_explains_its_recovery() {
    let folder = directory();
    let database = folder.path().join("chroma.sqlite3");
    let whole = fs::read(&database).expect("it reads");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&database, bytes).expect("it is written");
        let ended = inspect(&folder.path().display().to_string());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        let hint = ended.stderr.lines().nth(1).unwrap_or_default();
        assert!(hint.contains(expected), "{ended:?}");
    };
    let mut torn = whole.clone();
    torn[100..4096].fill(0xff);
    check(&torn, ".recover | sqlite3 new/chroma.sqlite3");
    check(b"", "the file is empty");
    check(&[0xff; 4096], ".recover");
    check(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull");
}
