//! Sessions of the console, without state on the server: a cookie holds a token, and forms hold a second token that
//! belongs to it.
//!
//! With a key, the token is an expiry and a nonce, authenticated by HMAC-SHA-256 under a secret derived from the key:
//! every process with the same key accepts it, and none reveals the key. Without a key, it is only a nonce, to which the
//! tokens of forms belong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue, header};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::config::ApiKey;

/// How long a sign-in lasts. A copied cookie gives access until then.
const LASTS: Duration = Duration::from_secs(7 * 24 * 3_600);

const COOKIE: &str = "panopticon_session";

/// A token in hexadecimal or decimal digits and full stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session(String);

/// Issues and verifies tokens.
#[derive(Debug)]
pub(crate) struct Sessions {
    secret: [u8; 32],
    /// Browsers send the cookies of all ports of a host, so servers with different keys name theirs differently.
    cookie: String,
    needs_key: bool,
}

impl Sessions {
    /// The sessions of a process with this key.
    pub(crate) fn new(key: Option<&ApiKey>) -> Self {
        let secret = match key {
            Some(key) => authenticated(key.digest(), "console sessions"),
            // Of this process alone.
            None => authenticated(Uuid::new_v4().as_bytes(), &Uuid::new_v4().to_string()),
        };
        let cookie = match key {
            Some(_) => format!("{COOKIE}_{}", &hexadecimal(&authenticated(&secret, "cookie"))[..8]),
            None => COOKIE.to_owned(),
        };
        Self { secret, cookie, needs_key: key.is_some() }
    }

    /// A new session; with a key, of a client that has shown it.
    pub(crate) fn begin(&self) -> Session {
        self.begin_at(SystemTime::now())
    }

    fn begin_at(&self, now: SystemTime) -> Session {
        let nonce = Uuid::new_v4().simple().to_string();
        if !self.needs_key {
            return Session(nonce);
        }
        let signed = format!("{}.{nonce}", seconds(now + LASTS));
        let mac = hexadecimal(&authenticated(&self.secret, &format!("session {signed}")));
        Session(format!("{signed}.{mac}"))
    }

    /// The valid session in the cookies of a request.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<Session> {
        self.of_at(headers, SystemTime::now())
    }

    fn of_at(&self, headers: &HeaderMap, now: SystemTime) -> Option<Session> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let tokens = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie);
        let valid = tokens.map(|(_, token)| token).find(|token| self.is_valid(token, now));
        valid.map(|token| Session(token.to_owned()))
    }

    fn is_valid(&self, token: &str, now: SystemTime) -> bool {
        if !self.needs_key {
            return token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        }
        let Some((signed, mac)) = token.rsplit_once('.') else { return false };
        let expected = hexadecimal(&authenticated(&self.secret, &format!("session {signed}")));
        let is_authentic: bool = expected.as_bytes().ct_eq(mac.as_bytes()).into();
        let expires = signed.split_once('.').and_then(|(expires, _)| expires.parse().ok());
        is_authentic && expires.is_some_and(|expires: u64| expires > seconds(now))
    }

    /// The token of the forms of `session`.
    pub(crate) fn form_token(&self, session: &Session) -> String {
        hexadecimal(&authenticated(&self.secret, &format!("form {}", session.0)))
    }

    /// Whether `token` is that of the forms of `session`.
    pub(crate) fn is_form_token(&self, session: &Session, token: &str) -> bool {
        self.form_token(session).as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// The header `Set-Cookie` for `session`. `Secure` only behind TLS: otherwise browsers would drop it.
    pub(crate) fn set_cookie(&self, session: &Session, transport: Transport) -> HeaderValue {
        let age = if self.needs_key { format!("; Max-Age={}", LASTS.as_secs()) } else { String::new() };
        self.header(&format!("{}{age}", session.0), transport)
    }

    /// The header `Set-Cookie` that ends the session.
    pub(crate) fn end_cookie(&self, transport: Transport) -> HeaderValue {
        self.header("; Max-Age=0", transport)
    }

    fn header(&self, value: &str, transport: Transport) -> HeaderValue {
        let secure = if transport == Transport::Tls { "; Secure" } else { "" };
        let cookie = format!("{}={value}; Path=/; HttpOnly; SameSite=Strict{secure}", self.cookie);
        HeaderValue::from_str(&cookie).expect("tokens and attributes are ASCII")
    }
}

