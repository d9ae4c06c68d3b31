//! The Chroma directory is deleted or damaged during the migration.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::process::Signal;
use test_support::{ChromaForm, TestDatabase};

use super::{Migration, finish, signals::send};

#[tokio::test]
async fn directory_deleted_during_the_run_is_named_and_the_run_resumes_once_it_is_restored() {
    for form in [ChromaForm::Log, ChromaForm::Flushed] {
        let database = TestDatabase::create().await;
        let migration = Migration::of_form(&database.url(), 2_000, "20", form);
        let (directory, kept) = (migration.directory(), migration.folder.path().join("kept"));
        copy(&directory, &kept);

        let mut gate = migration.gate(100).await;
        let mut child = migration.start();
        gate.is_reached(&mut child).await;
        send(&child, Signal::INT);
        assert_eq!(finish(child).await.code, 130);
        gate.open().await;
        let mut gate = migration.gate(500).await;
        let mut child = migration.start();
        gate.is_reached(&mut child).await;
        fs::remove_dir_all(&directory).expect("the directory can be deleted");
        gate.open().await;
        let ended = finish(child).await;
        match form {
            // The database has been open since the run started, so the operating system keeps it.
            ChromaForm::Log => assert_eq!(ended.code, 0, "{ended:?}"),
            // The index is opened for each read of the collection.
            ChromaForm::Flushed => {
                assert_eq!(ended.code, 1, "{ended:?}");
                assert!(ended.stderr.contains("collection `items` changed while it was read"), "{ended:?}");
                let statuses = migration.held().await.statuses;
                assert_ne!(statuses, ["complete"], "it has not been compared");
            }
        }

        let gone = migration.run().await;
        assert_eq!(gone.code, 2, "{gone:?}");
        assert!(gone.stderr.contains(directory.to_str().expect("a plain name")), "{gone:?}");
        copy(&kept, &directory);
        migration.finishes_complete().await;
    }
}

#[tokio::test]
async fn files_truncated_during_the_run_end_it_and_it_resumes_once_they_are_restored() {
    for (form, victim) in [(ChromaForm::Log, "chroma.sqlite3"), (ChromaForm::Flushed, "data_level0.bin")] {
        let database = TestDatabase::create().await;
        let migration = Migration::of_form(&database.url(), 2_000, "20", form);
        let (directory, kept) = (migration.directory(), migration.folder.path().join("kept"));
        copy(&directory, &kept);
        let mut gate = migration.gate(100).await;
        let mut child = migration.start();
        gate.is_reached(&mut child).await;
        let victim = files(&directory).into_iter().find(|path| path.ends_with(victim)).expect("it is there");
        File::options().write(true).open(&victim).and_then(|file| file.set_len(0)).expect("it can be cut");
        gate.open().await;
        let ended = finish(child).await;
        assert!(matches!(ended.code, 1 | 2), "{ended:?}");
        let says = ["error: failed to read", "error: collection `items` changed while it was read"];
        assert!(says.iter().any(|says| ended.stderr.contains(says)), "{ended:?}");
        let held = migration.held().await;
        assert_eq!(held.rows, held.noted, "{held:?}");
        fs::remove_dir_all(&directory).expect("the directory can be deleted");
        copy(&kept, &directory);
        migration.finishes_complete().await;
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder lists") {
        let path = entry.expect("the entry reads").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Copies a directory with the times of its files.
fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("it is in there"));
        fs::create_dir_all(target.parent().expect("it is in a folder")).expect("a folder can be made");
        fs::copy(&file, &target).expect("a file copies");
        let modified = fs::metadata(&file).and_then(|metadata| metadata.modified()).expect("it has a time");
        let copy = File::options().append(true).open(&target).expect("the copy opens");
        copy.set_modified(modified).expect("its time can be set");
    }
}
