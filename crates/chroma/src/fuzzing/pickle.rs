//! The decoder of `index_metadata.pickle`.

use crate::hnsw::fuzzing::{Decoded, decode_pickle};

/// Decodes the input. Ids come from the input, each byte of it at most once. The decoded content must be decoded again
/// from both forms that Chroma writes.
pub fn pickle(bytes: &[u8]) {
    let (decoded, is_whole) = match decode_pickle(bytes) {
        Ok(decoded) => (decoded, true),
        Err((error, remains)) => {
            assert!(error.contains("expected") || error.contains("failed"), "{error}");
            (remains, false)
        }
    };
    assert!(decoded.labels.len() <= bytes.len());
    let id_bytes: usize = decoded.labels.iter().map(|(id, _)| id.len()).sum();
    assert!(id_bytes <= bytes.len(), "{id_bytes} bytes of ids from {} bytes", bytes.len());
    if is_whole || !decoded.labels.is_empty() {
        for form in [write_dict(&decoded), write_object(&decoded)] {
            assert_eq!(decode_pickle(&form).map_err(|(error, _)| error), Ok(decoded.clone()));
        }
    }
}

/// The form of Chroma ≥ 1.0: protocol 3, a dict, no memo, all pairs of a dict at once.
pub(super) fn write_dict(decoded: &Decoded) -> Vec<u8> {
    let Decoded { labels, max_seq_id } = decoded;
    let mut pickle = b"\x80\x03}(".to_vec();
    put_text(&mut pickle, b"dimensionality");
    pickle.push(b'N');
    put_text(&mut pickle, b"max_seq_id");
    match max_seq_id {
        Some(number) => put_int(&mut pickle, *number),
        None => pickle.push(b'N'),
    }
    put_text(&mut pickle, b"id_to_label");
    pickle.extend(b"}(");
    for (id, label) in labels {
        put_text(&mut pickle, id);
        put_int(&mut pickle, label.cast_signed());
    }
    pickle.push(b'u');
    put_text(&mut pickle, b"label_to_id");
    pickle.extend(b"}(");
    for (id, label) in labels {
        put_int(&mut pickle, label.cast_signed());
        put_text(&mut pickle, id);
    }
    pickle.push(b'u');
    put_text(&mut pickle, b"id_to_seq_id");
    pickle.extend(b"}u.");
    pickle
}

/// The form of Chroma < 1.0: an object in Python's protocol 5, framed, memoised, a thousand pairs at a time.
pub(super) fn write_object(decoded: &Decoded) -> Vec<u8> {
    let Decoded { labels, max_seq_id } = decoded;
    let mut pickle = b"\x80\x05\x95\0\0\0\0\0\0\0\0".to_vec();
    pickle.extend(b"\x8c\x32chromadb.segment.impl.vector.local_persistent_hnsw\x94");
    pickle.extend(b"\x8c\x0ePersistentData\x94\x93\x94)\x81\x94}\x94(");
    pickle.extend(b"\x8c\x0edimensionality\x94K\x03\x8c\x0amax_seq_id\x94");
    match max_seq_id {
        Some(number) => put_int(&mut pickle, *number),
        None => pickle.push(b'N'),
    }
    pickle.extend(b"\x8c\x0bid_to_label\x94}\x94");
    // Memoised before the first id: module, class name, class, object, state, three keys and the map.
    let mut memo: u32 = 9;
    for pairs in labels.chunks(1000) {
        pickle.push(b'(');
        for (id, label) in pairs {
            put_text(&mut pickle, id);
            pickle.push(0x94);
            put_int(&mut pickle, label.cast_signed());
        }
        pickle.push(b'u');
    }
    pickle.extend(b"\x8c\x0blabel_to_id\x94}\x94");
    for pairs in labels.chunks(1000) {
        pickle.push(b'(');
        for (_, label) in pairs {
            put_int(&mut pickle, label.cast_signed());
            match u8::try_from(memo) {
                Ok(short) => pickle.extend([b'h', short]),
                Err(_) => pickle.extend([&b"j"[..], &memo.to_le_bytes()].concat()),
            }
            memo += 1;
        }
        pickle.push(b'u');
    }
    pickle.extend(b"ub.");
    pickle
}

fn put_text(pickle: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        // Protocol 3 has no short form; the decoder accepts either.
        Ok(length) if text.len().is_multiple_of(2) => pickle.extend([0x8c, length]),
        _ => {
            pickle.push(b'X');
            pickle.extend(u32::try_from(text.len()).expect("texts of tests are short").to_le_bytes());
        }
    }
    pickle.extend(text);
}

fn put_int(pickle: &mut Vec<u8>, number: i64) {
    match (u8::try_from(number), u16::try_from(number), i32::try_from(number)) {
        (Ok(number), _, _) => pickle.extend([b'K', number]),
        (_, Ok(number), _) => pickle.extend([&b"M"[..], &number.to_le_bytes()].concat()),
        (_, _, Ok(number)) => pickle.extend([&b"J"[..], &number.to_le_bytes()].concat()),
        _ => pickle.extend([&b"\x8a\x08"[..], &number.to_le_bytes()].concat()),
    }
}
