//! The pending index: which accepted writes of an author are not in the databases yet, by what they are about.
//!
//! It is the authority for self-visibility and never evicts: its size is bounded by admission, and it is rebuilt from the
//! journal at start. The decoded entries that reads lay over are in a moka cache; a miss reads the journal again.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use moka::sync::Cache;

use crate::substrate::journal::{Journal, Locator, ReadError, Record};
use crate::support::fail_stop;
use crate::support::lock::lock;
use crate::support::room::give_back;
use crate::vocabulary::command::{Command, Entry, EntryUnreadable};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId, WriteId};
use crate::vocabulary::owner::{LaneAddress, mix};
use crate::vocabulary::text::CommentBody;

/// Locks of the index: enough that 128 connections hardly ever meet at one.
const STRIPES: usize = 64;

/// What a write of an author is about, as reads ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A post with all below it.
    Post(PostId),
    /// The index of the author's own posts.
    Authored,
    /// The author and another user.
    Pair(UserId),
    /// The author's lists of follows.
    Pairs,
    /// The author's profile.
    Profile,
}

/// The topics of a command.
pub fn topics_of(command: &Command) -> impl Iterator<Item = Topic> + use<> {
    let (first, second) = match command {
        Command::CreatePost { post, .. } | Command::DeletePost { post, .. } => (Some(Topic::Post(*post)), Some(Topic::Authored)),
        Command::EditPost { post, .. }
        | Command::SetPostLike { post, .. }
        | Command::SetSubscription { post, .. }
        | Command::CreateComment { post, .. }
        | Command::EditComment { post, .. }
        | Command::DeleteComment { post, .. }
        | Command::SetCommentLike { post, .. } => (Some(Topic::Post(*post)), None),
        Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => (Some(Topic::Pair(*other)), Some(Topic::Pairs)),
        Command::SetMute { other, .. } => (Some(Topic::Pair(*other)), None),
        Command::EditProfile { .. } | Command::EditProfileIf { .. } => (Some(Topic::Profile), None),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

/// Where a pending entry is decided, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    position: Position,
    locator: Locator,
    home: LaneAddress,
    gist: Gist,
}

/// As much of an entry as needs neither cache nor journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gist {
    /// A like of a post: that is all there is to say.
    Liked(bool),
    /// A comment that answers no other: all that its post shows of it is one comment more.
    Commented,
    Other,
}

impl Gist {
    fn of(command: &Command) -> Self {
        match command {
            Command::SetPostLike { liked, .. } => Self::Liked(*liked),
            Command::CreateComment { parent: None, .. } => Self::Commented,
            _ => Self::Other,
        }
    }
}

/// What a reader will show of the things that pending writes are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// All of it.
    Everything,
    /// A post, and none of its comments: new ones may come without their text, and with an id of no meaning.
    PostAlone,
}

/// Most authors have one pending write about one thing.
#[derive(Debug)]
enum Places {
    One(Place),
    /// In the order of positions: they go in that order too, nearly.
    Many(VecDeque<Place>),
}

impl Places {
    fn add(&mut self, place: Place) {
        match self {
            Self::One(first) => {
                let mut places = VecDeque::from([*first]);
                insert(&mut places, place);
                *self = Self::Many(places);
            }
            Self::Many(places) => insert(places, place),
        }
    }

    /// Takes the entry out; says whether none is left.
    fn remove(&mut self, position: Position) -> bool {
        match self {
            Self::One(place) => place.position == position,
            Self::Many(places) => {
                if let Ok(at) = places.binary_search_by_key(&position, |place| place.position) {
                    places.remove(at);
                }
                places.is_empty()
            }
        }
    }

    fn has(&self, position: Position) -> bool {
        match self {
            Self::One(place) => place.position == position,
            Self::Many(places) => places.binary_search_by_key(&position, |place| place.position).is_ok(),
        }
    }