/// How the browser reaches the server, or the proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// By TLS.
    Tls,
    /// Without it, or unknown.
    Plain,
}

impl Transport {
    /// That of the page that sent a form.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        if origin.is_some_and(|origin| origin.starts_with(b"https://")) { Self::Tls } else { Self::Plain }
    }
}

fn authenticated(secret: &[u8], message: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC has keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seconds(time: SystemTime) -> u64 {
    // A clock before 1970 counts as 1970.
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sessions: &Sessions, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let cookie = format!("other=1; {}={value}", sessions.cookie);
        headers.insert(header::COOKIE, cookie.parse().expect("a header's value"));
        headers
    }

    #[test]
    fn only_tokens_of_the_same_key_are_accepted_until_they_expire() {
        let [ours, same, others] = ["k", "k", "l"].map(|key| Sessions::new(Some(&ApiKey::new(key))));
        let now = SystemTime::now();
        let session = ours.begin_at(now);
        assert_eq!(ours.of(&sent(&ours, &session.0)), Some(session.clone()));
        assert_eq!(same.of(&sent(&same, &session.0)), Some(session.clone()), "it needs no state");
        assert_eq!(others.of(&sent(&others, &session.0)), None);
        assert_ne!(ours.cookie, others.cookie);
        let just_before = now + LASTS - Duration::from_secs(1);
        assert!(ours.of_at(&sent(&ours, &session.0), just_before).is_some());
        assert!(ours.of_at(&sent(&ours, &session.0), now + LASTS).is_none(), "it has expired");
        for place in 0..session.0.len() {
            let mut altered = session.0.clone().into_bytes();
            altered[place] = if altered[place] == b'0' { b'1' } else { b'0' };
            let altered = String::from_utf8(altered).expect("ASCII");
            assert!(ours.of(&sent(&ours, &altered)).is_none(), "{altered}");
        }
        for token in ["", ".", "..", "k", "9999999999.x", "9999999999.x."] {
            assert!(ours.of(&sent(&ours, token)).is_none(), "{token}");
        }
    }

    #[test]
    fn token_reveals_nothing_of_the_key() {
        let sessions = Sessions::new(Some(&ApiKey::new("s3cret")));
        let header = sessions.set_cookie(&sessions.begin(), Transport::Plain);
        let header = header.to_str().expect("ASCII");
        assert!(!header.contains("s3cret") && header.contains("; HttpOnly; SameSite=Strict"), "{header}");
        assert!(!header.contains(&hexadecimal(ApiKey::new("s3cret").digest())), "{header}");
        assert!(!header.contains("Secure"), "browsers drop such cookies without TLS");
        assert!(sessions.end_cookie(Transport::Tls).to_str().expect("ASCII").ends_with("; Secure"));
    }

    #[test]
    fn forms_belong_to_their_session() {
        for sessions in [Sessions::new(None), Sessions::new(Some(&ApiKey::new("k")))] {
            let [one, other] = [sessions.begin(), sessions.begin()];
            let token = sessions.form_token(&one);
            assert!(sessions.is_form_token(&one, &token) && !sessions.is_form_token(&other, &token));
            assert!(!sessions.is_form_token(&one, "") && !sessions.is_form_token(&one, &one.0));
        }
        let session = Sessions::new(None).begin();
        assert_ne!(Sessions::new(None).form_token(&session), Sessions::new(None).form_token(&session));
    }
}
