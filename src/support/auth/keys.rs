//! The keys that sign access tokens: Ed25519, one file each, made at first start and turned over by `sosik keys rotate`.
//!
//! Files in, a signing key and a set of checking keys out. A new key is good and published at once, and signs when nobody's copy of the
//! published keys is older than it ([`ANNOUNCED_MS`]); until then the one before does. That one is good and published until every
//! token that it may have signed has expired ([`OVERLAP_MS`] after its successor was made). A running server looks for new files
//! every [`RELOAD_INTERVAL_MS`], and when a token names a key that it does not know.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::files;
use super::token::{LEEWAY_S, LIFE_MAX_S};
use crate::support::chain::Chain;
use crate::support::data_folder::write_atomically;
use crate::vocabulary::Millis;

/// How long others may keep the published keys before they ask again, in seconds.
pub const PUBLISHED_MAX_AGE_S: u64 = 300;
/// How long a key is published before it signs.
pub const ANNOUNCED_MS: u64 = PUBLISHED_MAX_AGE_S * 1000 + RELOAD_INTERVAL_MS;
/// How long a key is good after its successor was made: as long as it signs, the longest life of a token that it signed, and the leeway.
pub const OVERLAP_MS: u64 = ANNOUNCED_MS + (LIFE_MAX_S + LEEWAY_S) * 1000 + RELOAD_INTERVAL_MS;
/// A rotation must be noticed within 10 s.
pub const RELOAD_INTERVAL_MS: u64 = 5_000;
/// Unknown key ids make us look at the directory, but not more often than this.
const UNKNOWN_INTERVAL_MS: u64 = 500;
/// More keys than anybody rotates in the overlap; a directory with more is not ours.
const KEYS_MAX: usize = 64;

const FILE_PREFIX: &str = "ed25519-";
const FILE_SUFFIX: &str = ".pem";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A PEM line, as RFC 7468 has it.
const PEM_LINE_CHARACTERS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("could not read or write the key file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key file {path} does not hold an Ed25519 key as PKCS#8 in PEM")]
    NotAKey { path: PathBuf },
    #[error("the key directory {path} has no key that signs")]
    Empty { path: PathBuf },
    #[error("the key directory {path} holds more than {KEYS_MAX} keys")]
    TooMany { path: PathBuf },
    #[error("could not make an Ed25519 key")]
    Generate,
}

/// One of our keys.
pub(super) struct OwnKey {
    /// RFC 7638 thumbprint.
    pub(super) kid: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    /// base64url of the public key.
    public: String,
    made_at: Millis,
    /// From then on nothing that it signed is believed; `None` for the newest.
    retired_at: Option<Millis>,
}

/// The keys at one moment, oldest first; never empty.
struct KeySet {
    names: Vec<String>,
    keys: Vec<Arc<OwnKey>>,
}

/// The keys of a data folder as a running server holds them.
pub struct KeyRing {
    dir: PathBuf,
    set: ArcSwap<KeySet>,
    looked_at: AtomicU64,
    generation: AtomicU64,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyRing").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Reads the keys of the directory; makes the directory and a first key if there is none.
    pub fn open(dir: &Path, now: Millis) -> Result<Self, KeysError> {
        files::ensure_secret_dir(dir).map_err(|source| KeysError::File { path: dir.to_owned(), source })?;
        if key_names(dir)?.is_empty() {
            make_key(dir, now)?;
        }
        let set = load(dir, None)?;
        Ok(Self { dir: dir.to_owned(), set: ArcSwap::from_pointee(set), looked_at: AtomicU64::new(now), generation: AtomicU64::new(0) })
    }

    /// Takes up keys that were added or taken away since. Costs two loads unless the last look was [`RELOAD_INTERVAL_MS`] ago.
    /// A directory that cannot be read leaves the keys as they are, and is logged.
    pub fn reload_if_changed(&self, now: Millis) {
        self.reload_after(now, RELOAD_INTERVAL_MS);
    }

    /// Rises when the set of keys has changed: what was believed before must be checked again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The public keys as a JWKS document (RFC 7517): those whose tokens are believed now.
    pub fn jwks(&self, now: Millis) -> serde_json::Value {
        let set = self.set.load();
        let keys: Vec<_> = set.keys.iter().filter(|key| !key.is_retired(now)).map(|key| key.jwk()).collect();
        serde_json::json!({ "keys": keys })
    }

