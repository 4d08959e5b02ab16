//! Which shard of which journal a database is. What it says of itself goes in, beside what is wanted; an error comes out where they differ.
//!
//! URLs and files can be mixed up, and a server in another's place would answer every question. A database that has joined nothing yet says
//! nothing, and may become any shard.

use std::fmt;

use uuid::Uuid;

use crate::support::faults::planted;

use super::error::StoreError;

/// Whose database is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub shard_name: String,
    pub journal: OfJournal,
}

/// Which journal a database may have joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfJournal {
    This(Uuid),
    /// There is no journal yet that it could have joined.
    New,
    /// Whichever: another one takes its place.
    Any,
}

/// What a database says that it joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub journal: String,
    pub shard_name: String,
}

impl Joined {
    /// From the columns of its row.
    pub(super) fn of(journal: Option<String>, shard_name: Option<String>) -> Option<Self> {
        journal.map(|journal| Self { journal, shard_name: shard_name.unwrap_or_default() })
    }
}

impl Wanted {
    /// Refuses a database that has joined as another shard, or another journal.
    pub fn check(&self, found: Option<&Joined>) -> Result<(), StoreError> {
        let Some(found) = found else { return Ok(()) };
        let is_of_journal = match self.journal {
            OfJournal::This(journal) => journal.to_string() == found.journal,
            OfJournal::New => false,
            OfJournal::Any => true,
        };
        if (is_of_journal && self.shard_name == found.shard_name) || planted("store::skip_membership") {
            return Ok(());
        }
        Err(StoreError::OtherShard { found: found.to_string(), wanted: self.to_string() })
    }

    /// As [`Wanted::check`], of a copy, which says nothing only as long as it is empty.
    pub(super) fn check_copy(&self, found: Option<&Joined>) -> Result<(), StoreError> {
        match found {
            Some(_) => self.check(found),
            None => Err(StoreError::OtherShard { found: "nothing yet".to_owned(), wanted: self.to_string() }),
        }
    }
}

impl fmt::Display for Joined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the shard {} and belongs to the journal {}", self.shard_name, self.journal)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the shard {}", self.shard_name)?;
        match self.journal {
            OfJournal::This(journal) => write!(formatter, " of the journal {journal}"),
            OfJournal::New => write!(formatter, " of a new journal: start with the data folder that belongs to the database"),
            OfJournal::Any => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_told_by_its_name_and_its_journal_once_it_has_joined() {
        let (journal, foreign) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let joined = |journal: Uuid, name: &str| Joined::of(Some(journal.to_string()), Some(name.to_owned()));
        let of = |journal: OfJournal| Wanted { shard_name: "s1".to_owned(), journal };
        let (this, new, any) = (of(OfJournal::This(journal)), of(OfJournal::New), of(OfJournal::Any));

        for (found, of_this, of_new, of_any, of_copy) in [
            (None, true, true, true, false),
            (joined(journal, "s1"), true, false, true, true),
            (joined(journal, "s2"), false, false, false, false),
            (joined(foreign, "s1"), false, false, true, false),
        ] {
            let found = found.as_ref();
            let said = [&this, &new, &any].map(|wanted| wanted.check(found).is_ok());
            assert_eq!((said, this.check_copy(found).is_ok()), ([of_this, of_new, of_any], of_copy), "{found:?}");
        }
    }
}
