//! Further issuers whose tokens are believed: an issuer, our audience there, and where its keys are (a file or a URL).
//!
//! Settings in, keys by issuer and key id out. Keys are read anew every [`REFRESH_INTERVAL_MS`], and for an unknown key id at most
//! every [`UNKNOWN_INTERVAL_MS`]; only ever from the place that the operator configured. A source that cannot be read leaves the keys
//! as they were, until they are [`STALE_MAX_MS`] old. One fetch an issuer at a time: the others wait for it.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;

use super::foreign_keys::{self, ForeignKey, JwksError};
use crate::support::chain::Chain;
use crate::vocabulary::Millis;

/// How often keys are read anew.
pub const REFRESH_INTERVAL_MS: u64 = 10 * 60 * 1000;
/// How often a token may make us look: anybody can name an unknown key.
pub const UNKNOWN_INTERVAL_MS: u64 = 60 * 1000;
/// Keys that could not be confirmed for a day are no longer believed.
pub const STALE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
const NAME_CHARACTERS_MAX: usize = 512;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// A dozen RSA keys with certificates stay below.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
const USER_AGENT: &str = "sosik";

/// One `[[auth.issuers]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What `iss` must say.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
    /// A path, or a URL: `https`, or `http` to this machine only.
    pub jwks: String,
}

impl IssuerSettings {
    /// Whether such an issuer can be; `own` is the issuer of this server's own tokens, `others` are those that were named before.
    pub fn check<'a>(&self, own: &str, mut others: impl Iterator<Item = &'a str>) -> Result<(), IssuerError> {
        let name = &self.issuer;
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
            return Err(IssuerError::Name);
        }
        if name == own || others.any(|other| other == name) {
            return Err(IssuerError::Twice(name.clone()));
        }
        self.url().map(drop)
    }

    /// Where the keys are fetched; `None`: they are in a file.
    fn url(&self) -> Result<Option<reqwest::Url>, IssuerError> {
        let wrong = || IssuerError::Source(self.issuer.clone());
        if !self.jwks.contains("://") {
            return if self.jwks.is_empty() { Err(wrong()) } else { Ok(None) };
        }
        let url = reqwest::Url::parse(&self.jwks).map_err(|_error| wrong())?;
        let allowed = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(&url));
        if allowed { Ok(Some(url)) } else { Err(wrong()) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("issuer {0} is configured twice, or is this server itself")]
    Twice(String),
    #[error("the name of an issuer must be 1 to {NAME_CHARACTERS_MAX} characters without control characters")]
    Name,
    #[error("the keys of issuer {0} must be a file, an https URL, or an http URL of this machine")]
    Source(String),
    #[error("could not read the keys of an issuer from {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not fetch the keys of an issuer")]
    Fetch(#[source] reqwest::Error),
    #[error("the answer for the keys of an issuer has status {0}")]
    Status(u16),
    #[error("the keys of an issuer measure more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the keys of an issuer are not readable")]
    Document(#[source] JwksError),
}

enum Source {
    File(PathBuf),
    Url(reqwest::Url, reqwest::Client),
}

struct Keys {
    read_at: Millis,
    by_kid: HashMap<String, Arc<ForeignKey>>,
}

struct Issuer {
    settings: IssuerSettings,
    source: Source,
    keys: ArcSwapOption<Keys>,
    /// When somebody last began to read the keys; 0 for never.
    tried_at: AtomicU64,
    reading: tokio::sync::Mutex<()>,
}

/// The further issuers.
#[derive(Default)]
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Checks the settings; `own` is the issuer of this server's own tokens. Nothing is read yet: see [`Issuers::refresh_due`].
    pub fn new(settings: Vec<IssuerSettings>, own: &str) -> Result<Self, IssuerError> {
        let mut issuers: Vec<Issuer> = Vec::with_capacity(settings.len());
        for settings in settings {
            settings.check(own, issuers.iter().map(|other| other.settings.issuer.as_str()))?;
            let source = Source::of(&settings)?;
            issuers.push(Issuer {
                settings,
                source,
                keys: ArcSwapOption::empty(),
                tried_at: AtomicU64::new(0),
                reading: tokio::sync::Mutex::new(()),
            });
        }
        Ok(Self(issuers))
    }

    /// Reads the keys of each issuer whose keys are older than [`REFRESH_INTERVAL_MS`], of all at once; at start those of all. A failure
    /// is logged. To be called at start and once a minute.
    pub async fn refresh_due(&self, now: Millis) {
        let is_due = |issuer: &&Issuer| issuer.keys.load().as_ref().is_none_or(|keys| now.abs_diff(keys.read_at) >= REFRESH_INTERVAL_MS);
        join_all(self.0.iter().filter(is_due).map(|issuer| issuer.refresh(now))).await;
    }

    /// Reads the keys of one issuer because a token named one that we do not have; unless somebody did within [`UNKNOWN_INTERVAL_MS`].
    pub async fn refresh_for_unknown_key(&self, place: usize, now: Millis) {
        if let Some(issuer) = self.0.get(place) {
            issuer.refresh(now).await;
        }
    }

    /// Whether the issuer's keys could be read lately: without them no token of his can be judged.
    pub fn has_keys(&self, place: usize, now: Millis) -> bool {
        self.0.get(place).is_some_and(|issuer| issuer.fresh_keys(now).is_some())
    }

    /// The issuer's name.
    pub fn name(&self, place: usize) -> Option<&str> {
        self.0.get(place).map(|issuer| issuer.settings.issuer.as_str())
    }

    pub(super) fn find(&self, issuer: &str) -> Option<usize> {
        self.0.iter().position(|known| known.settings.issuer == issuer)
    }

    pub(super) fn audience(&self, place: usize) -> Option<&str> {
        self.0.get(place).map(|issuer| issuer.settings.audience.as_str())
    }

    pub(super) fn key(&self, place: usize, kid: &str, now: Millis) -> Option<Arc<ForeignKey>> {
        self.0.get(place)?.fresh_keys(now)?.by_kid.get(kid).cloned()
    }
}