    /// The id of the key that signs now.
    pub fn signing_kid(&self, now: Millis) -> Option<String> {
        self.signing(now).map(|key| key.kid.clone())
    }

    /// The newest key that everybody may know; of new ones alone the oldest. There always is one: a set without is never taken up.
    pub(super) fn signing(&self, now: Millis) -> Option<Arc<OwnKey>> {
        let set = self.set.load();
        set.keys.iter().rev().find(|key| key.is_announced(now)).or(set.keys.first()).cloned()
    }

    /// The key of this id, if what it signed is believed now.
    pub(super) fn checking(&self, kid: &str, now: Millis) -> Option<Arc<OwnKey>> {
        self.reload_if_changed(now);
        let known = self.find(kid);
        if known.is_none() {
            // Perhaps `sosik keys rotate` and then `sosik token` ran since we looked.
            self.reload_after(now, UNKNOWN_INTERVAL_MS);
        }
        known.or_else(|| self.find(kid)).filter(|key| !key.is_retired(now))
    }

    fn find(&self, kid: &str) -> Option<Arc<OwnKey>> {
        self.set.load().keys.iter().find(|key| key.kid == kid).cloned()
    }

    fn reload_after(&self, now: Millis, interval: u64) {
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        // A clock that was set back must not stop the looking: any distance counts.
        if now.abs_diff(looked_at) < interval {
            return;
        }
        if self.looked_at.compare_exchange(looked_at, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let known = self.set.load_full();
        match key_names(&self.dir) {
            Ok(names) if names == known.names => {}
            Ok(_) => match load(&self.dir, Some(&known)) {
                Ok(set) => {
                    tracing::info!(keys = set.keys.len(), "signing keys changed");
                    self.set.store(Arc::new(set));
                    self.generation.fetch_add(1, Ordering::AcqRel);
                }
                Err(error) => tracing::error!(error = %Chain(&error), "could not take up the changed signing keys"),
            },
            Err(error) => tracing::error!(error = %Chain(&error), "could not look for changed signing keys"),
        }
    }
}

impl OwnKey {
    /// A clock that was set back does not keep a key waiting: any distance counts.
    fn is_announced(&self, now: Millis) -> bool {
        now.abs_diff(self.made_at) >= ANNOUNCED_MS
    }

    fn is_retired(&self, now: Millis) -> bool {
        self.retired_at.is_some_and(|retired_at| now >= retired_at)
    }

