//! Debian's Chromium without a window, driven by chromedriver. WebDriver is JSON over HTTP: what tests need of it is less
//! code than the crates for it would add to the lock file.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    http::HttpRequest,
    process::{OwnedProcess, run},
    python::python_packages,
    run_mode::skip,
};

/// Enough for a slow machine under load.
const PATIENCE: Duration = Duration::from_secs(60);

/// The key of an element's id, as the standard has it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A chromedriver, which starts a Chromium for each [`Tab`]. It ends when this value is dropped.
pub struct Chromium {
    driver: Option<OwnedProcess>,
    port: u16,
    browser: PathBuf,
    _folder: TempDir,
}

/// Whether scripts of pages run. Those of tests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageScripts {
    /// As in every browser.
    Run,
    /// As in a browser whose user has turned JavaScript off.
    Blocked,
}

impl Chromium {
    /// Starts a chromedriver; as root on Debian, `.ci/browser` installs it first. Otherwise, a skip and `None`.
    pub fn start() -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/browser");
        if let Err(error) = run(&mut Command::new(script)) {
            skip(&format!("no browser: {error}"));
            return None;
        }
        let browser = ["chromium", "google-chrome"].into_iter().find_map(on_path).expect("it is installed");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let output = || Stdio::from(fs::File::options().append(true).create(true).open(&log).expect("a log"));
        let mut command = Command::new("chromedriver");
        // Profiles and caches are in the folder.
        command.arg("--port=0").env("HOME", folder.path()).env("TMPDIR", folder.path());
        command.stdout(output()).stderr(output());
        let mut driver = OwnedProcess::spawn(&mut command, Signal::TERM, folder.path());
        let end = Instant::now() + PATIENCE;
        let port = loop {
            let written = fs::read_to_string(&log).expect("the log is text");
            if let Some(port) =
                written.split("successfully on port ").nth(1).and_then(|rest| rest.split('.').next())
            {
                break port.parse().expect("a port");
            }
            assert!(driver.is_alive() && Instant::now() < end, "chromedriver starts: {written}");
            thread::sleep(Duration::from_millis(20));
        };
        Some(Self { driver: Some(driver), port, browser, _folder: folder })
    }

    /// Opens a browser of 1280 by 900 pixels, with a profile of its own.
    pub fn open(&self, scripts: PageScripts) -> Tab {
        let mut options = json!({
            "binary": self.browser,
            // By the pipe, the browser ends with chromedriver. It has no sandbox as root.
            "args": [
                "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--window-size=1280,900", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--no-first-run",
                "--lang=en-GB",
            ],
        });
        if scripts == PageScripts::Blocked {
            options["prefs"] = json!({"profile.managed_default_content_settings.javascript": 2});
        }
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "timeouts": {"script": PATIENCE.as_millis() as u64, "pageLoad": PATIENCE.as_millis() as u64},
        });
        let mut tab = Tab { port: self.port, session: "/session".to_owned() };
        let begun = tab.command("POST", "", &json!({"capabilities": {"alwaysMatch": wanted}}));
        let begun = begun.expect("the browser starts");
        tab.session = format!("/session/{}", begun["sessionId"].as_str().expect("an id"));
        tab
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.end();
        }
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| Path::is_file(file))
}

/// The accessibility checker axe-core 4.12.1, a script, downloaded at the first call on a machine.
pub fn axe_core() -> String {
    let folder = python_packages("axe-core-4.12.1", &["axe-playwright-python==0.1.8"]);
    fs::read_to_string(folder.join("axe_playwright_python/axe.min.js")).expect("the package has it")
}

/// A browser with one window. It ends when this value is dropped. The methods fail the test if the browser reports an error.
pub struct Tab {
    port: u16,
    session: String,
}

impl Tab {
    /// Opens `url`, and returns when it is loaded.
    pub fn open(&self, url: &str) {
        self.send("POST", "/url", &json!({ "url": url }));
    }

    /// The URL of the page.
    pub fn url(&self) -> String {
        self.send("GET", "/url", &Value::Null).as_str().expect("a URL").to_owned()
    }

