//! The UUID that is a stored record's primary key, computed from its ChromaDB id.

use uuid::Uuid;

/// Namespace of the UUIDv5 of ids that are not canonical UUIDs. Stored data depends on it: never change it.
pub const ID_NAMESPACE: Uuid = Uuid::from_u128(0x0b5c_7c2e_6a0f_4d55_9c0e_70a4_3f6d_1e28);

/// The primary key of the record that ChromaDB calls `source_id`: a canonical UUID (lower-case, hyphenated) is
/// kept, anything else (`chatcmpl-…`, `msg_…`, an upper-case UUID) becomes the UUIDv5 of its UTF-8 bytes in
/// [`ID_NAMESPACE`]. The same id gives the same key on every machine, so references to it stay valid.
pub fn stored_id(source_id: &str) -> Uuid {
    match Uuid::try_parse(source_id) {
        Ok(uuid) if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == source_id => uuid,
        _ => Uuid::new_v5(&ID_NAMESPACE, source_id.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_uuids_are_kept_and_everything_else_gets_a_stable_one() {
        let canonical = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(stored_id(canonical).to_string(), canonical);
        let others = [
            "67E55044-10B1-426F-9247-BB680E5FE0C8",
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
            "chatcmpl-8xyz",
            "",
        ];
        let keys: Vec<Uuid> = others.iter().map(|id| stored_id(id)).collect();
        for (position, key) in keys.iter().enumerate() {
            assert_eq!(key.get_version_num(), 5, "{}", others[position]);
            assert_eq!(keys.iter().filter(|other| *other == key).count(), 1, "{}", others[position]);
        }
        // Computed by Python: uuid.uuid5(uuid.UUID("0b5c7c2e-6a0f-4d55-9c0e-70a43f6d1e28"), "chatcmpl-8xyz")
        assert_eq!(stored_id("chatcmpl-8xyz").to_string(), "48e5f7be-fee8-5abb-89df-93d25919482a");
    }
}
