//! The layers of `docs/ARCHITECTURE.md`: a module uses only modules of lower lines, so that there is no cycle.
//!
//! Imports are read as text: `use`, and paths that begin with `crate`, `super`, `self` or a module in scope. A name that
//! a module re-exports counts for the module that defines it. Method calls are not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Module = Vec<String>;

/// A source file: the paths that it uses, its imports by name, and the words of each function that is not a method.
#[derive(Default)]
struct Source {
    paths: BTreeSet<Vec<String>>,
    imports: BTreeMap<String, Vec<String>>,
    functions: BTreeMap<String, BTreeSet<String>>,
}

struct Crate {
    files: BTreeMap<Module, Source>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `text` without comments, literals and tests.
fn code(text: &str) -> String {
    parts(text).0
}

/// `text` without comments, literals and tests, and the literals outside tests.
pub(crate) fn parts(text: &str) -> (String, Vec<String>) {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let characters: Vec<char> = text.chars().collect();
    let at = |place: usize| characters.get(place).copied().unwrap_or('\n');
    let (mut code, mut literals) = (String::new(), Vec::new());
    let mut place = 0;
    while place < characters.len() {
        let rest = |words: &str| words.chars().enumerate().all(|(n, word)| at(place + n) == word);
        if rest("//") {
            while place < characters.len() && at(place) != '\n' {
                place += 1;
            }
        } else if rest("r#\"") || rest("r\"") {
            let end: &str = if rest("r#\"") { "\"#" } else { "\"" };
            place += end.len() + 1;
            let start = place;
            while place < characters.len() && !end.chars().enumerate().all(|(n, word)| at(place + n) == word)
            {
                place += 1;
            }
            literals.push(characters[start..place].iter().collect());
            place += end.len();
        } else if rest("\"") {
            place += 1;
            let start = place;
            while place < characters.len() && at(place) != '"' {
                place += if at(place) == '\\' { 2 } else { 1 };
            }
            literals.push(characters[start..place.min(characters.len())].iter().collect());
            place += 1;
        } else if rest("'\"'") {
            place += 3;
        } else if rest("'\\\"'") {
            place += 4;
        } else {
            code.push(at(place));
            place += 1;
        }
    }
    (code, literals)
}

fn words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_word = false;
    for character in code.chars() {
        let is_word = character.is_alphanumeric() || character == '_';
        match words.last_mut() {
            Some(word) if is_word && in_word => word.push(character),
            Some(word) if character == ':' && word == ":" => word.push(character),
            _ if character.is_whitespace() => {}
            _ => words.push(character.to_string()),
        }
        in_word = is_word;
    }
    words
}

/// Adds the path and the local name of each import of a `use` tree below `prefix`. Returns the place after the tree.
fn tree(
    words: &[String],
    mut place: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match words[place].as_str() {
            "::" => place += 1,
            "{" => {
                place += 1;
                while words[place] != "}" {
                    place = tree(words, place, &path, found);
                    if words[place] == "," {
                        place += 1;
                    }
                }
                return place + 1;
            }
            "self" if !path.is_empty() => place += 1,
            "as" => {
                found.push((path, words[place + 1].clone()));
                return place + 2;
            }
            "," | "}" | ";" => {
                let name = path.last().cloned().unwrap_or_default();
                found.push((path, name));
                return place;
            }
            word => {
                path.push(word.to_owned());
                place += 1;
            }
        }
    }
}

