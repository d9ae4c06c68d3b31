//! The lines of a `.env` file, as python-dotenv reads them, for which users' files were written. A line that cannot be
//! read does not affect the others.

/// A statement of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding<'f> {
    /// The line on which it begins, counted from 1.
    pub(crate) line: usize,
    pub(crate) content: Content<'f>,
}

/// The content of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content<'f> {
    /// A name, with a value before variable expansion, or without one (`export NAME`).
    Variable(&'f str, Option<String>),
    /// Text that cannot be read, and was skipped.
    Unreadable(&'f str),
}

/// The bindings of `text`, whose lines end with `\n`.
pub(crate) fn bindings(text: &str) -> impl Iterator<Item = Binding<'_>> {
    let mut reader = Reader { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 };
    std::iter::from_fn(move || {
        while reader.at < reader.text.len() {
            if let Some(binding) = reader.binding() {
                return Some(binding);
            }
        }
        None
    })
}

struct Reader<'f> {
    text: &'f str,
    at: usize,
    /// The line of `at`.
    line: usize,
}

/// Unexpected text at this place.
struct Unexpected;

impl<'f> Reader<'f> {
    /// The next binding; `None` for blank lines and comments.
    fn binding(&mut self) -> Option<Binding<'f>> {
        self.skip(is_space);
        let (start, line) = (self.at, self.line);
        let content = match self.variable() {
            Ok(variable) => variable.map(|(name, value)| Content::Variable(name, value)),
            Err(Unexpected) => {
                self.skip(|c| c != '\n');
                self.skip_one('\n');
                Some(Content::Unreadable(&self.text[start..self.at]))
            }
        };
        content.map(|content| Binding { line, content })
    }

    fn variable(&mut self) -> Result<Option<(&'f str, Option<String>)>, Unexpected> {
        if self.rest().is_empty() {
            return Ok(None);
        }
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with(is_blank)
        {
            self.advance("export".len());
            self.skip(is_blank);
        }
        let name = self.name()?;
        self.skip(is_blank);
        let value = match self.skip_one('=') {
            true => Some(self.value()?),
            false => None,
        };
        let before_comment = (self.at, self.line);
        self.skip(is_blank);
        if self.skip_one('#') {
            self.skip(|c| c != '\n');
        } else {
            (self.at, self.line) = before_comment;
        }
        self.skip(is_blank);
        if !self.skip_one('\n') && !self.rest().is_empty() {
            return Err(Unexpected);
        }
        Ok(name.map(|name| (name, value)))
    }

    /// `None` before a comment.
    fn name(&mut self) -> Result<Option<&'f str>, Unexpected> {
        let rest = self.rest();
        if rest.starts_with('#') {
            return Ok(None);
        }
        let (name, length) = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let end = quoted.find('\'').ok_or(Unexpected)?;
                (&quoted[..end], end + 2)
            }
            None => {
                let end = rest.find(|c| matches!(c, '=' | '#') || is_space(c)).unwrap_or(rest.len());
                (&rest[..end], end)
            }
        };
        if name.is_empty() {
            return Err(Unexpected);
        }
        self.advance(length);
        Ok(Some(name))
    }

    /// The value after `=`.
    fn value(&mut self) -> Result<String, Unexpected> {
        let before = self.at;
        self.skip(is_blank);
        let rest = self.rest();
        match rest.chars().next() {
            Some('#') if self.at > before => Ok(String::new()),
            Some('\'') => self.quoted('\'', |c| matches!(c, '\\' | '\'').then_some(c)),
            Some('"') => self.quoted('"', |c| {
                Some(match c {
                    '\\' | '\'' | '"' => c,
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    _ => return None,
                })
            }),
            _ => {
                let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
                self.advance(line.len());
                Ok(without_comment(line).trim_end_matches(is_space).to_owned())
            }
        }
    }

    /// The text in quotes, with backslash escapes replaced as `escaped` says.
    fn quoted(&mut self, quote: char, escaped: impl Fn(char) -> Option<char>) -> Result<String, Unexpected> {
        let mut value = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((index, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.advance(index + 1);
                    return Ok(value);
                }
                '\\' => {
                    let (_, next) = chars.next().ok_or(Unexpected)?;
                    match escaped(next) {
                        Some(meant) => value.push(meant),
                        None => value.extend(['\\', next]),
                    }
                }
                c => value.push(c),
            }
        }
        Err(Unexpected)
    }

    fn rest(&self) -> &'f str {
        &self.text[self.at..]
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.advance(rest.find(|c| !wanted(c)).unwrap_or(rest.len()));
    }

    fn skip_one(&mut self, wanted: char) -> bool {
        let is_there = self.rest().starts_with(wanted);
        if is_there {
            self.advance(wanted.len_utf8());
        }
        is_there
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.text[self.at..self.at + bytes];
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.at += bytes;
    }
}

/// A comment in an unquoted value begins with `#` after a blank.
fn without_comment(line: &str) -> &str {
    let mut blank_since = None;
    for (index, c) in line.char_indices() {
        match (c, blank_since) {
            ('#', Some(start)) => return &line[..start],
            (c, since) if is_space(c) => blank_since = since.or(Some(index)),
            _ => blank_since = None,
        }
    }
    line
}

/// `\s` of Python's regular expressions.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_blank(c: char) -> bool {
    is_space(c) && c != '\n'
}
