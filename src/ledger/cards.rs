//! How users stand beside what they wrote: a cache of profiles that only moves forward.

use std::sync::Arc;

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::tickets::{Ticket, Tickets};
use super::view::AuthorCard;
use crate::substrate::store::rows::AccountRow;
use crate::support::faults::planted;
use crate::vocabulary::ids::UserId;

/// What one card takes, about: names, a bio, the map's own.
const CARD_BYTES: u64 = 400;

/// Cards by user. A card is replaced only by one of a later revision, so that a slow reader never brings an old name back.
#[derive(Debug)]
pub struct Cards {
    cards: Cache<UserId, Arc<AuthorCard>>,
    tickets: Tickets,
}

impl Cards {
    pub fn new(bytes: u64) -> Self {
        Self { cards: Cache::new((bytes / CARD_BYTES).max(16)), tickets: Tickets::default() }
    }

    pub fn get(&self, user: UserId) -> Option<Arc<AuthorCard>> {
        self.cards.get(&user)
    }

    /// The profile may have changed, and how is not known here.
    pub fn forget(&self, user: UserId) {
        self.tickets.changed(user);
        self.cards.invalidate(&user);
    }

    /// Call it before the snapshot from which the card will come.
    pub fn ticket(&self, user: UserId) -> Ticket {
        self.tickets.take(user)
    }

    /// Keeps a loaded card, unless the user was forgotten, or his card was changed, since the ticket.
    pub fn keep(&self, ticket: Ticket, account: &AccountRow) -> Arc<AuthorCard> {
        let card = self.put(account);
        if !self.tickets.is_good(account.user, ticket) && !planted("cards::plain_put") {
            self.cards.invalidate(&account.user);
        }
        card
    }

    /// Takes a committed card if it is newer than the one that is there. It may be evicted at once: whoever loaded the one before it must not keep
    /// that in its place.
    pub fn offer(&self, account: &AccountRow) {
        self.tickets.changed(account.user);
        self.put(account);
    }

    fn put(&self, account: &AccountRow) -> Arc<AuthorCard> {
        let card = Arc::new(card_of(account));
        let fresh = Arc::clone(&card);
        self.cards.entry(account.user).and_compute_with(|known| match known {
            Some(known) if !planted("cards::plain_put") && known.value().revision >= fresh.revision => Op::Nop,
            _ => Op::Put(fresh),
        });
        card
    }
}

/// The card of an account.
pub fn card_of(account: &AccountRow) -> AuthorCard {
    AuthorCard {
        user: account.user,
        username: account.username.clone(),
        display_name: account.display_name.clone(),
        bio: account.bio.clone(),
        revision: account.revision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::substrate::store::rows::Role;
    use crate::vocabulary::ids::Position;
    use crate::vocabulary::text::{DisplayName, Username};

    fn account(name: &str, revision: u64) -> AccountRow {
        AccountRow {
            user: UserId::from_raw(7),
            username: Username::parse("bob").expect("a username"),
            display_name: DisplayName::parse(name).expect("a name"),
            bio: None,
            password_hash: None,
            role: Role::User,
            revision: Position(revision),
            failed_logins: 0,
            backed_off_until: 0,
        }
    }

    #[test]
    fn a_slow_reader_never_brings_an_old_name_back() {
        let _no_faults = fail::FailScenario::setup();
        let cards = Cards::new(1 << 20);

        cards.offer(&account("new", 9));
        cards.offer(&account("old", 8));

        assert_eq!(cards.get(UserId::from_raw(7)).expect("cached").display_name.as_str(), "new");
    }

    #[test]
    fn a_card_that_was_read_before_it_was_forgotten_is_not_kept_after_it() {
        let _no_faults = fail::FailScenario::setup();
        let cards = Cards::new(1 << 20);
        let user = UserId::from_raw(7);

        let ticket = cards.ticket(user);
        cards.forget(user);
        cards.keep(ticket, &account("old", 8));

        assert!(cards.get(user).is_none());
        cards.keep(cards.ticket(user), &account("new", 9));
        assert_eq!(cards.get(user).expect("cached").display_name.as_str(), "new");
    }

    #[test]
    fn a_card_that_was_read_before_a_change_is_not_kept_when_the_changed_one_was_evicted() {
        let _no_faults = fail::FailScenario::setup();
        let cards = Cards::new(1 << 20);
        let user = UserId::from_raw(7);

        let ticket = cards.ticket(user);
        cards.offer(&account("new", 9));
        cards.cards.invalidate(&user);
        cards.keep(ticket, &account("old", 8));

        assert!(cards.get(user).is_none());
    }

    /// The fault that the order of revisions is for.
    #[cfg(feature = "faults")]
    #[test]
    fn a_cache_that_takes_whatever_comes_is_found_out() {
        let _no_faults = fail::FailScenario::setup();
        fail::cfg("cards::plain_put", "return").expect("a fault");
        let cards = Cards::new(1 << 20);

        cards.offer(&account("new", 9));
        cards.offer(&account("old", 8));

        assert_eq!(cards.get(UserId::from_raw(7)).expect("cached").display_name.as_str(), "old");
    }
}