fn read(text: &str) -> Source {
    let words = words(&code(text));
    let mut source = Source { functions: functions(&words), ..Source::default() };
    let mut passed_on = Vec::new();
    let mut named = BTreeSet::new();
    let mut place = 0;
    while place < words.len() {
        if words[place] == "use" && words.get(place + 1).is_some_and(|word| word != "<") {
            let is_public = place > 0 && (words[place - 1] == "pub" || words[place - 1] == ")");
            let mut found = Vec::new();
            place = tree(&words, place + 1, &[], &mut found);
            for (path, name) in found {
                match is_public {
                    true => passed_on.push((path.clone(), name.clone())),
                    false => drop(source.paths.insert(path.clone())),
                }
                source.imports.insert(name, path);
            }
            continue;
        }
        let is_visibility = place > 1 && words[place - 2..place] == ["(", "in"];
        let mut path = vec![words[place].clone()];
        named.insert(words[place].clone());
        while words.get(place + 1).is_some_and(|word| word == "::") {
            let Some(next) = words.get(place + 2) else { break };
            path.push(next.clone());
            place += 2;
        }
        if path.len() > 1 && !is_visibility {
            source.paths.insert(path);
        }
        place += 1;
    }
    // A re-export that is not used here is no dependency of this file.
    let used = passed_on.into_iter().filter(|(_, name)| named.contains(name));
    source.paths.extend(used.map(|(path, _)| path));
    source
}

/// The functions outside of blocks, each with its words; those that begin or continue a path end with `::`.
fn functions(words: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let (mut functions, mut depth, mut current) = (BTreeMap::<_, BTreeSet<String>>::new(), 0, None);
    for (place, word) in words.iter().enumerate() {
        match word.as_str() {
            "fn" if depth == 0 => current = words.get(place + 1).cloned(),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    current = None;
                }
            }
            _ => {}
        }
        if let Some(name) = &current {
            let is_path = words.get(place + 1).is_some_and(|next| next == "::");
            let word = if is_path { format!("{word}::") } else { word.clone() };
            functions.entry(name.clone()).or_default().insert(word);
        }
    }
    functions
}

impl Crate {
    fn read(name: &str) -> Self {
        let folder = root().join("crates").join(name).join("src");
        let mut folders = vec![(folder, Module::new())];
        let mut files = BTreeMap::new();
        while let Some((folder, module)) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the folder lists") {
                let path = entry.expect("the entry reads").path();
                let stem = path.file_stem().expect("an entry has a name").to_string_lossy().into_owned();
                let inner = [module.as_slice(), std::slice::from_ref(&stem)].concat();
                if path.is_dir() {
                    folders.push((path, inner));
                } else if path.extension().is_some_and(|extension| extension == "rs") && stem != "tests" {
                    let text = fs::read_to_string(&path).expect("the file reads");
                    let module = if ["mod", "lib"].contains(&stem.as_str()) { module.clone() } else { inner };
                    files.insert(module, read(&text));
                }
            }
        }
        // The code for fuzzing is not part of the product.
        files.retain(|module, _| module.first().is_none_or(|first| first != "fuzzing"));
        assert!(!files.is_empty(), "the sources of {name} are found");
        Self { files }
    }

    fn child(&self, module: &Module, name: &str) -> Option<Module> {
        let child = [module.as_slice(), &[name.to_owned()]].concat();
        self.files.contains_key(&child).then_some(child)
    }

    /// The module that defines what `path` names in `module`; `None` for another crate's.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => {
                let mut parent = module.clone();
                parent.pop();
                return self.walk(parent, rest, depth);
            }
            name => match self.child(module, name) {
                Some(child) => child,
                None => {
                    let import = self.files.get(module)?.imports.get(name)?;
                    let path: Vec<String> = import.iter().chain(rest).cloned().collect();
                    return if depth > 0 { self.resolve(module, &path, depth - 1) } else { None };
                }
            },
        };
        self.walk(start, rest, depth)
    }

    fn walk(&self, module: Module, path: &[String], depth: usize) -> Option<Module> {
        let Some((first, rest)) = path.split_first() else { return Some(module) };
        if first == "super" {
            let mut parent = module;
            parent.pop();
            return self.walk(parent, rest, depth);
        }
        if let Some(child) = self.child(&module, first) {
            return self.walk(child, rest, depth);
        }
        match self.files.get(&module)?.imports.get(first) {
            Some(import) if depth > 0 => {
                let path: Vec<String> = import.iter().chain(rest).cloned().collect();
                self.resolve(&module, &path, depth - 1)
            }
            _ => Some(module),
        }
    }

    /// The files that each file depends on.
    fn arrows(&self) -> BTreeSet<(Module, Module)> {
        let mut arrows = BTreeSet::new();
        for (module, source) in &self.files {
            for path in &source.paths {
                if let Some(target) = self.resolve(module, path, 8)
                    && target != *module
                {
                    arrows.insert((module.clone(), target));
                }
            }
        }
        arrows
    }
}

