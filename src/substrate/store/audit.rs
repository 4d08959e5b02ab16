//! What a check of the whole database reads: everything, a page of at most [`AUDIT_ROWS`] at a time, in the order of the keys.
//!
//! Where the last page ended goes in; the next page comes out, an empty one at the end.

use sea_orm::sea_query::{Asterisk, Expr, ExprTrait, Func, Order, Query, SubQueryStatement};
use sea_orm::{DbBackend, Value};
use sosik_entities::{author_posts, comments, names, posts, relations};

use crate::vocabulary::ids::{PostId, UserId};
use crate::vocabulary::owner::NameKey;

use super::bulk::{Key, Table};
use super::error::StoreError;
use super::line::Line;
use super::relations::{AuthorPosts, Relations};
use super::rows::{AuthorPostRow, RelationRow};
use super::snapshot::Snapshot;
use super::values::{get, number, post, unsigned, unsigned_or_null, user};

/// Rows of a page: a few pages are in memory at once, and one statement looks all of a page's keys up elsewhere.
pub const AUDIT_ROWS: u64 = 1000;

/// Below every key.
const BEFORE_ALL: i64 = i64::MIN;

/// A table of counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterTable {
    Posts,
    Comments,
    Users,
    /// Where inboxes stand, against their entries: how many, the first and the last place, how many are unread.
    Inboxes,
    /// How many people are in the windows of an inbox.
    Windows,
}

impl CounterTable {
    pub const ALL: [Self; 5] = [Self::Posts, Self::Comments, Self::Users, Self::Inboxes, Self::Windows];

    pub fn table(self) -> &'static str {
        match self {
            Self::Posts => "post_counters",
            Self::Comments => "comment_counters",
            Self::Users => "user_counters",
            Self::Inboxes => "inbox_states",
            Self::Windows => "inbox_windows",
        }
    }

    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Posts => &["likes", "comments"],
            Self::Comments => &["likes"],
            Self::Users => &["posts", "followers", "following"],
            Self::Inboxes => &["entries", "first", "last", "unread"],
            Self::Windows => &["people"],
        }
    }

    /// The key, then the stored counters (absent ones are zero), then the numbers of rows. Keys come from both sides, so that neither a
    /// counter without rows nor rows without a counter are missed.
    fn text(self) -> &'static str {
        match self {
            Self::Posts => {
                r#"SELECT k.id, COALESCE(c.likes, 0), COALESCE(c.comments, 0),
                (SELECT COUNT(*) FROM post_likes r WHERE r.post = k.id AND r.liked),
                (SELECT COUNT(*) FROM comments r WHERE r.post = k.id AND NOT r.deleted)
                FROM (SELECT post AS id FROM posts WHERE post > $1 UNION SELECT post FROM post_counters WHERE post > $1
                ORDER BY 1 LIMIT $2) k LEFT JOIN post_counters c ON c.post = k.id ORDER BY k.id"#
            }
            Self::Comments => {
                r#"SELECT k.id, COALESCE(c.likes, 0),
                (SELECT COUNT(*) FROM comment_likes r WHERE r.comment = k.id AND r.liked)
                FROM (SELECT comment AS id FROM comments WHERE comment > $1 UNION SELECT comment FROM comment_counters WHERE comment > $1
                ORDER BY 1 LIMIT $2) k LEFT JOIN comment_counters c ON c.comment = k.id ORDER BY k.id"#
            }
            Self::Users => {
                r#"SELECT k.id, COALESCE(c.posts, 0), COALESCE(c.followers, 0), COALESCE(c.following, 0),
                (SELECT COUNT(*) FROM author_posts r WHERE r.author = k.id AND NOT r.deleted),
                (SELECT COUNT(*) FROM relations r WHERE r.owner = k.id AND r.followed_since IS NOT NULL),
                (SELECT COUNT(*) FROM relations r WHERE r.owner = k.id AND r.following_since IS NOT NULL)
                FROM (SELECT "user" AS id FROM user_counters WHERE "user" > $1 UNION SELECT author FROM author_posts WHERE author > $1
                UNION SELECT owner FROM relations WHERE owner > $1
                ORDER BY 1 LIMIT $2) k LEFT JOIN user_counters c ON c."user" = k.id ORDER BY k.id"#
            }
            Self::Inboxes => {
                r#"SELECT k.id, COALESCE(s.seq - s.min_seq + 1, 0),
                COALESCE(CASE WHEN s.seq < s.min_seq THEN 0 ELSE s.min_seq END, 0), COALESCE(CASE WHEN s.seq < s.min_seq THEN 0 ELSE s.seq END, 0),
                COALESCE(s.unread, 0),
                (SELECT COUNT(*) FROM inbox_entries r WHERE r.owner = k.id),
                (SELECT COALESCE(MIN(r.seq), 0) FROM inbox_entries r WHERE r.owner = k.id),
                (SELECT COALESCE(MAX(r.seq), 0) FROM inbox_entries r WHERE r.owner = k.id),
                (SELECT COUNT(*) FROM inbox_entries r WHERE r.owner = k.id AND r.state = 0)
                FROM (SELECT owner AS id FROM inbox_states WHERE owner > $1 UNION SELECT owner FROM inbox_entries WHERE owner > $1
                ORDER BY 1 LIMIT $2) k LEFT JOIN inbox_states s ON s.owner = k.id ORDER BY k.id"#
            }
            Self::Windows => {
                r#"SELECT k.id, (SELECT CAST(COALESCE(SUM(w.people), 0) AS BIGINT) FROM inbox_windows w WHERE w.owner = k.id),
                (SELECT COUNT(*) FROM inbox_window_actors a WHERE a.owner = k.id)
                + (SELECT CAST(COALESCE(SUM(LENGTH(w.first_actors)), 0) AS BIGINT) / 8 FROM inbox_windows w WHERE w.owner = k.id)
                FROM (SELECT owner AS id FROM inbox_windows WHERE owner > $1 UNION SELECT owner FROM inbox_window_actors
                WHERE owner > $1 ORDER BY 1 LIMIT $2) k ORDER BY k.id"#
            }
        }
    }
}

