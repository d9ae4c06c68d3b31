//! The statements that a client sends to PostgreSQL, as a proxy sees them.

/// The request for TLS, which precedes the message that begins a session.
const TLS_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// The client's side of one connection.
#[derive(Default)]
pub(crate) struct ClientMessages {
    /// The begin of a message that is not complete.
    rest: Vec<u8>,
    /// Whether the session has begun: earlier messages have no type.
    has_begun: bool,
}

impl ClientMessages {
    /// The statements of the messages that `bytes` complete: of each simple query, which may be several, and of each prepared
    /// one.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let (mut statements, mut read) = (Vec::new(), 0);
        while let Some((message, length)) = first(&self.rest[read..], self.has_begun) {
            read += length;
            match message {
                // After the length.
                Message::Untyped(code) => self.has_begun = !code.starts_with(&TLS_REQUEST),
                Message::Typed(b'Q', text) => statements.push(until_nul(text).0),
                // After the name of the statement.
                Message::Typed(b'P', text) => statements.push(until_nul(until_nul(text).1).0),
                Message::Typed(..) => {}
            }
        }
        self.rest.drain(..read);
        statements
    }
}

enum Message<'b> {
    Untyped(&'b [u8]),
    Typed(u8, &'b [u8]),
}

/// The first message, if it is complete, and its length in bytes.
fn first(bytes: &[u8], has_type: bool) -> Option<(Message<'_>, usize)> {
    let (kind, after) = if has_type { bytes.split_first()? } else { (&0, bytes) };
    // The length counts itself.
    let (length, _) = after.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.max(4);
    let content = after.get(4..length)?;
    let message = if has_type { Message::Typed(*kind, content) } else { Message::Untyped(content) };
    Some((message, bytes.len() - after.len() + length))
}

/// A text, and what follows its NUL; nothing if it has none.
fn until_nul(bytes: &[u8]) -> (String, &[u8]) {
    let (text, rest) = match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    (String::from_utf8_lossy(text).into_owned(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 4).expect("it is short");
        [kind, &length.to_be_bytes(), content].concat()
    }

    #[test]
    fn statements_are_read_from_parts_of_any_size() {
        let stream = [
            message(b"", &TLS_REQUEST),
            message(b"", b"\x00\x03\x00\x00user\x00a\x00\x00"),
            message(b"p", b"password\x00"),
            message(b"Q", b"begin; select 1\x00"),
            message(b"P", b"name\x00select $1\x00\x00\x00"),
            message(b"B", b"\x00name\x00"),
            message(b"S", b""),
            message(b"Q", b"commit\x00"),
        ]
        .concat();
        for size in 1..=stream.len() {
            let mut messages = ClientMessages::default();
            let statements: Vec<String> = stream.chunks(size).flat_map(|part| messages.read(part)).collect();
            assert_eq!(statements, ["begin; select 1", "select $1", "commit"], "parts of {size} bytes");
        }
    }
}