/// The lines of `docs/ARCHITECTURE.md` with the modules of `place`, from the top down.
fn documented(place: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the file reads");
    let fence = format!("```layers {place}\n");
    let (_, block) = text.split_once(&fence).expect("docs/ARCHITECTURE.md has the layers");
    let (block, _) = block.split_once("```").expect("the block ends");
    block.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// Violations of the documented layers by the direct children of `parent`.
fn problems(
    krate: &Crate,
    place: &str,
    parent: &Module,
    arrows: &BTreeSet<(Module, Module)>,
) -> BTreeSet<String> {
    let lines = documented(place);
    let line_of = |name: &str| lines.iter().position(|line| line.iter().any(|other| other == name));
    let inside = |module: &Module| module.strip_prefix(parent.as_slice()).map(|below| below.first().cloned());
    let modules: BTreeSet<String> = krate.files.keys().filter_map(|module| inside(module)?).collect();
    let mut problems = BTreeSet::new();
    for module in modules.iter().filter(|module| line_of(module).is_none()) {
        problems.insert(format!("{place}: `{module}` is in no line of docs/ARCHITECTURE.md"));
    }
    let mut listed = BTreeSet::new();
    for module in lines.iter().flatten() {
        if !modules.contains(module) || !listed.insert(module) {
            problems
                .insert(format!("{place}: docs/ARCHITECTURE.md lists `{module}` twice, or it is no module"));
        }
    }
    for (from, to) in arrows {
        let (Some(Some(from)), Some(to)) = (inside(from), inside(to)) else { continue };
        // The root of a module's folder is above the module.
        let to = to.unwrap_or_else(|| "mod".to_owned());
        if from != to && line_of(&to).is_none_or(|to| line_of(&from).is_some_and(|from| from >= to)) {
            problems.insert(format!("{place}: {from} -> {to}"));
        }
    }
    problems
}

#[test]
fn modules_use_only_modules_of_lower_lines() {
    let mut found = BTreeSet::new();
    for (name, parent) in [
        ("chroma", None),
        ("store", None),
        ("store", Some("postgres")),
        ("judge", None),
        ("server", None),
        ("cli", None),
    ] {
        let krate = Crate::read(name);
        let parent: Module = parent.map(str::to_owned).into_iter().collect();
        let place = [&[name.to_owned()], parent.as_slice()].concat().join("::");
        found.extend(problems(&krate, &place, &parent, &krate.arrows()));
    }
    assert!(found.is_empty(), "these violate the layers of docs/ARCHITECTURE.md: {found:#?}");
}

/// The circles among `arrows`: of each, the files that know one another, directly or by way of others.
fn circles(arrows: &BTreeSet<(Module, Module)>) -> BTreeSet<BTreeSet<Module>> {
    let reachable = |start: &Module| {
        let mut reached = BTreeSet::new();
        let mut waiting = vec![start.clone()];
        while let Some(module) = waiting.pop() {
            let targets =
                arrows.range((module.clone(), Module::new())..).take_while(|(from, _)| *from == module);
            waiting.extend(targets.filter(|(_, to)| reached.insert(to.clone())).map(|(_, to)| to.clone()));
        }
        reached
    };
    let reached: BTreeMap<_, _> = arrows.iter().map(|(from, _)| (from, reachable(from))).collect();
    let circle = |module: &Module| {
        let others = reached[module].iter();
        others.filter(|other| reached.get(other).is_some_and(|back| back.contains(module))).cloned().collect()
    };
    let circles: BTreeSet<BTreeSet<Module>> = reached.keys().map(|module| circle(module)).collect();
    circles.into_iter().filter(|circle| !circle.is_empty()).collect()
}

#[test]
fn no_files_know_one_another_in_a_circle() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("the folder lists") {
        let name = entry.expect("the entry reads").file_name().to_string_lossy().into_owned();
        let mut arrows = Crate::read(&name).arrows();
        // The root of a folder is made of the files in it, which share what it defines.
        arrows.retain(|(from, to)| !to.starts_with(from));
        for circle in circles(&arrows) {
            let inner = arrows.iter().filter(|(from, to)| circle.contains(from) && circle.contains(to));
            let inner: Vec<_> =
                inner.map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::"))).collect();
            found.push(format!("{name}: {}", inner.join(", ")));
        }
    }
    assert!(found.is_empty(), "files know each other in a circle: {found:#?}");
}