impl Issuer {
    fn fresh_keys(&self, now: Millis) -> Option<Arc<Keys>> {
        self.keys.load_full().filter(|keys| now.abs_diff(keys.read_at) < STALE_MAX_MS)
    }

    async fn refresh(&self, now: Millis) {
        let _reading = self.reading.lock().await;
        let tried_at = self.tried_at.load(Ordering::Relaxed);
        if tried_at != 0 && now.abs_diff(tried_at) < UNKNOWN_INTERVAL_MS {
            return;
        }
        self.tried_at.store(now, Ordering::Relaxed);
        match self.source.read().await {
            Ok(by_kid) => self.keys.store(Some(Arc::new(Keys { read_at: now, by_kid }))),
            Err(error) => {
                tracing::warn!(issuer = %self.settings.issuer, error = %Chain(&error), "keys of an issuer not read");
            }
        }
    }
}

impl Source {
    fn of(settings: &IssuerSettings) -> Result<Self, IssuerError> {
        let Some(url) = settings.url()? else { return Ok(Self::File(PathBuf::from(&settings.jwks))) };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .referer(false)
            .no_proxy()
            .user_agent(USER_AGENT)
            .build()
            .map_err(IssuerError::Fetch)?;
        Ok(Self::Url(url, client))
    }

    async fn read(&self) -> Result<HashMap<String, Arc<ForeignKey>>, IssuerError> {
        let bytes = match self {
            Self::File(path) => read_file(path.clone()).await.map_err(|source| IssuerError::File { path: path.clone(), source })?,
            Self::Url(url, client) => fetch(url, client).await?,
        };
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(IssuerError::TooLarge);
        }
        let keys = foreign_keys::parse(&bytes).map_err(IssuerError::Document)?;
        Ok(keys.into_iter().map(|(kid, key)| (kid, Arc::new(key))).collect())
    }
}

/// By address, or by the one name that RFC 6761 keeps for it.
fn is_this_machine(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// One byte more than is allowed, so that too large a file is seen. On a thread of its own: the file may be on a slow disk.
async fn read_file(path: PathBuf) -> io::Result<Vec<u8>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    reading.await.map_err(io::Error::other)?
}

