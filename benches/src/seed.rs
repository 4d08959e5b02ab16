//! Crowds that would take hours to sign up over HTTP: rows of accounts, follows and posts, written into the shards' files before the server
//! starts.
//!
//! A data folder that a server has made and left goes in. Out come the rows that registrations, follows and posts would have left, on both
//! sides of each follow and with their counters: `sosik fsck` finds nothing to say about them, and [`Seed::finish`] has it look. People have
//! numbers; nobody has a password.

use std::collections::BTreeMap;
use std::ops::Range;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ActiveModelTrait, ActiveValue, ConnectOptions, Database, DatabaseConnection, EntityTrait, TransactionTrait};
use sosik_entities::{accounts, author_posts, names, post_counters, posts, relations, user_counters};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::placement::Placement;
use crate::server::House;

/// Rows of one statement.
const STATEMENT_ROWS: usize = 500;
/// Ids begin a second after the first that there can be: long before those of a server of today.
const FIRST_MS: u64 = 1_000;
/// The sequence and the worker of an id, below its time.
const TIME_SHIFT: u32 = 22;
/// Posts have another millisecond than people, far away.
const POSTS_FROM_MS: u64 = 1_000_000_000;
/// The position of what is seeded: below that of every write of the server.
const POSITION: i64 = 1;
/// A follow that asks to hear of every post.
const NOTIFY_ALWAYS: i64 = 2;

/// The name of a person.
pub(crate) fn name_of(person: u64) -> String {
    format!("crowd_{person}")
}

/// The id of a person.
pub(crate) fn id_of(person: u64) -> u64 {
    (FIRST_MS + person) << TIME_SHIFT
}

/// The id of a post.
fn post_id(post: u64) -> u64 {
    (POSTS_FROM_MS + post) << TIME_SHIFT
}

/// The shards' files, open.
pub(crate) struct Seed<'house> {
    house: &'house House,
    placement: Placement,
    databases: Vec<DatabaseConnection>,
}

