//! A check of everything at rest: each counter against its rows, each row's place against the map, and what stands on two shards
//! against each other.
//!
//! The shards' databases go in, while nobody writes to them; findings come out one by one, with how many entries still wait in the
//! journal. What those are about is skipped where two shards are compared: one side may be ahead. Nothing is changed. In memory
//! are a few pages, and what the waiting entries are about, which the bound of the journal bounds.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::topology::Topology;
use crate::substrate::journal::look::{Held, JournalLook};
use crate::substrate::journal::{ReadError, Record};
use crate::substrate::store::rows::{LaneRow, Needs, RelationRow, Rows, SourceLane};
use crate::substrate::store::{CounterTable, PLACED, Snapshot, Store, StoreError};
use crate::vocabulary::command::{Command, Entry, EntryUnreadable};
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::{Owner, PlacementKey, ShardIndex};

/// What is read from the journal at once.
const READ_BYTES: usize = 4 << 20;

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error("could not read a shard")]
    Store(#[from] StoreError),
    #[error("could not read the journal")]
    Journal(#[from] ReadError),
    #[error(transparent)]
    Entry(#[from] EntryUnreadable),
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub shard: String,
    pub table: &'static str,
    pub key: String,
    pub found: String,
    pub expected: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, table, key, found, expected } = self;
        write!(formatter, "{shard}: {table} {key}: found {found}, expected {expected}")
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Entries of the journal that are not where they belong yet.
    pub waiting: u64,
    pub findings: u64,
}

/// What waiting entries are about, as far as it stands on two shards.
#[derive(Debug, Default)]
struct Waiting {
    count: u64,
    posts: HashSet<PostId>,
    /// The smaller id first.
    pairs: HashSet<(UserId, UserId)>,
}

/// How far one shard is.
struct ShardMarks {
    lanes: Vec<LaneRow>,
    /// How far it has been told by each lane, of whatever shard.
    told: HashMap<SourceLane, Position>,
}

/// The check of one data folder.
struct Check<'run> {
    topology: &'run Topology,
    snapshots: Vec<Snapshot>,
    waiting: Waiting,
    findings: u64,
    tell: &'run mut dyn FnMut(&Finding),
}

