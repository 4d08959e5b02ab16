//! Idempotency keys that are in use: in flight, or accepted and not yet kept in the author's shard.
//!
//! A key goes in; whether it is free, in flight or was answered comes out. Bounded by admission: each key belongs to an entry that
//! waits, or to a request in hand. Rebuilt from the journal at start; released keys are in the database for 24 hours.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex};

use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::vocabulary::command::{Entry, KeyUse};
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::UserId;

#[derive(Debug, Clone)]
enum State {
    InFlight { digest: [u8; 16] },
    Accepted(Arc<KeptWrite>),
}

/// What a key is.
#[derive(Debug)]
pub enum KeyState {
    /// Nobody has it here: it is reserved now, until the reservation is dropped or accepted.
    Reserved(KeyReservation),
    /// A request with this key and the same body is in flight.
    InFlight,
    /// It was answered.
    Answered(Arc<KeptWrite>),
    /// It was used with another body.
    Reused,
}

/// The keys. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KeptKeys(Arc<Mutex<HashMap<(UserId, String), State>>>);

/// A key in hand; free again when dropped.
#[derive(Debug)]
pub struct KeyReservation {
    keys: KeptKeys,
    author: UserId,
    key: Option<String>,
}

impl KeptKeys {
    /// Looks a key up, and reserves it if it is free here. Then look in the database, with the reservation in hand.
    pub fn reserve(&self, author: UserId, key: &KeyUse) -> KeyState {
        let reservation = || KeyReservation { keys: self.clone(), author, key: Some(key.key.clone()) };
        fail::fail_point!("intake::forget_keys", |_| KeyState::Reserved(KeyReservation { keys: self.clone(), author, key: None }));
        match lock(&self.0).entry((author, key.key.clone())) {
            Slot::Vacant(slot) => {
                slot.insert(State::InFlight { digest: key.digest });
                KeyState::Reserved(reservation())
            }
            Slot::Occupied(slot) => match slot.get() {
                State::InFlight { digest } if *digest == key.digest => KeyState::InFlight,
                State::Accepted(kept) if has_digest(kept, key) => KeyState::Answered(Arc::clone(kept)),
                _ => KeyState::Reused,
            },
        }
    }

    /// An entry that the journal held at start.
    pub fn restore(&self, entry: &Entry) {
        if planted("intake::forget_keys_at_start") {
            return;
        }
        if let Some(key) = &entry.key {
            lock(&self.0).insert((entry.author, key.key.clone()), State::Accepted(Arc::new(kept_of(entry))));
        }
    }

    /// The key is in the database now.
    pub fn stored(&self, author: UserId, key: &str) {
        lock(&self.0).remove(&(author, key.to_owned()));
    }
}

impl KeyReservation {
    /// The write is durable: its key is answered from now on.
    pub fn accepted(mut self, entry: &Entry) {
        if let Some(key) = self.key.take() {
            lock(&self.keys.0).insert((self.author, key), State::Accepted(Arc::new(kept_of(entry))));
        }
    }
}

impl Drop for KeyReservation {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.keys.0).remove(&(self.author, key));
        }
    }
}

/// Whether a kept write came with this body.
pub fn has_digest(kept: &KeptWrite, key: &KeyUse) -> bool {
    kept.key.as_ref().is_some_and(|known| known.digest == key.digest)
}

fn kept_of(entry: &Entry) -> KeptWrite {
    KeptWrite {
        write: entry.write,
        kind: entry.command.kind(),
        resource: entry.command.resource(entry.author),
        key: entry.key.clone(),
        rejection: None,
        accepted_at: entry.accepted_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::command::Command;
    use crate::vocabulary::ids::{Position, PostId, WriteId};

    fn key(digest: u8) -> KeyUse {
        KeyUse { key: "k".to_owned(), digest: [digest; 16] }
    }

    fn entry() -> Entry {
        let command = Command::SetPostLike { post: PostId::from_raw(3), liked: true };
        Entry { position: Position(1), write: WriteId::from_raw(9), author: AUTHOR, accepted_at: 0, key: Some(key(1)), command }
    }

    const AUTHOR: UserId = UserId::from_raw(1);

    #[test]
    fn a_key_is_free_in_flight_or_answered() {
        let keys = KeptKeys::default();
        let KeyState::Reserved(reservation) = keys.reserve(AUTHOR, &key(1)) else { panic!("a free key") };

        assert!(matches!(keys.reserve(AUTHOR, &key(1)), KeyState::InFlight));
        assert!(matches!(keys.reserve(AUTHOR, &key(2)), KeyState::Reused));
        assert!(matches!(keys.reserve(UserId::from_raw(2), &key(2)), KeyState::Reserved(_)));

        reservation.accepted(&entry());
        assert!(matches!(keys.reserve(AUTHOR, &key(1)), KeyState::Answered(kept) if kept.write == WriteId::from_raw(9)));
        assert!(matches!(keys.reserve(AUTHOR, &key(2)), KeyState::Reused));
    }

    #[test]
    fn a_refused_request_leaves_its_key_free() {
        let keys = KeptKeys::default();
        drop(keys.reserve(AUTHOR, &key(1)));

        assert!(matches!(keys.reserve(AUTHOR, &key(2)), KeyState::Reserved(_)));
    }
}