    fn jwk(&self) -> serde_json::Value {
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": self.public, "kid": self.kid, "alg": "EdDSA", "use": "sig" })
    }
}

/// Makes a new key, which signs [`ANNOUNCED_MS`] later, and deletes keys whose overlap is over. Answers the new key's id.
pub fn rotate(dir: &Path, now: Millis) -> Result<String, KeysError> {
    files::ensure_secret_dir(dir).map_err(|source| KeysError::File { path: dir.to_owned(), source })?;
    let names = key_names(dir)?;
    for pair in names.windows(2) {
        let [old, successor] = pair else { continue };
        if retired_at(successor).is_some_and(|retired_at| now >= retired_at) {
            let path = dir.join(old);
            fs::remove_file(&path).map_err(|source| KeysError::File { path, source })?;
        }
    }
    make_key(dir, now)
}

/// File names of keys, oldest first: `ed25519-<milliseconds, 16 digits>-<kid>.pem`.
fn key_names(dir: &Path) -> Result<Vec<String>, KeysError> {
    let failed = |source| KeysError::File { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) = name.to_str().filter(|name| made_at(name).is_some()) {
            names.push(name.to_owned());
        }
        if names.len() > KEYS_MAX {
            return Err(KeysError::TooMany { path: dir.to_owned() });
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn made_at(name: &str) -> Option<Millis> {
    let (made_at, kid) = name.strip_prefix(FILE_PREFIX)?.strip_suffix(FILE_SUFFIX)?.split_once('-')?;
    if made_at.len() != 16 || kid.is_empty() { None } else { made_at.parse().ok() }
}

/// When the key before `successor` is no longer believed.
fn retired_at(successor: &str) -> Option<Millis> {
    made_at(successor).map(|made_at| made_at.saturating_add(OVERLAP_MS))
}

fn load(dir: &Path, known: Option<&KeySet>) -> Result<KeySet, KeysError> {
    let names = key_names(dir)?;
    let mut keys = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let retired_at = names.get(index + 1).and_then(|successor| retired_at(successor));
        let made_at = made_at(name).unwrap_or_default();
        let path = dir.join(name);
        match fs::read_to_string(&path) {
            Ok(pem) => keys.push(Arc::new(key_of_pem(&pem, made_at, retired_at).ok_or(KeysError::NotAKey { path })?)),
            // Deleted by a rotation between the listing and the reading.
            Err(error) if error.kind() == io::ErrorKind::NotFound && known.is_some() => {}
            Err(source) => return Err(KeysError::File { path, source }),
        }
    }
    if keys.last().is_none() { Err(KeysError::Empty { path: dir.to_owned() }) } else { Ok(KeySet { names, keys }) }
}

fn make_key(dir: &Path, now: Millis) -> Result<String, KeysError> {
    let pair = Ed25519KeyPair::generate().map_err(|_error| KeysError::Generate)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_error| KeysError::Generate)?;
    let kid = thumbprint(&URL_SAFE_NO_PAD.encode(pair.public_key()));
    // The newest name sorts last even if the clock was set back since the last rotation.
    let newest = key_names(dir)?.last().and_then(|name| made_at(name));
    let made_at = newest.map_or(now, |newest| now.max(newest + 1));
    let path = dir.join(format!("{FILE_PREFIX}{made_at:016}-{kid}{FILE_SUFFIX}"));
    write_atomically(&path, pem(pkcs8.as_ref()).as_bytes(), files::SECRET_FILE_MODE).map_err(|source| KeysError::File { path, source })?;
    Ok(kid)
}

fn key_of_pem(pem: &str, made_at: Millis, retired_at: Option<Millis>) -> Option<OwnKey> {
    let inner = pem.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let base64: String = inner.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(base64).ok()?;
    let pair = Ed25519KeyPair::from_pkcs8(&der).ok()?;
    let public = URL_SAFE_NO_PAD.encode(pair.public_key());
    Some(OwnKey {
        kid: thumbprint(&public),
        encoding: EncodingKey::from_ed_der(&der),
        decoding: DecodingKey::from_ed_der(pair.public_key().as_ref()),
        public,
        made_at,
        retired_at,
    })
}

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("{PEM_BEGIN}\n");
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index % PEM_LINE_CHARACTERS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(PEM_END);
    text.push('\n');
    text
}

