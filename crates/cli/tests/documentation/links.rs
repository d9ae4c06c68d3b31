//! Links between documents. Addresses of other hosts are not checked: tests use no network.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{documents, read, repository};

/// What a document links to, and the anchors of its headings.
#[derive(Default)]
struct Document {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

fn parse(text: &str) -> Document {
    let mut document = Document::default();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let text = heading.take().expect("a heading that ends has begun");
                document.anchors.insert(anchor(&text));
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                document.links.push(dest_url.into_string());
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                document.links.extend(attributes(&html).map(str::to_owned));
            }
            _ => {}
        }
    }
    document
}

/// The id that mdBook and GitHub give to a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: char| {
        if c.is_whitespace() { Some('-') } else { (c.is_alphanumeric() || "_-".contains(c)).then_some(c) }
    };
    heading.trim().to_lowercase().chars().filter_map(kept).collect()
}

/// The values of `src`, `srcset` and `href` in our HTML, which quotes them.
fn attributes(html: &str) -> impl Iterator<Item = &str> {
    ["src=\"", "srcset=\"", "href=\""]
        .into_iter()
        .flat_map(move |name| html.split(name).skip(1))
        .filter_map(|rest| rest.split('"').next())
}

/// `path` without `..`, as a browser resolves it.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    resolved
}

/// The broken links of `documents`.
fn broken(documents: &BTreeMap<PathBuf, Document>, site: &Path) -> Vec<String> {
    let mut broken = Vec::new();
    for (path, document) in documents {
        for link in &document.links {
            let mut say = |what: &str| broken.push(format!("{}: {link}: {what}", path.display()));
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().expect("a document is in a folder");
            let target = if file.is_empty() { path.clone() } else { resolved(&folder.join(file)) };
            if !documents.contains_key(&target) && !target.exists() {
                say("no such file");
            } else if path.starts_with(site) && !target.starts_with(site) {
                say("leads out of the site");
            } else if !fragment.is_empty() {
                let found = documents.get(&target).is_some_and(|target| target.anchors.contains(fragment));
                if !found {
                    say("no such heading");
                }
            }
        }
    }
    broken
}

#[test]
fn every_link_between_documents_resolves() {
    let parsed: BTreeMap<_, _> =
        documents().into_iter().map(|path| (path.clone(), parse(&read(&path)))).collect();
    let links: usize = parsed.values().map(|document| document.links.len()).sum();
    assert!(links > 60, "links are found: {links}");
    let broken = broken(&parsed, &repository().join("docs"));
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn broken_links_are_found() {
    let root = repository();
    let page = root.join("docs/page.md");
    let text = "# A `b` c!\n[fine](#a-b-c) [file](absent.md) [heading](search.md#absent) [out](../README.md)\n\
                <img src=\"absent.svg\"> [same](#absent) [web](https://example.org/absent)";
    let parsed = BTreeMap::from([(page, parse(text)), (root.join("docs/search.md"), parse("# Search"))]);
    let broken = broken(&parsed, &root.join("docs"));
    let found: Vec<_> =
        broken.iter().map(|line| line.split_once(".md: ").expect("it names the page").1).collect();
    let expected = [
        "absent.md: no such file",
        "search.md#absent: no such heading",
        "../README.md: leads out of the site",
        "absent.svg: no such file",
        "#absent: no such heading",
    ];
    assert_eq!(found, expected);
}
