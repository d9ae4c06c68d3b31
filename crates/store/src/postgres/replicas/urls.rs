//! Lists of database URLs.

/// The URLs of a comma-separated list, unchecked. A comma separates where the next URL begins: hosts and passwords have
/// commas too.
pub fn split_database_urls(text: &str) -> Vec<&str> {
    let starts = text.match_indices(',').filter(|(place, _)| begins_a_url(&text[place + 1..]));
    let (mut urls, mut from) = (Vec::new(), 0);
    for (place, _) in starts {
        urls.push(&text[from..place]);
        from = place + 1;
    }
    urls.push(&text[from..]);
    let trimmed = urls.into_iter().map(|url| url.trim().trim_end_matches([',', ' ']));
    trimmed.filter(|url| !url.is_empty()).collect()
}

/// Whether `text` begins with the scheme of a PostgreSQL URL, such as `postgresql+psycopg2://`.
fn begins_a_url(text: &str) -> bool {
    let Some((scheme, _)) = text.trim_start().split_once("://") else { return false };
    scheme.starts_with("postgres") && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_urls_and_not_their_parts() {
        for (text, expected) in [
            ("", &[] as &[&str]),
            (" , ", &[]),
            ("postgres://a/d", &["postgres://a/d"]),
            ("postgres://a/d, postgresql+psycopg2://b/d,", &["postgres://a/d", "postgresql+psycopg2://b/d"]),
            ("postgres://u:p,w@a,b:1,2/d,postgres://c/d", &["postgres://u:p,w@a,b:1,2/d", "postgres://c/d"]),
            ("a,b", &["a,b"]),
        ] {
            assert_eq!(split_database_urls(text), expected, "{text}");
        }
    }
}