    /// Runs the body of a function in the page, and returns its result. It sees `arguments`.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.send("POST", "/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// Runs the body of a function in the page, and returns what it passes to its last argument, a function.
    pub fn run_until_done(&self, script: &str, arguments: &[Value]) -> Value {
        self.send("POST", "/execute/async", &json!({"script": script, "args": arguments}))
    }

    /// The value of an expression in the page.
    pub fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}"), &[])
    }

    /// Waits until the value of an expression is true in the page or in the one that follows it.
    pub fn wait_until(&self, condition: &str) {
        let end = Instant::now() + PATIENCE;
        let body = json!({"script": format!("return {condition}"), "args": []});
        loop {
            // While the page is replaced, there is no answer.
            let value = self.command("POST", "/execute/sync", &body);
            if value == Ok(Value::Bool(true)) {
                return;
            }
            if Instant::now() > end {
                let page = self.value("document.body.innerText");
                panic!("expected {condition} within {PATIENCE:?}, found {value:?} at {}: {page}", self.url());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The text that the page shows.
    pub fn text(&self) -> String {
        self.value("document.body.innerText").as_str().expect("a text").to_owned()
    }

    /// Clicks on the link or the button with this text.
    pub fn click(&self, text: &str) {
        self.click_on(&format!("//*[self::a or self::button or self::summary][normalize-space()={text:?}]"));
    }

    /// Clicks on the first element of an XPath.
    pub fn click_on(&self, xpath: &str) {
        self.with_element(xpath, |element| {
            self.command("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
        });
    }

    /// Replaces the content of the field with this label, and chooses an option that begins with it.
    pub fn fill(&self, label: &str, text: &str) {
        let field = "descendant::*[self::input or self::textarea or self::select]";
        self.with_element(
            &format!("//label[starts-with(normalize-space(), {label:?})]/{field}"),
            |element| {
                let name = json!({"script": "return arguments[0].localName", "args": [{ELEMENT: element}]});
                if self.command("POST", "/execute/sync", &name)? != "select" {
                    self.command("POST", &format!("/element/{element}/clear"), &json!({}))?;
                }
                self.command("POST", &format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
            },
        );
    }

    /// Presses keys, one after the other, where the focus is.
    pub fn press(&self, keys: &str) {
        let presses: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        self.send(
            "POST",
            "/actions",
            &json!({"actions": [{"type": "key", "id": "keys", "actions": presses}]}),
        );
    }

    /// What the browser has logged since the last call: `browser` for the console, with errors and violations of policies;
    /// `performance` for events of the network and the page.
    pub fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.send("POST", "/se/log", &json!({ "type": kind }));
        entries.as_array().expect("a list").clone()
    }

    /// Sends a command of the Chrome DevTools Protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.send("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Does `act` with the first element of an XPath; again if the page has replaced the element in between, as it does with
    /// parts that change.
    fn with_element(&self, xpath: &str, act: impl Fn(&str) -> Result<(), String>) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = act(&self.element(xpath)) {
            let is_replaced = error.starts_with("\"stale element reference\"");
            assert!(is_replaced && Instant::now() < end, "{xpath} at {}: {error}", self.url());
        }
    }

    fn element(&self, xpath: &str) -> String {
        let found = self.command("POST", "/element", &json!({"using": "xpath", "value": xpath}));
        let found = found.unwrap_or_else(|error| panic!("{error} at {}: {}", self.url(), self.text()));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        self.command(method, path, body).unwrap_or_else(|error| panic!("{path} at {}: {error}", self.session))
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = HttpRequest::new(method, &format!("{}{path}", self.session), &body).send(self.port);
        let answer = answer.expect("chromedriver answers");
        let mut read: Value = serde_json::from_slice(&answer.body).expect("chromedriver answers with JSON");
        match answer.status {
            200 => Ok(read["value"].take()),
            _ => Err(format!("{}: {}", read["value"]["error"], read["value"]["message"])),
        }
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let ended = self.command("DELETE", "", &Value::Null);
        assert!(ended.is_ok() || thread::panicking(), "the browser ends: {ended:?}");
    }
}