async fn fetch(url: &reqwest::Url, client: &reqwest::Client) -> Result<Vec<u8>, IssuerError> {
    let mut response = client.get(url.clone()).send().await.map_err(fetch_error)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(IssuerError::Status(response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(fetch_error)? {
        if bytes.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(IssuerError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The URL may hold a password, which has no place in a log.
fn fetch_error(error: reqwest::Error) -> IssuerError {
    IssuerError::Fetch(error.without_url())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const NOW: Millis = 1_800_000_000_000;
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"one"}]}"#;

    fn settings(jwks: &str) -> IssuerSettings {
        IssuerSettings { issuer: "https://issuer.example".to_owned(), audience: "sosik".to_owned(), jwks: jwks.to_owned() }
    }

    fn issuers(jwks: &str) -> Issuers {
        Issuers::new(vec![settings(jwks)], "own").expect("acceptable")
    }

    /// Answers every connection with the same bytes, and counts them.
    fn server(answer: Vec<u8>) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.expect("a connection");
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(&answer);
            }
        });
        (url, connections)
    }

    fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn only_files_https_and_this_machine_are_sources() {
        for jwks in [
            "keys.json",
            "/etc/keys.json",
            "https://issuer.example/jwks",
            "http://127.0.0.1:1/jwks",
            "http://[::1]/jwks",
            "http://localhost/jwks",
        ] {
            assert!(Issuers::new(vec![settings(jwks)], "own").is_ok(), "{jwks}");
        }
        for jwks in ["", "http://issuer.example/jwks", "http://127.0.0.1.example/", "ftp://127.0.0.1/", "file:///etc/passwd", "https://"] {
            assert!(Issuers::new(vec![settings(jwks)], "own").is_err(), "{jwks}");
        }
    }

    #[test]
    fn an_issuer_is_configured_once_and_is_not_this_server() {
        assert!(matches!(Issuers::new(vec![settings("a"), settings("b")], "own"), Err(IssuerError::Twice(_))));
        assert!(matches!(Issuers::new(vec![settings("a")], "https://issuer.example"), Err(IssuerError::Twice(_))));
    }

    #[tokio::test]
    async fn keys_of_a_file_are_read_and_read_again_when_due() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), KEYS).expect("written");
        let issuers = issuers(file.path().to_str().expect("a path"));
        assert!(!issuers.has_keys(0, NOW));

        issuers.refresh_due(NOW).await;
        assert!(issuers.key(0, "one", NOW).is_some());
        assert!(issuers.key(0, "two", NOW).is_none());

        std::fs::write(file.path(), KEYS.replace("one", "two")).expect("written");
        issuers.refresh_due(NOW + REFRESH_INTERVAL_MS - 1).await;
        assert!(issuers.key(0, "two", NOW).is_none());
        issuers.refresh_due(NOW + REFRESH_INTERVAL_MS).await;
        assert!(issuers.key(0, "two", NOW).is_some());
        assert!(issuers.key(0, "one", NOW).is_none());
    }

    #[tokio::test]
    async fn unknown_keys_make_us_look_at_most_once_a_minute() {
        // Planted fault: a fetch for every token that names an unknown key.
        let (url, connections) = server(http("200 OK", "", KEYS));
        let issuers = issuers(&url);
        for second in 0..60 {
            issuers.refresh_for_unknown_key(0, NOW + second * 1000).await;
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        assert!(issuers.key(0, "one", NOW).is_some());

        issuers.refresh_for_unknown_key(0, NOW + UNKNOWN_INTERVAL_MS).await;
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_keeps_no_other_from_being_read() {
        // Planted fault: one issuer after the other.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let hanging = IssuerSettings {
            issuer: "https://silent.example".to_owned(),
            ..settings(&format!("http://{}/jwks", silent.local_addr().expect("an address")))
        };
        let issuers = Issuers::new(vec![hanging, settings(&server(http("200 OK", "", KEYS)).0)], "own").expect("acceptable");

        let read = async {
            while !issuers.has_keys(1, NOW) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = issuers.refresh_due(NOW) => panic!("the silent one answered"),
            () = read => {}
        }
    }

    #[tokio::test]
    async fn redirects_errors_and_too_large_bodies_give_no_keys() {
        let (target, followed) = server(http("200 OK", "", KEYS));
        for answer in [
            http("302 Found", &format!("Location: {target}\r\n"), ""),
            http("500 Oops", "", KEYS),
            http("200 OK", "", "<html>"),
            format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(DOCUMENT_BYTES_MAX + 1)).into_bytes(),
        ] {
            let issuers = issuers(&server(answer).0);
            issuers.refresh_due(NOW).await;
            assert!(!issuers.has_keys(0, NOW));
        }
        assert_eq!(followed.load(Ordering::SeqCst), 0, "no redirect was followed");
    }

    // The client's connection must be closed while this thread waits for the sender.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_endless_body_is_not_read_to_its_end() {
        // Planted fault: looking at the size only when all of it is there.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/jwks", listener.local_addr().expect("an address"));
        let sender = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.set_write_timeout(Some(CONNECT_TIMEOUT)).expect("set");
            let mut sent = stream.write(b"HTTP/1.1 200 OK\r\n\r\n").expect("sent");
            while sent < 256 * 1024 * 1024 {
                match stream.write(&[b' '; 65_536]) {
                    Ok(more) => sent += more,
                    Err(_) => break,
                }
            }
            sent
        });
        let issuers = issuers(&url);
        issuers.refresh_due(NOW).await;

        assert!(!issuers.has_keys(0, NOW));
        assert!(sender.join().expect("ended") < 64 * 1024 * 1024, "the rest stayed in the buffers of the system");
    }

    #[tokio::test]
    async fn a_source_that_fails_leaves_the_keys_for_a_day() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), KEYS).expect("written");
        let issuers = issuers(file.path().to_str().expect("a path"));
        issuers.refresh_due(NOW).await;
        std::fs::write(file.path(), "broken").expect("written");
        issuers.refresh_due(NOW + REFRESH_INTERVAL_MS).await;

        assert!(issuers.key(0, "one", NOW + STALE_MAX_MS - 1).is_some());
        assert!(issuers.key(0, "one", NOW + STALE_MAX_MS).is_none());
        assert!(!issuers.has_keys(0, NOW + STALE_MAX_MS));
    }
}