/// The counters of one key, in the order of [`CounterTable::columns`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub key: u64,
    pub stored: Vec<i64>,
    pub rows: Vec<i64>,
}

/// Rows that a report counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Posts, their likes, counters and subscriptions.
    Posts,
    /// Comments, their likes and counters.
    Comments,
    /// What a user has done and whom he knows: relations, mutes, the index of his posts, what is kept of his writes.
    Users,
    /// Accounts, sessions and preferences.
    Accounts,
    Inboxes,
    Names,
}

impl Family {
    pub const ALL: [Self; 6] = [Self::Posts, Self::Comments, Self::Users, Self::Accounts, Self::Inboxes, Self::Names];

    pub fn name(self) -> &'static str {
        match self {
            Self::Posts => "posts",
            Self::Comments => "comments",
            Self::Users => "users",
            Self::Accounts => "accounts",
            Self::Inboxes => "inboxes",
            Self::Names => "names",
        }
    }
}

/// Where a row holds the id that says on which shard it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacedBy {
    /// The column that pages go by.
    Key,
    /// Another column, in a table with one row a key.
    Column(&'static str),
    /// The post of the comment that pages go by.
    PostOfComment,
}

/// A table whose rows are placed by an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub table: &'static str,
    pub family: Family,
    /// The column that pages go by: the first of a key or of an index, so that a page reads no more than it answers.
    pub key: &'static str,
    pub by: PlacedBy,
}

const fn placed(family: Family, table: &'static str, key: &'static str, by: PlacedBy) -> Placed {
    Placed { table, family, key, by }
}

/// All tables that are placed by an id; names are placed by themselves. What belongs to a lane and not to an owner (events, cursors, dead
/// letters) is not among them: it goes with its shard.
pub const PLACED: [Placed; 19] = [
    placed(Family::Posts, "posts", "post", PlacedBy::Key),
    placed(Family::Posts, "post_counters", "post", PlacedBy::Key),
    placed(Family::Posts, "post_likes", "post", PlacedBy::Key),
    placed(Family::Posts, "subscriptions", "post", PlacedBy::Key),
    placed(Family::Comments, "comments", "post", PlacedBy::Key),
    placed(Family::Comments, "comment_counters", "comment", PlacedBy::PostOfComment),
    placed(Family::Comments, "comment_likes", "comment", PlacedBy::PostOfComment),
    placed(Family::Users, "relations", "owner", PlacedBy::Key),
    placed(Family::Users, "mutes", "owner", PlacedBy::Key),
    placed(Family::Users, "author_posts", "author", PlacedBy::Key),
    placed(Family::Users, "user_counters", "user", PlacedBy::Key),
    placed(Family::Users, "kept_writes", "write", PlacedBy::Column("author")),
    placed(Family::Accounts, "accounts", "user", PlacedBy::Key),
    placed(Family::Accounts, "sessions", "user", PlacedBy::Key),
    placed(Family::Accounts, "preferences", "user", PlacedBy::Key),
    placed(Family::Inboxes, "inbox_entries", "owner", PlacedBy::Key),
    placed(Family::Inboxes, "inbox_states", "owner", PlacedBy::Key),
    placed(Family::Inboxes, "inbox_windows", "owner", PlacedBy::Key),
    placed(Family::Inboxes, "inbox_window_actors", "owner", PlacedBy::Key),
];

impl Placed {
    /// Whether each post, or each user, has exactly one row here.
    pub fn lists_owners(&self) -> bool {
        matches!(self.table, "posts" | "accounts")
    }
}

/// The rows of one key of a [`Placed`] table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedRows {
    pub key: u64,
    /// The id by which they are placed; absent if a comment that they are about is not there.
    pub placed_by: Option<u64>,
    pub rows: u64,
}

