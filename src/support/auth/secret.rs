//! The master secret: 32 random bytes in one file, made at first start. Each use has a key of its own, derived by label, so
//! that what is sealed for one purpose never opens for another. Nothing here is ever shown or logged.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::files;
use crate::support::data_folder::write_atomically;

const FILE_NAME: &str = "master.secret";
const SECRET_BYTES: usize = 32;

/// What a derived key is for. The labels are fixed for all time: tokens in the hands of clients hang on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    RefreshToken,
    ConsistencyToken,
    Cursor,
    AddressHash,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::RefreshToken => b"sosik refresh token 1",
            Self::ConsistencyToken => b"sosik consistency token 1",
            Self::Cursor => b"sosik cursor 1",
            Self::AddressHash => b"sosik address hash 1",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("could not read or write the secret file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the secret file {path} must hold exactly {SECRET_BYTES} bytes, has {found}")]
    Length { path: PathBuf, found: usize },
    #[error("the system has no randomness")]
    Randomness,
}

/// The master secret of a data folder.
pub struct MasterSecret(hmac::Key);

impl std::fmt::Debug for MasterSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterSecret(redacted)")
    }
}

impl MasterSecret {
    /// Reads the secret of the key directory, or makes it at first start.
    pub fn open(dir: &Path) -> Result<Self, SecretError> {
        let path = dir.join(FILE_NAME);
        files::ensure_secret_dir(dir).map_err(|source| SecretError::File { path: dir.to_owned(), source })?;
        match fs::read(&path) {
            Ok(bytes) if bytes.len() == SECRET_BYTES => Ok(Self::from_bytes(&bytes)),
            Ok(bytes) => Err(SecretError::Length { path, found: bytes.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; SECRET_BYTES];
                SystemRandom::new().fill(&mut bytes).map_err(|_error| SecretError::Randomness)?;
                write_atomically(&path, &bytes, files::SECRET_FILE_MODE).map_err(|source| SecretError::File { path, source })?;
                Ok(Self::from_bytes(&bytes))
            }
            Err(source) => Err(SecretError::File { path, source }),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The key for one purpose.
    pub fn key(&self, purpose: Purpose) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.0, purpose.label()).as_ref())
    }
}

/// Turns client addresses into numbers that tell nothing without the master secret.
pub struct AddressHasher(hmac::Key);

impl AddressHasher {
    pub fn new(secret: &MasterSecret) -> Self {
        Self(secret.key(Purpose::AddressHash))
    }

    /// Never 0, which means "unknown". An IPv6 client counts by its /64: the rest changes by itself, and costs an attacker nothing.
    pub fn hash(&self, address: IpAddr) -> u64 {
        let tag = match address.to_canonical() {
            IpAddr::V4(address) => hmac::sign(&self.0, &address.octets()),
            IpAddr::V6(address) => hmac::sign(&self.0, &address.octets()[..8]),
        };
        let folded = tag.as_ref().iter().take(8).fold(0_u64, |folded, byte| (folded << 8) | u64::from(*byte));
        folded.max(1)
    }
}

#[cfg(test)]
pub(crate) fn test_secret() -> MasterSecret {
    MasterSecret::from_bytes(b"a secret that only tests ever use")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn sign(secret: &MasterSecret, purpose: Purpose) -> Vec<u8> {
        hmac::sign(&secret.key(purpose), b"x").as_ref().to_vec()
    }

    #[test]
    fn the_secret_is_made_once_and_is_private() {
        // Planted fault: writing it with the default mode, or anew at each start.
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("keys");
        let first = MasterSecret::open(&keys).expect("made");
        let second = MasterSecret::open(&keys).expect("read");

        assert_eq!(sign(&first, Purpose::Cursor), sign(&second, Purpose::Cursor));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&keys), 0o700);
        assert_eq!(mode(&keys.join(FILE_NAME)), 0o600);
    }

    #[test]
    fn two_folders_have_different_secrets_and_two_purposes_different_keys() {
        // Planted fault: a constant secret in the binary (S14), or one key for all kinds (S4).
        let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (one, two) = (MasterSecret::open(one.path()).expect("made"), MasterSecret::open(two.path()).expect("made"));

        assert_ne!(sign(&one, Purpose::Cursor), sign(&two, Purpose::Cursor));
        assert_ne!(sign(&one, Purpose::Cursor), sign(&one, Purpose::ConsistencyToken));
        assert_ne!(sign(&one, Purpose::RefreshToken), sign(&one, Purpose::ConsistencyToken));
    }

    #[test]
    fn a_damaged_secret_stops_the_start_instead_of_being_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(FILE_NAME), b"short").expect("written");

        assert!(matches!(MasterSecret::open(dir.path()), Err(SecretError::Length { found: 5, .. })));
    }

    #[test]
    fn an_address_is_known_again_by_its_network_and_never_zero() {
        let hasher = AddressHasher::new(&test_secret());
        let hash = |text: &str| hasher.hash(text.parse().expect("an address"));

        assert_eq!(hash("192.0.2.1"), hash("::ffff:192.0.2.1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
        assert_eq!(hash("2001:db8::1"), hash("2001:db8::2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8:0:1::1"));
        assert_ne!(hash("192.0.2.1"), 0);
    }
}
