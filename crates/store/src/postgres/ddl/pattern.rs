//! A regular expression of Rust's syntax as one of PostgreSQL's that matches the same texts.
//!
//! Only whether it matches somewhere is asked, so greediness and groups do not matter. It is written from what the
//! pattern means, not from its text: classes as ranges of code points, look-around for what PostgreSQL has no escape
//! for. PostgreSQL's syntax: "Regular Expression Details" in the chapter on pattern matching of its manual.

use std::{fmt::Write as _, sync::LazyLock};

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use crate::storage::{Pattern, StorageError};

/// PostgreSQL's limit of a repetition (`DUPMAX`).
const MAX_REPETITION: u32 = 255;
/// Matches nothing.
const NEVER: &str = "(?!)";
const WORD_ASCII: &str = "[0-9A-Za-z_]";

/// Unicode's word characters, as Rust's `\w` has them; PostgreSQL's own depend on the locale.
static WORD_UNICODE: LazyLock<String> = LazyLock::new(|| {
    let word = regex_syntax::parse(r"\w").expect("it is a pattern");
    let mut written = String::new();
    write(&mut written, &word).expect("it repeats nothing");
    written
});

/// What PostgreSQL cannot do.
#[derive(Debug)]
struct Excessive;

/// The expression for PostgreSQL's operator `~`.
///
/// # Errors
/// [`StorageError::Unsupported`] for repetitions beyond what PostgreSQL counts.
pub(super) fn translate(pattern: &Pattern) -> Result<String, StorageError> {
    // Whatever the server's settings: an advanced regular expression.
    let mut written = String::from("***:");
    write(&mut written, pattern.parsed()).map_err(|Excessive| StorageError::Unsupported {
        field: "where_document".to_owned(),
        reason: format!(
            "the regular expression repeats something more than {} times, which PostgreSQL does not count: use a smaller number",
            MAX_REPETITION * MAX_REPETITION
        ),
    })?;
    Ok(written)
}

fn write(written: &mut String, hir: &Hir) -> Result<(), Excessive> {
    match hir.kind() {
        HirKind::Empty => written.push_str("(?:)"),
        HirKind::Literal(literal) => {
            let text = str::from_utf8(&literal.0).expect("patterns of texts match whole characters");
            text.chars().for_each(|character| write_character(written, character));
        }
        HirKind::Class(class) => write_class(written, class),
        HirKind::Look(look) => write_look(written, *look),
        HirKind::Repetition(repetition) => write_repetition(written, repetition)?,
        HirKind::Capture(capture) => write_group(written, &capture.sub)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write_group(written, part))?,
        HirKind::Alternation(branches) => {
            written.push_str("(?:");
            for (position, branch) in branches.iter().enumerate() {
                if position > 0 {
                    written.push('|');
                }
                write(written, branch)?;
            }
            written.push(')');
        }
    }
    Ok(())
}

fn write_group(written: &mut String, hir: &Hir) -> Result<(), Excessive> {
    written.push_str("(?:");
    write(written, hir)?;
    written.push(')');
    Ok(())
}

fn write_character(written: &mut String, character: char) {
    match character {
        '0'..='9' | 'A'..='Z' | 'a'..='z' | ' ' => written.push(character),
        // No text has it, and PostgreSQL takes none in a pattern.
        '\0' => written.push_str(NEVER),
        _ => write_escape(written, character),
    }
}

fn write_escape(written: &mut String, character: char) {
    write!(written, "\\U{:08X}", u32::from(character)).expect("writing to a string cannot fail");
}

fn write_class(written: &mut String, class: &Class) {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => {
            class.iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect()
        }
    };
    let mut ranges = ranges
        .into_iter()
        .filter(|(_, end)| *end != '\0')
        .map(|(start, end)| (start.max('\u{1}'), end))
        .peekable();
    if ranges.peek().is_none() {
        return written.push_str(NEVER);
    }
    written.push('[');
    for (start, end) in ranges {
        write_escape(written, start);
        if end > start {
            written.push('-');
            write_escape(written, end);
        }
    }
    written.push(']');
}

fn write_look(written: &mut String, look: Look) {
    let boundary = |word: &str| format!("(?:(?<={word})(?!{word})|(?<!{word})(?={word}))");
    let no_boundary = |word: &str| format!("(?:(?<={word})(?={word})|(?<!{word})(?!{word}))");
    let start = |word: &str| format!("(?<!{word})(?={word})");
    let end = |word: &str| format!("(?<={word})(?!{word})");
    let text = match look {
        Look::Start => r"\A".to_owned(),
        Look::End => r"\Z".to_owned(),
        Look::StartLF => r"(?:\A|(?<=\n))".to_owned(),
        Look::EndLF => r"(?:\Z|(?=\n))".to_owned(),
        // Not between `\r` and `\n`.
        Look::StartCRLF => r"(?:\A|(?<=\n)|(?<=\r)(?!\n))".to_owned(),
        Look::EndCRLF => r"(?:\Z|(?=\r)|(?<!\r)(?=\n))".to_owned(),
        Look::WordAscii => boundary(WORD_ASCII),
        Look::WordAsciiNegate => no_boundary(WORD_ASCII),
        Look::WordUnicode => boundary(&WORD_UNICODE),
        Look::WordUnicodeNegate => no_boundary(&WORD_UNICODE),
        Look::WordStartAscii => start(WORD_ASCII),
        Look::WordEndAscii => end(WORD_ASCII),
        Look::WordStartUnicode => start(&WORD_UNICODE),
        Look::WordEndUnicode => end(&WORD_UNICODE),
        Look::WordStartHalfAscii => format!("(?<!{WORD_ASCII})"),
        Look::WordEndHalfAscii => format!("(?!{WORD_ASCII})"),
        Look::WordStartHalfUnicode => format!("(?<!{})", *WORD_UNICODE),
        Look::WordEndHalfUnicode => format!("(?!{})", *WORD_UNICODE),
    };
    written.push_str(&text);
}

/// `x{n}` with any `n`: as `(?:x{255}){q}x{r}`, where `n` is `255 q + r`.
fn write_repetition(written: &mut String, repetition: &Repetition) -> Result<(), Excessive> {
    let mut one = String::new();
    write_group(&mut one, &repetition.sub)?;
    match (repetition.min, repetition.max) {
        (0, None) => write_times(written, &one, "*"),
        (1, None) => write_times(written, &one, "+"),
        (min, None) => {
            write_counted(written, &one, min, |times| format!("{{{times}}}"))?;
            write_times(written, &one, "*");
        }
        (min, Some(max)) => {
            write_counted(written, &one, min, |times| format!("{{{times}}}"))?;
            write_counted(written, &one, max - min, |times| format!("{{0,{times}}}"))?;
        }
    }
    Ok(())
}

fn write_counted(
    written: &mut String,
    one: &str,
    times: u32,
    count: impl Fn(u32) -> String,
) -> Result<(), Excessive> {
    let (many, rest) = (times / MAX_REPETITION, times % MAX_REPETITION);
    if many > MAX_REPETITION {
        return Err(Excessive);
    }
    if many > 0 {
        written.push_str("(?:");
        write_times(written, one, &count(MAX_REPETITION));
        written.push(')');
        written.push_str(&count(many));
    }
    if rest > 0 {
        write_times(written, one, &count(rest));
    }
    if times == 0 {
        written.push_str("(?:)");
    }
    Ok(())
}

/// One who repeats nothing else stays outside: a constraint takes no quantifier of its own.
fn write_times(written: &mut String, one: &str, quantifier: &str) {
    written.push_str(one);
    written.push_str(quantifier);
}
