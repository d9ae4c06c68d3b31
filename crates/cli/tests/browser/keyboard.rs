//! The console without a mouse.

use test_support::{PageScripts, Tab};

use super::on_site;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
/// More elements than any page has before what is looked for.
const MOST_STEPS: usize = 80;

/// Presses the tab key until an element that `selector` matches has the focus.
fn tab_to(tab: &Tab, selector: &str) {
    for _ in 0..MOST_STEPS {
        tab.press(TAB);
        if tab.value(&format!("document.activeElement.matches({selector:?})")) == true {
            return;
        }
    }
    panic!("the keyboard does not reach {selector} at {}", tab.url());
}

#[tokio::test]
async fn lists_are_searched_and_opened_by_keys() {
    on_site(|site| {
        let _records = site.unchanged();
        let tab = site.tab(PageScripts::Run, "/console/queries");
        tab.press(TAB);
        assert_eq!(tab.value("document.activeElement.textContent"), "Skip to content");
        assert_eq!(
            tab.value("document.activeElement.getBoundingClientRect().left >= 0"),
            true,
            "it is visible"
        );
        tab.press(ENTER);
        tab.wait_until("document.activeElement.id === 'main'");
        tab.press("/");
        assert_eq!(tab.value("document.activeElement.name"), "q");
        tab.press("how vaccines work, j or k\u{e007}");
        tab.wait_until("new URLSearchParams(location.search).get('q') === 'how vaccines work, j or k'");
        let current = "[...document.querySelectorAll('table[data-rows] tbody tr')]
            .findIndex((row) => row.matches('.current') && row.contains(document.activeElement))";
        tab.press("jjj");
        assert_eq!(tab.value(current), 2);
        tab.press("k");
        assert_eq!(tab.value(current), 1);
        let address = tab.value("document.activeElement.href");
        tab.press(ENTER);
        tab.wait_until("location.pathname === '/console/queries/record'");
        assert_eq!(tab.value("location.href"), address);
    })
    .await;
}

#[tokio::test]
async fn record_is_added_changed_and_deleted_by_the_keyboard() {
    on_site(|site| {
        let _records = site.changing();
        let tab = site.tab(PageScripts::Run, "/console/queries");
        tab_to(&tab, "main a[href$='/new']");
        tab.press(ENTER);
        tab.wait_until("location.pathname.endsWith('/new')");
        for (field, text) in
            [("text", "Which keys does a piano have?"), ("category", "music"), ("metadata", "{\"keys\": 88}")]
        {
            tab_to(&tab, &format!("[name={field}]"));
            tab.press(text);
        }
        tab_to(&tab, "main button[type=submit]");
        tab.press(ENTER);
        let shows = |text: &str| format!("document.querySelector('main pre')?.textContent === {text:?}");
        tab.wait_until(&shows("Which keys does a piano have?"));
        assert!(tab.text().contains("\"keys\": 88"), "{}", tab.text());
        tab_to(&tab, "main a[href*='/edit']");
        tab.press(ENTER);
        tab.wait_until("location.pathname.endsWith('/edit')");
        tab_to(&tab, "[name=category]");
        // What has the focus by the tab key is selected.
        tab.press("instruments");
        tab_to(&tab, "main button[type=submit]");
        tab.press(ENTER);
        tab.wait_until("document.querySelector('main dl')?.textContent.includes('instruments') ?? false");
        tab_to(&tab, "main a[href*='/delete']");
        tab.press(ENTER);
        tab.wait_until("location.pathname.endsWith('/delete')");
        tab_to(&tab, "main button[type=submit]");
        tab.press(ENTER);
        tab.wait_until("location.pathname === '/console/queries'");
        assert!(!tab.text().contains("piano"), "{}", tab.text());
    })
    .await;
}
