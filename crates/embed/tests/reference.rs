//! Accuracy compared to PyTorch's vectors and to those in a real Chroma database.

use std::process::Command;

use embed::Kernel;
use rusqlite::{Connection, OpenFlags};
use test_support::count;

use crate::support::{self, Deviation};

#[test]
fn vectors_agree_with_pytorch_for_every_kernel() {
    let texts = support::reference_texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = support::reference_vectors();
    assert_eq!(texts.len(), expected.len());
    assert!(texts.len() >= 200);
    for kernel in support::kernels() {
        // The portable kernel takes many times as long.
        let step = if kernel == Kernel::Portable { count(8, 1) } else { count(2, 1) };
        let texts: Vec<&str> = texts.iter().copied().step_by(step).collect();
        let found = support::load(kernel, 2).embed(&texts).unwrap();
        let mut deviation = Deviation::default();
        for (found, expected) in found.iter().zip(expected.iter().step_by(step)) {
            deviation.add(found.as_slice(), expected);
        }
        let Deviation { max_abs, one_minus_cos, norm } = deviation;
        eprintln!("{kernel}: max abs {max_abs:.2e}, 1 - cos {one_minus_cos:.2e}, |norm - 1| {norm:.2e}");
        assert!(max_abs <= 5e-7, "{kernel}: max abs {max_abs:e}");
        assert!(one_minus_cos <= 1e-11, "{kernel}: 1 - cos {one_minus_cos:e}");
        assert!(norm <= 1e-6, "{kernel}: norm is off by {norm:e}");
    }
}

#[test]
fn vectors_agree_with_those_stored_by_chroma() {
    let Some(archive) = support::shared("chroma/fixtures/panopticon-query-storage.tar.gz") else { return };
    let folder = std::env::temp_dir().join(format!("embed-chroma-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&folder).status().unwrap();
    assert!(unpacked.success());
    let database = find(&folder, "chroma.sqlite3").expect("the fixture has a chroma.sqlite3");
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = connection.prepare("select metadata, vector from embeddings_queue").unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    let model = support::load(Kernel::detect(), 2);
    let mut compared = 0;
    for row in rows {
        let (metadata, vector) = row.unwrap();
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
        let document = metadata["chroma:document"].as_str().unwrap();
        let mut deviation = Deviation::default();
        deviation.add(model.embed(&[document]).unwrap()[0].as_slice(), &support::f32s(&vector));
        eprintln!("chroma: max abs {:.2e}", deviation.max_abs);
        assert!(deviation.max_abs <= 5e-7, "max abs {:e}", deviation.max_abs);
        compared += 1;
    }
    assert_eq!(compared, 2);
    std::fs::remove_dir_all(folder).unwrap();
}

fn find(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|found| found == name) {
            return Some(path);
        }
        if path.is_dir()
            && let Some(found) = find(&path, name)
        {
            return Some(found);
        }
    }
    None
}