impl<'house> Seed<'house> {
    pub(crate) async fn open(house: &'house House) -> Outcome<Self> {
        let placement = Placement::read(&house.data())?;
        let mut databases = Vec::new();
        for file in &placement.files {
            let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rw", file.display()));
            options.max_connections(1).min_connections(1).sqlx_logging(false);
            // Nothing is lost that cannot be made again, so nothing is synced.
            let fast = |options: sea_orm::sqlx::sqlite::SqliteConnectOptions| {
                options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Off).pragma("cache_size", "-65536")
            };
            options.map_sqlx_sqlite_opts(fast);
            databases.push(Database::connect(options).await?);
        }
        Ok(Self { house, placement, databases })
    }

    /// Registers people.
    pub(crate) async fn people(&self, numbers: Range<u64>) -> Outcome<()> {
        let placement = self.placement.clone();
        let account = move |person| {
            let row = accounts::ActiveModel {
                user: ActiveValue::Set(id_of(person).cast_signed()),
                username: ActiveValue::Set(name_of(person)),
                display_name: ActiveValue::Set(name_of(person)),
                bio: ActiveValue::Set(None),
                password_hash: ActiveValue::Set(None),
                role: ActiveValue::Set(0),
                revision: ActiveValue::Set(POSITION),
                failed_logins: ActiveValue::Set(0),
                backed_off_until: ActiveValue::Set(0),
            };
            (placement.of_id(id_of(person)), row)
        };
        self.insert(numbers.clone().map(account), None).await?;
        let placement = self.placement.clone();
        let name = move |person| {
            let key = format!("name:{}", name_of(person));
            let shard = placement.of_name(&key);
            let user = ActiveValue::Set(id_of(person).cast_signed());
            (shard, names::ActiveModel { name: ActiveValue::Set(key), user, position: ActiveValue::Set(POSITION) })
        };
        self.insert(numbers.map(name), None).await
    }

    /// Follows, each of a follower and whom he follows, with the bell.
    pub(crate) async fn follows(&self, pairs: impl Iterator<Item = (u64, u64)> + Clone + Send + 'static) -> Outcome<()> {
        let mut counts: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        for (follower, followee) in pairs.clone() {
            counts.entry(follower).or_default().1 += 1;
            counts.entry(followee).or_default().0 += 1;
        }
        let placement = self.placement.clone();
        let sides = pairs.enumerate().flat_map(move |(number, (follower, followee))| {
            // Lists are in the order of this number, so it is another for each.
            let since = number as i64 + 1;
            [side(&placement, (follower, followee), Some(since), None), side(&placement, (followee, follower), None, Some(since))]
        });
        self.insert(sides, None).await?;
        self.count(counts.into_iter().map(|(person, (followers, following))| (person, [0, followers, following])).collect()).await
    }

    /// Publishes so many posts of each author, by turns.
    pub(crate) async fn posts(&self, authors: Range<u64>, each: u64) -> Outcome<()> {
        let count = authors.end - authors.start;
        let first = authors.start;
        let all = (0..count * each).map(move |post| (post_id(post), first + post % count));
        let placement = self.placement.clone();
        let bodies = all.clone().map(move |(post, author)| {
            let row = posts::ActiveModel {
                post: ActiveValue::Set(post.cast_signed()),
                author: ActiveValue::Set(id_of(author).cast_signed()),
                body: ActiveValue::Set(format!("Tidings of {author}: the ferry is late, the sea is calm, and the kettle is on.")),
                revision: ActiveValue::Set(POSITION),
                edited_at: ActiveValue::Set(None),
                deleted: ActiveValue::Set(false),
            };
            (placement.of_id(post), row)
        });
        self.insert(bodies, None).await?;
        let placement = self.placement.clone();
        let counters = all.clone().map(move |(post, _)| {
            let zero = || ActiveValue::Set(0);
            let position = ActiveValue::Set(POSITION);
            let row = post_counters::ActiveModel { post: ActiveValue::Set(post.cast_signed()), likes: zero(), comments: zero(), position };
            (placement.of_id(post), row)
        });
        self.insert(counters, None).await?;
        let placement = self.placement.clone();
        let index = all.map(move |(post, author)| {
            let row = author_posts::ActiveModel {
                author: ActiveValue::Set(id_of(author).cast_signed()),
                post: ActiveValue::Set(post.cast_signed()),
                deleted: ActiveValue::Set(false),
                position: ActiveValue::Set(POSITION),
            };
            (placement.of_id(id_of(author)), row)
        });
        self.insert(index, None).await?;
        self.count(authors.map(|author| (author, [each as i64, 0, 0])).collect()).await
    }

    /// Closes the files, and has everything checked.
    pub(crate) async fn finish(self) -> Outcome<()> {
        for database in self.databases {
            database.close().await?;
        }
        self.house.run(&["fsck"]).map(drop)
    }

    /// Adds to people's counters: posts, followers, following.
    async fn count(&self, counts: Vec<(u64, [i64; 3])>) -> Outcome<()> {
        let placement = self.placement.clone();
        let rows = counts.into_iter().map(move |(person, [posts, followers, following])| {
            let row = user_counters::ActiveModel {
                user: ActiveValue::Set(id_of(person).cast_signed()),
                posts: ActiveValue::Set(posts),
                followers: ActiveValue::Set(followers),
                following: ActiveValue::Set(following),
            };
            (placement.of_id(id_of(person)), row)
        });
        let sum = |column: user_counters::Column| {
            (column, Expr::col((user_counters::Entity, column)).add(Expr::cust(format!("excluded.{}", sea_orm::Iden::unquoted(&column)))))
        };
        use user_counters::Column::{Followers, Following, Posts, User};
        let added = OnConflict::column(User).values([sum(Posts), sum(Followers), sum(Following)]).to_owned();
        self.insert(rows, Some(added)).await
    }

    /// Writes rows, each into its shard's file, all files at once.
    async fn insert<A>(&self, rows: impl Iterator<Item = (usize, A)> + Clone + Send + 'static, conflict: Option<OnConflict>) -> Outcome<()>
    where
        A: ActiveModelTrait + Send + Sync + 'static,
    {
        let mut writers: JoinSet<Outcome<()>> = JoinSet::new();
        for (shard, database) in self.databases.iter().cloned().enumerate() {
            let mut own = rows.clone().filter(move |(of, _)| *of == shard).map(|(_, row)| row);
            let conflict = conflict.clone();
            writers.spawn(async move {
                let transaction = database.begin().await?;
                loop {
                    let batch: Vec<A> = own.by_ref().take(STATEMENT_ROWS).collect();
                    if batch.is_empty() {
                        break;
                    }
                    let mut statement = <A::Entity as EntityTrait>::insert_many(batch);
                    if let Some(conflict) = &conflict {
                        statement = statement.on_conflict(conflict.clone());
                    }
                    statement.exec_without_returning(&transaction).await?;
                }
                transaction.commit().await?;
                Ok(())
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        Ok(())
    }
}

/// One side of a pair, on the shard of its owner.
fn side(
    placement: &Placement,
    (owner, other): (u64, u64),
    following: Option<i64>,
    followed: Option<i64>,
) -> (usize, relations::ActiveModel) {
    let row = relations::ActiveModel {
        owner: ActiveValue::Set(id_of(owner).cast_signed()),
        other: ActiveValue::Set(id_of(other).cast_signed()),
        following_since: ActiveValue::Set(following),
        following_notify: ActiveValue::Set(following.map(|_| NOTIFY_ALWAYS)),
        followed_since: ActiveValue::Set(followed),
        followed_notify: ActiveValue::Set(followed.map(|_| NOTIFY_ALWAYS)),
        blocking: ActiveValue::Set(false),
        blocked_by: ActiveValue::Set(false),
        has_followed: ActiveValue::Set(following.is_some()),
        was_followed: ActiveValue::Set(followed.is_some()),
        position: ActiveValue::Set(POSITION),
    };
    (placement.of_id(id_of(owner)), row)
}