/// Compares everything; `stores` are in the order of the map's shards. Each finding is told when it is found.
pub async fn check(
    topology: &Topology,
    stores: &[Store],
    journal: &JournalLook,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Checked, FsckError> {
    let mut snapshots = Vec::with_capacity(stores.len());
    let mut marks = Vec::with_capacity(stores.len());
    for store in stores {
        let mut snapshot = store.snapshot().await?;
        marks.push(ShardMarks { lanes: snapshot.lanes().await?, told: snapshot.relay_cursors().await? });
        snapshots.push(snapshot);
    }
    let waiting = Waiting::read(topology, journal, &marks)?;
    let mut check = Check { topology, snapshots, waiting, findings: 0, tell };
    for shard in topology.shards() {
        check.counters(shard).await?;
        check.places(shard).await?;
        check.pairs(shard).await?;
        check.indexes(shard).await?;
        check.posts(shard).await?;
    }
    Ok(Checked { waiting: check.waiting.count, findings: check.findings })
}

impl Waiting {
    fn read(topology: &Topology, journal: &JournalLook, marks: &[ShardMarks]) -> Result<Self, FsckError> {
        let mut waiting = Self::default();
        for name in topology.members() {
            // What is still in the main segments comes again below.
            waiting.take_all(topology, marks, &journal.parked(name)?, Position::START.next(), Some(journal.first))?;
        }
        waiting.take_all(topology, marks, &journal.main, journal.first, None)?;
        Ok(waiting)
    }

    /// Takes all records from `from` on, and below `before`.
    fn take_all(
        &mut self,
        topology: &Topology,
        marks: &[ShardMarks],
        held: &Held,
        mut from: Position,
        before: Option<Position>,
    ) -> Result<(), FsckError> {
        loop {
            let records = held.read(from, READ_BYTES)?;
            let Some(last) = records.last() else { return Ok(()) };
            from = last.position.next();
            for record in records.iter().filter(|record| before.is_none_or(|before| record.position < before)) {
                self.take(topology, marks, record)?;
            }
        }
    }

    fn take(&mut self, topology: &Topology, marks: &[ShardMarks], record: &Record) -> Result<(), FsckError> {
        let entry = Entry::decode(record.position, &record.bytes)?;
        let home = topology.address(&entry.home());
        let mark = marks[usize::from(home.shard.0)].lanes.iter().find(|row| row.lane == home.lane);
        let (applied, relayed) = mark.map_or((Position::START, Position::START), |row| (row.applied, row.relayed));
        // The mark of what was relayed is written now and then: where it stands behind, the one who was told knows better.
        let is_told = || {
            owed_to(&entry).is_none_or(|owner| {
                let there = topology.place(owner.placement_key());
                let source = SourceLane { shard: home.shard, lane: home.lane };
                marks[usize::from(there.0)].told.get(&source).is_some_and(|told| record.position <= *told)
            })
        };
        if record.position <= relayed || (record.position <= applied && is_told()) {
            return Ok(());
        }
        self.count += 1;
        match entry.command {
            Command::CreatePost { post, .. } | Command::DeletePost { post, .. } => {
                self.posts.insert(post);
            }
            Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => {
                self.pairs.insert(ordered(entry.author, other));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Check<'_> {
    /// Each counter is the number of its rows: they are of one transaction, so nothing is skipped.
    async fn counters(&mut self, shard: ShardIndex) -> Result<(), FsckError> {
        for table in CounterTable::ALL {
            let mut after = None;
            loop {
                let page = self.snapshot(shard).audit_counters(table, after).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key);
                for counted in page.iter().filter(|counted| counted.stored != counted.rows) {
                    let named = |values: &[i64]| {
                        let pairs = table.columns().iter().zip(values);
                        pairs.map(|(column, value)| format!("{column} {value}")).collect::<Vec<_>>().join(" ")
                    };
                    self.found(shard, table.table(), counted.key, named(&counted.stored), named(&counted.rows));
                }
            }
        }
        Ok(())
    }

    /// Each row is on the shard that the map names.
    async fn places(&mut self, shard: ShardIndex) -> Result<(), FsckError> {
        for table in PLACED {
            let mut after = None;
            loop {
                let page = self.snapshot(shard).audit_placed(table, after).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key);
                for rows in page {
                    let key = format!("{} {}", table.key, rows.key);
                    match rows.placed_by {
                        Some(id) => self.place(shard, table.table, key, PlacementKey::Id(id)),
                        None => self.found(shard, table.table, key, "rows without it".to_owned(), "a comment".to_owned()),
                    }
                }
            }
        }
        let mut after = None;
        loop {
            let page = self.snapshot(shard).audit_names(after.as_ref()).await?;
            for name in &page {
                self.place(shard, "names", format!("{:?}", name.as_str()), Owner::Name(name.clone()).placement_key());
            }
            let Some(last) = page.into_iter().next_back() else { break };
            after = Some(last);
        }
        Ok(())
    }

    fn place(&mut self, shard: ShardIndex, table: &'static str, key: String, placement: PlacementKey) {
        let expected = self.topology.place(placement);
        if expected != shard {
            let (here, there) = (self.name(shard), self.name(expected));
            self.found(shard, table, key, here, there);
        }
    }

    /// Each side of a pair is the mirror of the other.
    async fn pairs(&mut self, shard: ShardIndex) -> Result<(), FsckError> {
        let mut after = None;
        loop {
            let page = self.snapshot(shard).audit_relations(after).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let settled = |(owner, other): (UserId, UserId)| !self.waiting.pairs.contains(&ordered(owner, other));
            let page: Vec<((UserId, UserId), RelationRow)> = page.into_iter().filter(|(key, _)| settled(*key)).collect();
            let mirrored = page.iter().map(|((owner, other), _)| (*other, *owner));
            let rows = self.load_from(mirrored, |key| Owner::User(key.0), |needs, key| needs.relations.push(key)).await?;
            for ((owner, other), row) in page {
                let mirror = rows.relations.get(&(other, owner));
                // From the greater id's side only what is missing: a difference is told once, from the other.
                if owner > other && mirror.is_some() {
                    continue;
                }
                let state = mirror.map(|row| row.state).unwrap_or_default();
                if state != row.state.flipped() {
                    let at = self.topology.place(Owner::User(other).placement_key());
                    self.found(at, "relations", format!("{other} {owner}"), format!("{state:?}"), format!("{:?}", row.state.flipped()));
                }
            }
        }
        Ok(())
    }

    /// Each row of an author's index has its post.
    async fn indexes(&mut self, shard: ShardIndex) -> Result<(), FsckError> {
        let mut after = None;
        loop {
            let page = self.snapshot(shard).audit_author_posts(after).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let page: Vec<_> = page.into_iter().filter(|((_, post), _)| !self.waiting.posts.contains(post)).collect();
            let posts = page.iter().map(|((_, post), _)| *post);
            let rows = self.load_from(posts, |post| Owner::Post(*post), |needs, post| needs.posts.push(post)).await?;
            for ((author, post), row) in page {
                let expected = rows.posts.get(&post).filter(|row| row.author == author).map(|row| standing(row.deleted));
                let expected = expected.unwrap_or("no such post");
                if expected != standing(row.deleted) {
                    self.found(shard, "author_posts", format!("{author} {post}"), standing(row.deleted).to_owned(), expected.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Each post is in its author's index.
    async fn posts(&mut self, shard: ShardIndex) -> Result<(), FsckError> {
        let mut after = None;
        loop {
            let page = self.snapshot(shard).audit_posts(after).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let page: Vec<_> = page.into_iter().filter(|(post, _)| !self.waiting.posts.contains(post)).collect();
            let keys = page.iter().map(|(post, author)| (*author, *post));
            let rows = self.load_from(keys, |key| Owner::User(key.0), |needs, key| needs.author_posts.push(key)).await?;
            for (post, author) in page {
                if !rows.author_posts.contains_key(&(author, post)) {
                    let at = self.topology.place(Owner::User(author).placement_key());
                    self.found(at, "author_posts", format!("{author} {post}"), "no row".to_owned(), "a row of the post".to_owned());
                }
            }
        }
        Ok(())
    }

    /// The rows of some keys, each from the shard that the map names.
    async fn load_from<K>(
        &mut self,
        keys: impl Iterator<Item = K>,
        owner: impl Fn(&K) -> Owner,
        need: impl Fn(&mut Needs, K),
    ) -> Result<Rows, StoreError> {
        let mut needs: HashMap<ShardIndex, Needs> = HashMap::new();
        for key in keys {
            let shard = self.topology.place(owner(&key).placement_key());
            need(needs.entry(shard).or_default(), key);
        }
        let mut rows = Rows::default();
        for (shard, needs) in needs {
            let found = self.snapshot(shard).rows_load(&needs).await?;
            rows.posts.extend(found.posts);
            rows.relations.extend(found.relations);
            rows.author_posts.extend(found.author_posts);
        }
        Ok(rows)
    }

    fn found(&mut self, shard: ShardIndex, table: &'static str, key: impl fmt::Display, found: String, expected: String) {
        self.findings += 1;
        let finding = Finding { shard: self.name(shard), table, key: key.to_string(), found, expected };
        (self.tell)(&finding);
    }

    fn snapshot(&mut self, shard: ShardIndex) -> &mut Snapshot {
        &mut self.snapshots[usize::from(shard.0)]
    }

    fn name(&self, shard: ShardIndex) -> String {
        self.topology.members()[usize::from(shard.0)].clone()
    }
}

/// Whose rows besides its home's an entry brings about.
fn owed_to(entry: &Entry) -> Option<Owner> {
    match entry.command {
        Command::CreatePost { .. } | Command::DeletePost { .. } => Some(Owner::User(entry.author)),
        Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => Some(Owner::User(entry.author.max(other))),
        Command::Register { .. } | Command::AdoptSubject { .. } => Some(Owner::Account(entry.author)),
        _ => entry.key.is_some().then_some(Owner::User(entry.author)),
    }
}

fn ordered(one: UserId, other: UserId) -> (UserId, UserId) {
    (one.min(other), one.max(other))
}

fn standing(deleted: bool) -> &'static str {
    if deleted { "deleted" } else { "standing" }
}
