//! Translates a regular expression from Rust's syntax to PostgreSQL's, so that it matches the same texts.
//!
//! Only whether there is a match matters, so greediness and groups are ignored. The expression is generated from the
//! parsed pattern: classes become ranges of code points, and look-around replaces missing escapes. PostgreSQL's
//! syntax: "Regular Expression Details" in the chapter on pattern matching of its manual.

use std::{borrow::Cow, ops::Range, sync::LazyLock};

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

use crate::storage::{Pattern, StorageError};

/// PostgreSQL's limit of a repetition (`DUPMAX`).
const MAX_REPETITION: u32 = 255;
/// Maximum total size in bytes of all expressions of a request. A nested repetition is written several times on each
/// level, and a Unicode word boundary takes 22 kB.
pub(super) const MAX_BYTES: usize = 512 << 10;
/// Matches nothing.
const NEVER: &str = "(?!)";
const WORD_ASCII: &str = "[0-9A-Za-z_]";

/// Unicode's word characters, as Rust's `\w` has them; PostgreSQL's own depend on the locale.
static WORD_UNICODE: LazyLock<String> = LazyLock::new(|| {
    let word = regex_syntax::parse(r"\w").expect("it is a pattern");
    let mut writer = Writer { written: String::new(), bytes_left: MAX_BYTES, nul: None };
    writer.write(&word).expect("it fits");
    writer.written
});

/// Patterns that PostgreSQL cannot or should not run.
#[derive(Debug)]
enum LimitExceeded {
    /// It does not support this many repetitions.
    Repetitions,
    /// The expression exceeds the limit.
    Bytes,
}

/// The expression for PostgreSQL's operator `~`. Its bytes are subtracted from `room`.
///
/// # Errors
/// [`StorageError::Unsupported`] for repetitions beyond PostgreSQL's limit, and if the expression exceeds `room`.
pub(super) fn translate(pattern: &Pattern, bytes_left: &mut usize) -> Result<String, StorageError> {
    // An advanced regular expression, regardless of the server's settings.
    let mut writer = Writer { written: String::from("***:"), bytes_left: *bytes_left, nul: pattern.nul() };
    writer.write(&pattern.parse()).map_err(|excessive| StorageError::Unsupported {
        field: "where_document".to_owned(),
        reason: match excessive {
            LimitExceeded::Repetitions => format!(
                "the regular expression repeats something more than {} times, which PostgreSQL does not count: use a smaller number",
                MAX_REPETITION * MAX_REPETITION
            ),
            LimitExceeded::Bytes => format!(
                "the regular expressions have more than {MAX_BYTES} bytes in PostgreSQL's syntax: use fewer nested repetitions and Unicode classes, such as `(?-u:\\b)` for `\\b`"
            ),
        },
    })?;
    *bytes_left = writer.bytes_left;
    Ok(writer.written)
}

/// An expression that is being written. All written bytes are counted, which bounds the work.
struct Writer {
    written: String,
    bytes_left: usize,
    /// What stands for NUL in the texts.
    nul: Option<char>,
}

type Written = Result<(), LimitExceeded>;

impl Writer {
    fn push(&mut self, text: &str) -> Written {
        self.bytes_left = self.bytes_left.checked_sub(text.len()).ok_or(LimitExceeded::Bytes)?;
        self.written.push_str(text);
        Ok(())
    }