    fn to_vec(&self) -> Vec<Place> {
        match self {
            Self::One(place) => vec![*place],
            Self::Many(places) => places.iter().copied().collect(),
        }
    }
}

/// At the end, but for what was parked and is filed again at a start.
fn insert(places: &mut VecDeque<Place>, place: Place) {
    places.insert(places.partition_point(|known| known.position < place.position), place);
}

/// An own write that may have to be laid over: it has to be if `home`'s lane was not past it in the snapshot.
#[derive(Debug, Clone)]
pub struct PendingWrite {
    pub entry: Arc<Entry>,
    pub home: LaneAddress,
}

/// A pending entry could not be read again.
#[derive(Debug, thiserror::Error)]
pub enum PendingError {
    #[error("could not read a pending write from the journal")]
    Read(#[from] ReadError),
    #[error(transparent)]
    Decode(#[from] EntryUnreadable),
    #[error("the reading was cut short")]
    Cancelled,
}

type Stripe = Mutex<HashMap<(UserId, Topic), Places>>;

/// The index. Shared by all threads.
pub struct Pending {
    stripes: Vec<Stripe>,
    decoded: Cache<Position, Arc<Entry>>,
    journal: Arc<dyn Journal>,
    /// The shards' names, in order: what is parked for one is found by its name.
    names: Vec<Arc<str>>,
}

impl Pending {
    /// `cache_bytes` bounds the decoded entries, not the index.
    pub fn new(journal: Arc<dyn Journal>, names: Vec<Arc<str>>, cache_bytes: u64) -> Self {
        let decoded = Cache::builder().max_capacity(cache_bytes).weigher(|_, entry: &Arc<Entry>| weight(entry)).build();
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), decoded, journal, names }
    }

    /// Files an entry that is durable now.
    pub fn add(&self, entry: &Arc<Entry>, home: LaneAddress, locator: Locator) {
        let gist = Gist::of(&entry.command);
        let place = Place { position: entry.position, locator, home, gist };
        let mut filed = false;
        for topic in topics_of(&entry.command) {
            let key = (entry.author, topic);
            match lock(self.stripe(key)).entry(key) {
                Slot::Occupied(mut slot) => slot.get_mut().add(place),
                Slot::Vacant(slot) => {
                    slot.insert(Places::One(place));
                }
            }
            filed = true;
        }
        if filed && !matches!(gist, Gist::Liked(_)) {
            self.decoded.insert(entry.position, Arc::clone(entry));
        }
    }

    /// Drops an entry whose rows are all readable, or which was rejected.
    pub fn remove(&self, entry: &Entry) {
        for topic in topics_of(&entry.command) {
            let key = (entry.author, topic);
            let mut stripe = lock(self.stripe(key));
            if let Slot::Occupied(mut slot) = stripe.entry(key)
                && slot.get_mut().remove(entry.position)
            {
                slot.remove();
                give_back(&mut stripe);
            }
        }
        if !matches!(Gist::of(&entry.command), Gist::Liked(_)) {
            self.decoded.invalidate(&entry.position);
        }
    }

    /// The author's pending writes about a topic, in the order of their positions. Call it *before* taking the snapshot that
    /// it will be laid over: a write that commits in between is then in both, and the snapshot's lane says so.
    pub async fn of(&self, author: UserId, topic: Topic, shows: Shows) -> Result<Vec<PendingWrite>, PendingError> {
        fail::fail_point!("pending::skip_overlay", |_| Ok(Vec::new()));
        let key = (author, topic);
        let places: Vec<Place> = match lock(self.stripe(key)).get(&key) {
            None => return Ok(Vec::new()),
            Some(places) => places.to_vec(),
        };
        // What else is pending may be about the new comments, and finds them by their ids.
        let nameless_will_do = shows == Shows::PostAlone && places.iter().all(|place| place.gist != Gist::Other);
        let mut writes = Vec::with_capacity(places.len());
        for place in places {
            let again = |command| Arc::new(entry_again(author, command, place.position));
            let entry = match (topic, place.gist) {
                (Topic::Post(post), Gist::Liked(liked)) => again(Command::SetPostLike { post, liked }),
                (Topic::Post(post), Gist::Commented) if nameless_will_do => {
                    let (comment, body) = (nameless(place.position), CommentBody::from_row(String::new()));
                    again(Command::CreateComment { post, comment, parent: None, body })
                }
                _ => match self.entry(place).await {
                    // It settled between the look and the reading, and everybody sees it.
                    Err(PendingError::Read(ReadError::Trimmed(_))) if !self.is_filed(key, place.position) => continue,
                    entry => entry?,
                },
            };
            writes.push(PendingWrite { entry, home: place.home });
        }
        // Filed in the order of positions but for a race of two journals' callbacks, which one writer rules out.
        writes.sort_by_key(|write| write.entry.position);
        Ok(writes)
    }