/// Functions of a folder's root that files of the folder call, and that use files of the folder.
fn calls_back(krate: &Crate) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (root, source) in &krate.files {
        let is_below = |module: &Module| module.len() > root.len() && module.starts_with(root);
        // A word that is not part of a path may be a variable with the name of a file.
        let is_file = |word: &String| {
            let name = word.trim_end_matches("::");
            let import = source.imports.get(name).cloned();
            let path = import.or_else(|| word.ends_with("::").then(|| vec![name.to_owned()]));
            let module = path.and_then(|path| krate.resolve(root, &path, 8));
            name.starts_with(char::is_lowercase) && module.is_some_and(|module| is_below(&module))
        };
        for (module, inner) in krate.files.iter().filter(|(module, _)| is_below(module)) {
            for path in
                inner.paths.iter().filter(|path| krate.resolve(module, path, 8).as_ref() == Some(root))
            {
                let mut waiting: Vec<&String> = path.last().into_iter().collect();
                let mut seen = BTreeSet::new();
                while let Some(function) = waiting.pop() {
                    let Some(words) = source.functions.get(function).filter(|_| seen.insert(function)) else {
                        continue;
                    };
                    for word in words.iter().filter(|word| is_file(word)) {
                        let (module, root) = (module.join("::"), root.join("::"));
                        found.insert(format!("{module} -> {root}::{function} -> {word}"));
                    }
                    waiting.extend(words);
                }
            }
        }
    }
    found
}

#[test]
fn functions_of_a_folders_root_do_not_call_back_the_files_that_use_them() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("the folder lists") {
        let name = entry.expect("the entry reads").file_name().to_string_lossy().into_owned();
        found.extend(calls_back(&Crate::read(&name)).into_iter().map(|call| format!("{name}: {call}")));
    }
    assert!(found.is_empty(), "files know each other in a circle through a function: {found:#?}");
}

#[test]
fn call_back_through_a_folders_root_is_found() {
    let root = "use inner::work; fn help() { more() } fn more() { work() } fn leaf() { Inner::new() }";
    let inner = "use super::{help, leaf}; pub fn work() { help(); leaf() }";
    let files = [(Module::new(), read(root)), (vec!["inner".to_owned()], read(inner))];
    let krate = Crate { files: files.into_iter().collect() };
    assert_eq!(calls_back(&krate).into_iter().collect::<Vec<_>>(), ["inner -> ::more -> work"]);
}

#[test]
fn paths_are_found_in_every_form() {
    let text = r#"
        //! use crate::comment::Not;
        use super::{table::{self, Column as C}, ddl};
        pub use inner::Passed;
        pub(crate) use inner::Used;
        pub(in crate::seen) fn f<'a>(x: &str) -> impl Iterator + use<'a> { ("crate::text::Not", '"', b'"', r"crate::raw::Not"); crate::a::g(Used) }
        #[cfg(test)]
        mod tests { use super::*; }
    "#
    .replace("\n        ", "\n");
    let paths: Vec<String> = read(&text).paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["crate::a::g", "inner::Used", "super::ddl", "super::table", "super::table::Column"]);
}
