//! Every page that a link leads to: it loads without errors, from this server alone, and everyone can use it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use test_support::{PageScripts, Tab, axe_core};
use url::{Position, Url};

use super::{Site, on_site};

/// Pages that the crawl must have seen; in their place, `*` stands for an id.
const EXPECTED: [&str; 35] = [
    "/",
    "/console/collections",
    "/console/collections/record",
    "/console/collections/records",
    "/console/compare",
    "/console/compare/runs",
    "/console/evaluation-metrics",
    "/console/evaluation-metrics/delete",
    "/console/evaluation-metrics/edit",
    "/console/evaluation-metrics/import",
    "/console/evaluation-metrics/new",
    "/console/evaluation-metrics/record",
    "/console/judges",
    "/console/judges/agreement",
    "/console/label",
    "/console/label/import",
    "/console/migrations",
    "/console/migrations/run",
    "/console/outputs",
    "/console/outputs/delete",
    "/console/outputs/edit",
    "/console/outputs/new",
    "/console/outputs/record",
    "/console/quality",
    "/console/quality/findings",
    "/console/quality/table",
    "/console/queries",
    "/console/queries/map",
    "/console/queries/new",
    "/console/queries/record",
    "/console/runs",
    "/console/runs/*",
    "/console/runs/*/results",
    "/console/runs/new",
    "/console/settings",
];

/// Pages that no link leads to: results of forms, and errors.
const FORMS: [(&str, u64); 6] = [
    ("/console/queries?q=fusion+power&mode=hybrid&category=science", 200),
    ("/console/queries?category=none", 200),
    ("/console/compare?model_a=gpt-4o&model_b=gpt-4o-mini", 200),
    ("/console/runs?state=stopped", 200),
    ("/console/nowhere", 404),
    ("/console/queries?categroy=science", 422),
];

/// Parameters change what a page shows, not its colours: a path is seen once in the dark.
const SCHEMES: [&str; 2] = ["light", "dark"];

/// Most pages of the crawl, so that it ends.
const MOST: usize = 120;

/// The elements that a keyboard must reach, each with a visible focus.
const UNREACHABLE: &str = r#"
    const found = [];
    for (const element of document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')) {
        if (!element.checkVisibility()) continue;
        element.focus({focusVisible: true});
        const {outlineStyle, outlineWidth} = getComputedStyle(element);
        if (document.activeElement !== element || element.tabIndex < 0) found.push(`no focus: ${element.outerHTML}`);
        else if (outlineStyle === 'none' || outlineWidth === '0px') found.push(`invisible focus: ${element.outerHTML}`);
    }
    document.activeElement.blur();
    return found;
"#;

/// Texts of plots that are cut off at their edges, by more than what rounds letters.
const CUT_OFF: &str = r#"
    return [...document.querySelectorAll('svg text')].filter((text) => {
        const [box, {x, y, width, height}] = [text.getBBox(), text.ownerSVGElement.viewBox.baseVal];
        return box.x < x - 1 || box.x + box.width > x + width + 1 || box.y < y - 4 || box.y + box.height > y + height + 4;
    }).map((text) => text.outerHTML);
"#;

/// Violations with their elements. In the dark, only colours differ.
const VIOLATIONS: &str = r#"
    const [scheme, done] = arguments;
    const rules = scheme === 'dark' ? {runOnly: ['color-contrast']} : {};
    axe.run(document, {resultTypes: ['violations'], ...rules}).then(({violations}) => done(
        violations.filter(({impact}) => impact === 'serious' || impact === 'critical').map(({id, impact, nodes}) =>
            `${impact}: ${id}: ${nodes.map(({html, failureSummary}) => `${html} ${failureSummary}`).join('\n')}`)
    ), (error) => done([String(error)]));
"#;