    fn is_filed(&self, key: (UserId, Topic), position: Position) -> bool {
        let stripe = lock(self.stripe(key));
        stripe.get(&key).is_some_and(|places| places.has(position))
    }

    async fn entry(&self, place: Place) -> Result<Arc<Entry>, PendingError> {
        if let Some(entry) = self.decoded.get(&place.position) {
            return Ok(entry);
        }
        #[cfg(feature = "faults")]
        crate::support::faults::gate("pending::before_reading").await;
        let journal = Arc::clone(&self.journal);
        let shard = self.names.get(usize::from(place.home.shard.0)).cloned().unwrap_or_default();
        let read = move || read_again(journal.as_ref(), &shard, place.position, place.locator);
        let record = tokio::task::spawn_blocking(read).await.map_err(|_cancelled| PendingError::Cancelled)??;
        let entry = Arc::new(Entry::decode(record.position, &record.bytes)?);
        self.decoded.insert(place.position, Arc::clone(&entry));
        Ok(entry)
    }

    fn stripe(&self, (author, topic): (UserId, Topic)) -> &Stripe {
        let about = match topic {
            Topic::Post(post) => post.raw(),
            Topic::Pair(other) => other.raw(),
            Topic::Authored => 1,
            Topic::Pairs => 2,
            Topic::Profile => 3,
        };
        &self.stripes[(mix(author.raw() ^ about.rotate_left(32)) % STRIPES as u64) as usize]
    }
}

/// Reads the record at a position from the main segments, or from those of its stopped shard. Where a parked record lay, or lies, says
/// nothing there: the place may be another record's, or none.
pub fn read_again(journal: &dyn Journal, shard: &str, position: Position, locator: Locator) -> Result<Record, ReadError> {
    let missing = match journal.read_at(locator) {
        Ok(record) if record.position == position => return Ok(record),
        Ok(_) => ReadError::Trimmed(position),
        Err(error) if error.is_damage() && position >= journal.first() => {
            fail_stop(&error, "the journal is damaged; stopping, so that nobody is shown what was not written")
        }
        Err(error) => error,
    };
    let parked = journal.read_parked(shard, Position(position.0.saturating_sub(1)), 1)?;
    parked.into_iter().find(|record| record.position == position).ok_or(missing)
}

/// An entry as far as the overlay is concerned: its write id and time show nowhere.
fn entry_again(author: UserId, command: Command, position: Position) -> Entry {
    Entry { position, write: WriteId::from_raw(0), author, accepted_at: 0, key: None, command }
}

/// An id that no comment will have before the ids run out, another one for each position.
fn nameless(position: Position) -> CommentId {
    CommentId::from_raw((i64::MAX as u64).saturating_sub(position.0))
}

/// About what a decoded entry takes.
fn weight(entry: &Entry) -> u32 {
    let body = match &entry.command {
        Command::CreatePost { body, .. } | Command::EditPost { body, .. } => body.as_str().len(),
        Command::CreateComment { body, .. } | Command::EditComment { body, .. } => body.as_str().len(),
        _ => 0,
    };
    (size_of::<Entry>() + 64 + body) as u32
}
