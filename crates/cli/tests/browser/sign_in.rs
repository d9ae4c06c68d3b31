//! The form that asks for the key.

use rustix::process::Signal;
use test_support::PageScripts;

use super::on_site;
use crate::serve::Serving;

#[tokio::test]
async fn key_is_asked_for_once_and_the_page_follows() {
    on_site(|site| {
        let environment = [("DATABASE_URL", &*site.database.url()), ("API_KEY", "s3cret")];
        let serving = Serving::start(&["query"], &environment);
        let url = serving.url("query");
        let tab = site.chromium.open(PageScripts::Run);
        tab.open(&format!("{url}/console/queries?category=science"));
        assert_eq!(tab.value("document.activeElement.name"), "key", "the field has the focus");
        tab.press("wrong\u{e007}");
        tab.wait_until("document.querySelector('[role=alert]')?.textContent.includes(\"not the server's API key\") ?? false");
        tab.press("s3cret\u{e007}");
        tab.wait_until("location.pathname === '/console/queries'");
        assert!(tab.url().ends_with("?category=science"), "{}", tab.url());
        assert_eq!(tab.value("document.cookie"), "", "scripts cannot read the session");
        assert!(!tab.value("document.documentElement.outerHTML").to_string().contains("s3cret"));
        tab.click("Sign out");
        tab.wait_until("location.pathname === '/console/sign-in'");
        tab.open(&format!("{url}/console/queries"));
        tab.wait_until("location.pathname === '/console/sign-in'");
        drop(tab);
        let ended = serving.end(Signal::TERM);
        assert_eq!(ended.code, 0, "{ended:?}");
    })
    .await;
}
