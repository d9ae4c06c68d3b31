//! A database file and its journals with changed bytes.

use std::fs;

use super::{
    in_folder, read_all,
    source::Source,
    tables::{self, Tables},
};
use crate::database::DATABASE;

/// Changes bytes of a complete database; the rest of the input may become its journal or its write-ahead log.
pub fn directory(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    in_folder(|folder| {
        let mut file = tables::file(Tables::Filled, folder);
        for _ in 0..source.below(32) {
            // A position is a page and a byte in it: half of them are in the page header, which contains the structure.
            let page = usize::from(source.byte());
            let byte = usize::from(source.u16());
            let byte = if byte.is_multiple_of(2) { byte % 64 } else { byte % 512 };
            let value = source.byte();
            let length = file.len();
            if let Some(place) = file.get_mut((page * 512 + byte) % length) {
                *place = value;
            }
        }
        match source.below(8) {
            0 => file.truncate(usize::from(source.u16())),
            1 => file.resize(file.len() + usize::from(source.u16()), 0),
            _ => {}
        }
        let suffix = match source.below(16) {
            0 => Some("-journal"),
            1 => Some("-wal"),
            _ => None,
        };
        if let Some(suffix) = suffix {
            let magic: &[u8] = if suffix == "-wal" {
                &[0x37, 0x7f, 0x06, 0x82, 0x00, 0x2d, 0xe2, 0x18, 0, 0, 2, 0]
            } else {
                &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]
            };
            let content = [magic, source.bytes(usize::MAX)].concat();
            fs::write(folder.join(format!("{DATABASE}{suffix}")), content).expect("the folder is ours");
        }
        fs::write(folder.join(DATABASE), &file).expect("the folder is ours");
        let readable = read_all(folder);
        if let Ok(found) = readable {
            // A row takes at least four bytes, and a database may link to a page once.
            assert!(found.iter().all(|found| found.records.len() <= 1 << 20));
        }
    });
}