#[tokio::test]
async fn every_page_loads_from_this_server_alone_without_errors_and_is_accessible() {
    on_site(|site| {
        let _records = site.unchanged();
        let tab = site.tab(PageScripts::Run, "/");
        let axe = axe_core();
        tab.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": axe }));
        let mut queue: VecDeque<String> = VecDeque::from(["/".to_owned()]);
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut faults = Vec::new();
        while let Some(path) = queue.pop_front() {
            if seen.contains_key(&kind(&path)) {
                continue;
            }
            let is_known = |kind: &String| kind.split('?').next() == path.split('?').next();
            let schemes = if seen.keys().any(is_known) { &SCHEMES[..1] } else { &SCHEMES };
            seen.insert(kind(&path), path.clone());
            assert!(seen.len() <= MOST, "the crawl ends: {:#?}", seen.keys());
            faults.extend(examine(site, &tab, (&path, 200), schemes));
            queue.extend(links(site, &tab));
        }
        for (path, status) in FORMS {
            faults.extend(examine(site, &tab, (path, status), &SCHEMES));
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        let paths: BTreeSet<&str> = seen.keys().filter_map(|kind| kind.split('?').next()).collect();
        let missing: Vec<&str> = EXPECTED.into_iter().filter(|path| !paths.contains(path)).collect();
        assert!(missing.is_empty(), "{missing:?} of {paths:#?}");
    })
    .await;
}

/// What pages of one kind share: the path without ids, and the names of the parameters.
fn kind(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_id = |part: &str| part.len() == 36 && part.matches('-').count() == 4;
    let parts: Vec<&str> = path.split('/').map(|part| if is_id(part) { "*" } else { part }).collect();
    let names: BTreeSet<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
    format!("{}?{}", parts.join("/"), names.into_iter().collect::<Vec<_>>().join("&"))
}

/// The paths of the pages of the console that the page links to.
fn links(site: &Site, tab: &Tab) -> Vec<String> {
    let found = tab.value(
        "[...document.querySelectorAll('a[href]:not([download])')].map((a) => a.href.baseVal ?? a.href)",
    );
    let found = found.as_array().expect("a list").iter().filter_map(Value::as_str);
    let base = Url::parse(&site.url).expect("a URL");
    let mut paths = Vec::new();
    for link in found {
        // Links in plots are as written.
        let url = base.join(link).expect("a URL");
        assert_eq!(
            url.origin(),
            base.origin(),
            "the console links to no other host: {link} at {}",
            tab.url()
        );
        // The API's own page is not of the console, and downloads are no pages.
        if url.path() != "/docs" && !url.path().ends_with("/export") {
            paths.push(url[Position::BeforePath..Position::AfterQuery].to_owned());
        }
    }
    paths
}

/// What is wrong with a page, which is answered with `status`, in some colour schemes.
fn examine(site: &Site, tab: &Tab, (path, status): (&str, u64), schemes: &[&str]) -> Vec<String> {
    tab.open(&site.at(path));
    assert_eq!(tab.value("performance.getEntriesByType('navigation')[0].responseStatus"), status, "{path}");
    let mut faults = [("keyboard", UNREACHABLE), ("plots", CUT_OFF)]
        .map(|(kind, script)| (kind.to_owned(), tab.run(script, &[])))
        .to_vec();
    for &scheme in schemes {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        tab.devtools("Emulation.setEmulatedMedia", &features);
        faults.push((scheme.to_owned(), tab.run_until_done(VIOLATIONS, &[json!(scheme)])));
    }
    let errors = tab.log("browser").into_iter().filter(|entry| !is_status(entry, status));
    faults.push(("console".to_owned(), errors.collect()));
    faults.push(("requests".to_owned(), foreign_requests(site, tab)));
    let of_kind = |(kind, found): (String, Value)| {
        let found = found.as_array().expect("a list").clone();
        found.into_iter().map(move |fault| format!("{path}, {kind}: {fault}"))
    };
    faults.into_iter().flat_map(of_kind).collect()
}

/// Whether it is the message of a page that has this status on purpose.
fn is_status(entry: &Value, status: u64) -> bool {
    let message = entry["message"].as_str().expect("a text");
    status != 200 && message.contains(&format!("the server responded with a status of {status}"))
}

/// The requests since the last call that were not sent to this server, and the pages whose policy allows any.
fn foreign_requests(site: &Site, tab: &Tab) -> Value {
    let is_own = |url: &str| url.starts_with(&format!("{}/", site.url));
    let mut faults = Vec::new();
    let mut pages = 0;
    for entry in tab.log("performance") {
        let event: Value = serde_json::from_str(entry["message"].as_str().expect("a text")).expect("JSON");
        let (event, parameters) = (&event["message"]["method"], &event["message"]["params"]);
        if event == "Network.requestWillBeSent" {
            let url = parameters["request"]["url"].as_str().expect("a URL");
            if !is_own(url) && !["data:,", "about:blank"].contains(&url) {
                faults.push(json!(format!("request to {url}")));
            }
        }
        let response = &parameters["response"];
        let is_page = event == "Network.responseReceived" && parameters["type"] == "Document";
        if is_page && response["url"].as_str().is_some_and(is_own) {
            let headers = response["headers"].as_object().expect("headers");
            let policy =
                headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-security-policy"));
            // A response without a policy is reported below.
            let policy = policy.and_then(|(_, value)| value.as_str()).unwrap_or_default();
            if !policy.starts_with("default-src 'self';") || policy.contains("unsafe") {
                faults.push(json!(format!("policy {policy}")));
            }
            pages += 1;
        }
    }
    assert!(pages > 0, "the log has the page {}", tab.url());
    Value::Array(faults)
}

#[tokio::test]
async fn inline_scripts_styles_and_other_hosts_are_refused_by_the_policy() {
    on_site(|site| {
        let tab = site.tab(PageScripts::Run, "/");
        tab.run(
            "addEventListener('securitypolicyviolation', ({effectiveDirective}) => refused.push(effectiveDirective));
             globalThis.refused = [];
             const script = document.createElement('script');
             script.textContent = 'globalThis.intruded = true';
             const image = new Image();
             image.src = 'http://192.0.2.1/x.png';
             const mark = document.createElement('p');
             mark.setAttribute('style', 'color: red');
             document.body.append(script, image, mark);",
            &[],
        );
        tab.wait_until("refused.length >= 3");
        assert_eq!(tab.value("refused.sort()"), json!(["img-src", "script-src-elem", "style-src-attr"]));
        assert_eq!(tab.value("globalThis.intruded === undefined"), true);
    })
    .await;
}
