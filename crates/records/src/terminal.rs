//! Characters that a terminal interprets instead of showing.

/// Whether a terminal interprets `c`, or shows nothing for it: control characters, line and paragraph separators, and
/// characters that change the direction of text or are invisible.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `c` as an escape sequence of JSON, `\uXXXX`; two of them for a character beyond the basic plane.
pub fn json_escape(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}