    fn write(&mut self, hir: &Hir) -> Written {
        match hir.kind() {
            HirKind::Empty => self.push("(?:)"),
            HirKind::Literal(literal) => {
                let text = str::from_utf8(&literal.0).expect("patterns of texts match whole characters");
                text.chars().try_for_each(|character| self.write_character(character))
            }
            HirKind::Class(class) => self.write_class(class),
            HirKind::Look(look) => self.write_look(*look),
            HirKind::Repetition(repetition) => self.write_repetition(repetition),
            HirKind::Capture(capture) => self.write_group(&capture.sub),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write_group(part)),
            HirKind::Alternation(branches) => {
                self.push("(?:")?;
                for (position, branch) in branches.iter().enumerate() {
                    if position > 0 {
                        self.push("|")?;
                    }
                    self.write(branch)?;
                }
                self.push(")")
            }
        }
    }

    fn write_group(&mut self, hir: &Hir) -> Written {
        self.push("(?:")?;
        self.write(hir)?;
        self.push(")")
    }

    fn write_character(&mut self, character: char) -> Written {
        match (character, self.nul) {
            // PostgreSQL accepts NUL neither in texts nor in patterns.
            ('\0', None) => self.push(NEVER),
            ('\0', Some(nul)) => self.write_member(nul),
            (character, _) => self.write_member(character),
        }
    }

    /// Inside and outside brackets only ASCII characters need escapes.
    fn write_member(&mut self, character: char) -> Written {
        match character {
            '0'..='9' | 'A'..='Z' | 'a'..='z' | ' ' | '\u{a0}'.. => {
                self.push(character.encode_utf8(&mut [0; 4]))
            }
            _ => self.push(&format!("\\U{:08X}", u32::from(character))),
        }
    }

    fn write_class(&mut self, class: &Class) -> Written {
        let ranges: Vec<(char, char)> = match class {
            Class::Unicode(class) => {
                let class = self.for_nul(class);
                class.iter().map(|range| (range.start(), range.end())).collect()
            }
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
            return self.push(NEVER);
        }
        self.push("[")?;
        for (start, end) in ranges {
            self.write_member(start)?;
            if end > start {
                self.push("-")?;
                self.write_member(end)?;
            }
        }
        self.push("]")
    }

    /// The class with what stands for NUL if it has NUL, and without it otherwise.
    fn for_nul<'c>(&self, class: &'c ClassUnicode) -> Cow<'c, ClassUnicode> {
        let Some(nul) = self.nul else { return Cow::Borrowed(class) };
        let (mut class, nul) = (class.clone(), ClassUnicode::new([ClassUnicodeRange::new(nul, nul)]));
        match class.ranges().first().is_some_and(|range| range.start() == '\0') {
            true => class.union(&nul),
            false => class.difference(&nul),
        }
        Cow::Owned(class)
    }

    fn write_look(&mut self, look: Look) -> Written {
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
        self.push(&text)
    }

    /// `x{n}` with any `n`: as `(?:x{255}){q}x{r}`, where `n` is `255 q + r`.
    fn write_repetition(&mut self, repetition: &Repetition) -> Written {
        let mut operand = Operand { hir: &repetition.sub, place: None };
        match (repetition.min, repetition.max) {
            (0, None) => self.write_times(&mut operand, "*"),
            (1, None) => self.write_times(&mut operand, "+"),
            (min, None) => {
                self.write_counted(&mut operand, min, |times| format!("{{{times}}}"))?;
                self.write_times(&mut operand, "*")
            }
            (min, Some(max)) if min == max => {
                self.write_counted(&mut operand, min, |times| format!("{{{times}}}"))
            }
            (min, Some(max)) if max <= MAX_REPETITION => {
                self.write_times(&mut operand, &format!("{{{min},{max}}}"))
            }
            (min, Some(max)) => {
                self.write_counted(&mut operand, min, |times| format!("{{{times}}}"))?;
                self.write_counted(&mut operand, max - min, |times| format!("{{0,{times}}}"))
            }
        }
    }

    fn write_counted(
        &mut self,
        operand: &mut Operand<'_>,
        times: u32,
        count: impl Fn(u32) -> String,
    ) -> Written {
        let (many, rest) = (times / MAX_REPETITION, times % MAX_REPETITION);
        if many > MAX_REPETITION {
            return Err(LimitExceeded::Repetitions);
        }
        if many > 0 {
            self.push("(?:")?;
            self.write_times(operand, &count(MAX_REPETITION))?;
            self.push(")")?;
            self.push(&count(many))?;
        }
        if rest > 0 {
            self.write_times(operand, &count(rest))?;
        }
        if times == 0 {
            self.push("(?:)")?;
        }
        Ok(())
    }

    /// The repeated part is a group, since a constraint cannot have a quantifier.
    fn write_times(&mut self, operand: &mut Operand<'_>, quantifier: &str) -> Written {
        match &operand.place {
            Some(place) => {
                self.bytes_left = self.bytes_left.checked_sub(place.len()).ok_or(LimitExceeded::Bytes)?;
                self.written.extend_from_within(place.clone());
            }
            None => {
                let start = self.written.len();
                self.write_group(operand.hir)?;
                operand.place = Some(start..self.written.len());
            }
        }
        self.push(quantifier)
    }
}

/// The repeated part, and the position where it was first written.
struct Operand<'h> {
    hir: &'h Hir,
    place: Option<Range<usize>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of all `patterns` in PostgreSQL's syntax, if they have room.
    fn bytes(patterns: &[&str]) -> Option<usize> {
        let mut bytes_left = MAX_BYTES;
        for pattern in patterns {
            translate(&Pattern::new(pattern).expect("a pattern"), &mut bytes_left).ok()?;
        }
        Some(MAX_BYTES - bytes_left)
    }

    fn nested(quantifier: &str, depth: usize) -> String {
        (0..depth).fold("a".to_owned(), |pattern, _| format!("({pattern}){quantifier}"))
    }

    #[test]
    fn output_is_bounded_for_all_patterns() {
        for quantifier in ["{256,512}", "{300,}", "{2,}", "{257}", "{0,700}", "{1,2}", "{510,766}"] {
            for depth in [8, 40, 90] {
                let pattern = nested(quantifier, depth);
                bytes(&[&pattern]).inspect(|bytes| assert!(*bytes <= MAX_BYTES));
            }
        }
        for unit in [r"\b", r"\B", r"\w", r"\W", r"\pL", r"\b{start}", "(?i)k", r"[^\w]", r"(\b){300,600}"] {
            let pattern = unit.repeat(1_000 / unit.len());
            bytes(&[pattern.as_str(); 8]).inspect(|bytes| assert!(*bytes <= MAX_BYTES));
        }
        assert_eq!(bytes(&[&nested("{256,512}", 40)]), None);
        assert_eq!(bytes(&[&r"\b".repeat(500)]), None);
    }

    #[test]
    fn limit_applies_to_all_patterns_together() {
        let pattern = r"\b".repeat(4);
        let one = bytes(&[&pattern]).expect("it fits");
        let fit = MAX_BYTES / one;
        assert!(fit > 2, "ordinary patterns fit: {one} bytes");
        assert!(bytes(&vec![pattern.as_str(); fit]).is_some());
        assert_eq!(bytes(&vec![pattern.as_str(); fit + 1]), None);
    }

    #[test]
    fn repetitions_within_the_limit_of_postgresql_are_written_once() {
        let mut bytes_left = MAX_BYTES;
        let mut written = |pattern| {
            translate(&Pattern::new(pattern).expect("a pattern"), &mut bytes_left).expect("it fits")
        };
        assert_eq!(written("a{2,5}"), "***:(?:a){2,5}");
        assert_eq!(written("a{0,255}"), "***:(?:a){0,255}");
        assert_eq!(written("a{300}"), "***:(?:(?:a){255}){1}(?:a){45}");
        assert_eq!(written("[é-ü-]"), r"***:[\U0000002Dé-ü]");
    }
}