/// RFC 7638, with the members of RFC 8037 for Ed25519.
fn thumbprint(public: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    fn kids(ring: &KeyRing, now: Millis) -> Vec<String> {
        let jwks = ring.jwks(now);
        jwks["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    }

    #[test]
    fn the_first_start_makes_a_private_key_and_the_second_keeps_it() {
        // Planted fault: a key made anew at each start, or readable by others.
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("keys");
        let first = KeyRing::open(&keys, NOW).expect("made").signing_kid(NOW);
        let second = KeyRing::open(&keys, NOW + 1).expect("read").signing_kid(NOW + 1);

        assert_eq!(first, second);
        let entries: Vec<_> = fs::read_dir(&keys).expect("a directory").map(|entry| entry.expect("an entry")).collect();
        assert_eq!(entries.len(), 1, "no temporary file is left");
        assert_eq!(entries[0].metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&keys).expect("there").permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_rfc_8037() {
        assert_eq!(thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_published_set_holds_public_parts_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let jwks = KeyRing::open(dir.path(), NOW).expect("made").jwks(NOW);
        let mut members: Vec<_> = jwks["keys"][0].as_object().expect("a key").keys().cloned().collect();
        members.sort_unstable();

        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"]);
    }

    #[test]
    fn a_running_server_takes_up_a_rotation_within_ten_seconds_and_keeps_the_old_key_for_the_overlap() {
        // Planted fault: the old key dropped at once (tokens in use die), or kept for ever.
        let dir = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::open(dir.path(), NOW).expect("made");
        let old = ring.signing_kid(NOW).expect("a key");
        let new = rotate(dir.path(), NOW).expect("rotated");

        ring.reload_if_changed(NOW + 1);
        assert_eq!(kids(&ring, NOW + 1), std::slice::from_ref(&old), "not looked yet");
        ring.reload_if_changed(NOW + 10_000);
        assert_eq!(ring.generation(), 1);
        assert_eq!(kids(&ring, NOW + 10_000), [old.clone(), new.clone()]);

        let over = NOW + 1 + OVERLAP_MS;
        assert!(ring.checking(&old, over - 1).is_some());
        assert!(ring.checking(&old, over).is_none());
        assert_eq!(kids(&ring, over), [new]);
    }

    #[test]
    fn a_new_key_signs_when_everybody_may_know_it() {
        // Planted fault: a key that signs at once, while others still have the published keys of a minute ago.
        let dir = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::open(dir.path(), NOW).expect("made");
        let old = ring.signing_kid(NOW).expect("the only one");
        let rotated_at = NOW + ANNOUNCED_MS;
        let new = rotate(dir.path(), rotated_at).expect("rotated");
        let newest = rotate(dir.path(), rotated_at + 1).expect("rotated");
        ring.reload_if_changed(rotated_at + RELOAD_INTERVAL_MS);

        for (after, signs) in [(RELOAD_INTERVAL_MS, &old), (ANNOUNCED_MS - 1, &old), (ANNOUNCED_MS, &new), (ANNOUNCED_MS + 1, &newest)] {
            assert_eq!(ring.signing_kid(rotated_at + after).as_ref(), Some(signs), "{after} ms after the rotation");
        }
        assert_eq!(kids(&ring, rotated_at + RELOAD_INTERVAL_MS), [old.clone(), new, newest], "all are published");
        let last_token_ends = rotated_at + ANNOUNCED_MS + (LIFE_MAX_S + LEEWAY_S) * 1000;
        assert!(ring.checking(&old, last_token_ends).is_some());
    }

    #[test]
    fn a_key_that_is_not_known_yet_is_looked_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::open(dir.path(), NOW).expect("made");
        let new = rotate(dir.path(), NOW).expect("rotated");

        assert!(ring.checking(&new, NOW + UNKNOWN_INTERVAL_MS).is_some());
    }

    #[test]
    fn a_rotation_deletes_what_is_no_longer_believed_and_a_deleted_key_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::open(dir.path(), NOW).expect("made");
        let first = ring.signing_kid(NOW).expect("a key");
        rotate(dir.path(), NOW).expect("rotated");
        rotate(dir.path(), NOW + 2 * OVERLAP_MS).expect("rotated");

        assert_eq!(key_names(dir.path()).expect("listed").len(), 2);
        ring.reload_if_changed(NOW + 10_000);
        assert!(ring.checking(&first, NOW + 10_000).is_none());
    }

    #[test]
    fn a_clock_set_back_does_not_keep_a_new_key_from_signing() {
        let dir = tempfile::tempdir().expect("a directory");
        let a_year_back = NOW - 365 * 24 * 60 * 60 * 1000;
        let ring = KeyRing::open(dir.path(), NOW).expect("made");
        let new = rotate(dir.path(), a_year_back).expect("rotated");

        ring.reload_if_changed(a_year_back);
        assert_eq!(ring.signing_kid(a_year_back), Some(new));
    }

    #[test]
    fn a_broken_file_stops_the_start_but_not_a_running_server() {
        let dir = tempfile::tempdir().expect("a directory");
        let ring = KeyRing::open(dir.path(), NOW).expect("made");
        let kid = ring.signing_kid(NOW);
        fs::write(dir.path().join("ed25519-9999999999999999-x.pem"), "not a key").expect("written");

        ring.reload_if_changed(NOW + 10_000);
        assert_eq!(ring.signing_kid(NOW), kid);
        assert!(matches!(KeyRing::open(dir.path(), NOW), Err(KeysError::NotAKey { .. })));
    }

    #[test]
    fn a_key_made_by_openssl_is_understood() {
        // RFC 8410, section 10.3.
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        assert!(key_of_pem(pem, 0, None).is_some());
        assert!(key_of_pem(&pem.replace("MC4C", "MC4D"), 0, None).is_none());
    }
}