impl Snapshot {
    /// Counters beside the numbers of the rows that they count.
    pub async fn audit_counters(&mut self, table: CounterTable, after: Option<u64>) -> Result<Vec<Counted>, StoreError> {
        let after = after.map_or(BEFORE_ALL, u64::cast_signed);
        let values: Vec<Value> = vec![after.into(), AUDIT_ROWS.cast_signed().into()];
        let count = table.columns().len();
        let mut page = Vec::new();
        for row in self.link.rows_of(table.text(), values).await? {
            let stored = (1..=count).map(|index| get(&row, index)).collect::<Result<_, _>>()?;
            let rows = (count + 1..=2 * count).map(|index| get(&row, index)).collect::<Result<_, _>>()?;
            page.push(Counted { key: unsigned(&row, 0)?, stored, rows });
        }
        Ok(page)
    }

    /// How many rows each key of a table has, and by which id they are placed.
    pub async fn audit_placed(&mut self, table: Placed, after: Option<u64>) -> Result<Vec<PlacedRows>, StoreError> {
        let placed_by: Expr = match table.by {
            PlacedBy::Key => Expr::col(table.key),
            PlacedBy::Column(column) => Expr::col(column).min(),
            PlacedBy::PostOfComment => {
                let this = Expr::col((comments::Entity, comments::Column::Comment)).eq(Expr::col((table.table, table.key)));
                SubQueryStatement::from(Query::select().column(comments::Column::Post).from(comments::Entity).and_where(this).take()).into()
            }
        };
        let query = Query::select()
            .column(table.key)
            .expr(placed_by)
            .expr(Func::count(Expr::col(Asterisk)))
            .from(table.table)
            .and_where(Expr::col(table.key).gt(after.map_or(BEFORE_ALL, u64::cast_signed)))
            .group_by_col(table.key)
            .order_by(table.key, Order::Asc)
            .limit(AUDIT_ROWS)
            .take();
        let placed = |row: &Line| -> Result<PlacedRows, StoreError> {
            Ok(PlacedRows { key: unsigned(row, 0)?, placed_by: unsigned_or_null(row, 1)?, rows: unsigned(row, 2)? })
        };
        self.link.rows(&query).await?.iter().map(placed).collect()
    }

    /// How many bytes the whole database takes on its disk, without its log.
    pub async fn database_bytes(&mut self) -> Result<u64, StoreError> {
        let text = match self.link.backend {
            DbBackend::Sqlite => "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            _ => "SELECT pg_database_size(current_database())",
        };
        let rows = self.link.rows_of(text, Vec::new()).await?;
        rows.first().map_or(Ok(0), |row| Ok(unsigned(row, 0)?))
    }

    pub async fn audit_names(&mut self, after: Option<&NameKey>) -> Result<Vec<NameKey>, StoreError> {
        let query = Query::select()
            .column(names::Column::Name)
            .from(names::Entity)
            .and_where(Expr::col(names::Column::Name).gt(after.map_or("", NameKey::as_str)))
            .order_by(names::Column::Name, Order::Asc)
            .limit(AUDIT_ROWS)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(NameKey::from_row(get(row, 0)?))).collect()
    }

    /// Sides of pairs, by owner and other.
    pub async fn audit_relations(&mut self, after: Option<(UserId, UserId)>) -> Result<Vec<((UserId, UserId), RelationRow)>, StoreError> {
        self.audit_pairs::<Relations>([relations::Column::Owner, relations::Column::Other], after).await
    }

    /// The authors' indexes, by author and post.
    pub async fn audit_author_posts(
        &mut self,
        after: Option<(UserId, PostId)>,
    ) -> Result<Vec<((UserId, PostId), AuthorPostRow)>, StoreError> {
        self.audit_pairs::<AuthorPosts>([author_posts::Column::Author, author_posts::Column::Post], after).await
    }

    /// Posts with their authors.
    pub async fn audit_posts(&mut self, after: Option<PostId>) -> Result<Vec<(PostId, UserId)>, StoreError> {
        let query = Query::select()
            .columns([posts::Column::Post, posts::Column::Author])
            .from(posts::Entity)
            .and_where(Expr::col(posts::Column::Post).gt(after.map_or(BEFORE_ALL.into(), |after| number(after.raw()))))
            .order_by(posts::Column::Post, Order::Asc)
            .limit(AUDIT_ROWS)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok((post(row, 0)?, user(row, 1)?))).collect()
    }

    async fn audit_pairs<T: Table>(
        &mut self,
        key: [<T::Entity as sea_orm::EntityTrait>::Column; 2],
        after: Option<T::Key>,
    ) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        let mut bound = Vec::new();
        match after {
            Some(after) => after.push(&mut bound),
            None => bound.extend([Value::from(BEFORE_ALL), Value::from(BEFORE_ALL)]),
        }
        let columns = Expr::tuple(key.map(Expr::col));
        let query = Query::select()
            .columns(T::COLUMNS.iter().copied())
            .from(T::Entity::default())
            .and_where(columns.gt(Expr::tuple(bound.into_iter().map(Expr::val))))
            .order_by(key[0], Order::Asc)
            .order_by(key[1], Order::Asc)
            .limit(AUDIT_ROWS)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(T::read(row)?)).collect()
    }
}
