//! The shards as they lie on the disk: read past the server, so that it cannot hide anything.
//!
//! Files are found by SQLite's magic and opened read-only; databases in PostgreSQL are those that the server was given. Each is read in one
//! transaction, so that what is compared is one snapshot.

use std::path::{Path, PathBuf};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, IsolationLevel, QueryResult, Statement, TransactionTrait,
    TryGetable,
};

use super::databases;
use super::facts::{CommentFact, Facts, PostFact};
use super::history::{Id, Violation, counters_are_their_rows};
use super::server::Server;

/// One shard, open for reading.
pub(crate) struct Shard {
    pub(crate) name: String,
    /// Its file; empty in PostgreSQL.
    pub(crate) file: PathBuf,
    database: DatabaseConnection,
}

/// All shards of a server.
pub(crate) async fn open_all(server: &Server) -> Vec<Shard> {
    if let Some(databases) = &server.databases {
        let open = databases.0.iter().map(|shard| async {
            Shard { name: shard.name.clone(), file: PathBuf::new(), database: databases::connect(&shard.url).await }
        });
        return futures_util::future::join_all(open).await;
    }
    let data = &server.data();
    let mut shards = Vec::new();
    for file in database_files(data) {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=ro", file.display()));
        options.max_connections(1).sqlx_logging(false);
        let database = Database::connect(options).await.expect("the shard can be opened");
        let tables = rows(&database, "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'post_counters'").await;
        if !tables.is_empty() {
            shards.push(Shard { name: file.file_stem().expect("a name").to_string_lossy().into_owned(), file: file.clone(), database });
        }
    }
    assert!(!shards.is_empty(), "no shard in {}", data.display());
    shards
}

/// The SQLite files below a folder.
pub(crate) fn database_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(database_files(&path));
        } else if starts_with_magic(&path) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn starts_with_magic(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0_u8; 16];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"SQLite format 3\0"
}

async fn rows(connection: &impl ConnectionTrait, sql: &str) -> Vec<QueryResult> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn get<T: TryGetable>(row: &QueryResult, column: &str) -> T {
    row.try_get("", column).unwrap_or_else(|error| panic!("{column}: {error}"))
}

fn id(row: &QueryResult, column: &str) -> Id {
    get::<i64>(row, column) as Id
}

impl Shard {
    /// Everything that it holds, of one snapshot.
    pub(crate) async fn facts(&self) -> Facts {
        let one_state = (self.database.get_database_backend() == DbBackend::Postgres).then_some(IsolationLevel::RepeatableRead);
        let transaction = self.database.begin_with_config(one_state, None).await.expect("a snapshot");
        let mut facts = Facts::default();
        for row in rows(&transaction, "SELECT post, author, body, deleted FROM posts").await {
            let body = (!get::<bool>(&row, "deleted")).then(|| get(&row, "body"));
            facts.posts.push(PostFact { id: id(&row, "post"), author: id(&row, "author"), body, place: self.name.clone() });
        }
        for row in rows(&transaction, "SELECT comment, post, author, body, deleted FROM comments").await {
            let body = (!get::<bool>(&row, "deleted")).then(|| get(&row, "body"));
            let (comment, post, author) = (id(&row, "comment"), id(&row, "post"), id(&row, "author"));
            facts.comments.push(CommentFact { id: comment, post, author, body, place: self.name.clone() });
        }
        for row in rows(&transaction, "SELECT post, \"user\" FROM post_likes WHERE liked").await {
            facts.likes.push((id(&row, "post"), id(&row, "user"), self.name.clone()));
        }
        for row in rows(&transaction, "SELECT comment, \"user\" FROM comment_likes WHERE liked").await {
            facts.comment_likes.push((id(&row, "comment"), id(&row, "user"), self.name.clone()));
        }
        for row in rows(&transaction, "SELECT owner, other FROM relations WHERE following_since IS NOT NULL").await {
            facts.follows.push((id(&row, "owner"), id(&row, "other")));
        }
        for row in rows(&transaction, "SELECT owner, other FROM relations WHERE followed_since IS NOT NULL").await {
            facts.followed.push((id(&row, "owner"), id(&row, "other")));
        }
        for row in rows(&transaction, "SELECT author, post FROM author_posts WHERE NOT deleted").await {
            facts.author_posts.push((id(&row, "author"), id(&row, "post")));
        }
        for row in rows(&transaction, "SELECT post, likes, comments FROM post_counters").await {
            facts.post_counters.insert(id(&row, "post"), (get(&row, "likes"), get(&row, "comments")));
        }
        for row in rows(&transaction, "SELECT comment, likes FROM comment_counters").await {
            facts.comment_counters.insert(id(&row, "comment"), get(&row, "likes"));
        }
        for row in rows(&transaction, "SELECT \"user\", posts, followers, following FROM user_counters").await {
            facts.user_counters.insert(id(&row, "user"), ["posts", "followers", "following"].map(|column| get(&row, column)));
        }
        transaction.commit().await.expect("the end of a snapshot");
        facts
    }

    /// C6 on one snapshot of this shard, while it is being written.
    pub(crate) async fn counters_now(&self) -> Vec<Violation> {
        counters_are_their_rows(&self.facts().await)
    }
}

/// Everything that all shards hold.
pub(crate) async fn all_facts(server: &Server) -> Facts {
    let mut facts = Facts::default();
    for shard in open_all(server).await {
        facts.extend(shard.facts().await);
    }
    facts
}

/// Whether each shard has noted that all it owed to others has arrived.
pub(crate) async fn all_is_relayed(server: &Server) -> bool {
    for shard in open_all(server).await {
        if !rows(&shard.database, "SELECT lane FROM lanes WHERE relayed < applied").await.is_empty() {
            return false;
        }
    }
    true
}

/// How many failed logins stand in the rows of accounts.
pub(crate) async fn failed_logins(server: &Server) -> i64 {
    let mut failed = 0;
    for shard in open_all(server).await {
        let rows = rows(&shard.database, "SELECT failed_logins FROM accounts").await;
        failed += rows.iter().map(|row| get::<i64>(row, "failed_logins")).sum::<i64>();
    }
    failed
}

/// How far each lane of each shard has got.
pub(crate) async fn lanes(server: &Server) -> Vec<(String, i64, i64)> {
    let mut lanes = Vec::new();
    for shard in open_all(server).await {
        let rows = rows(&shard.database, "SELECT lane, applied FROM lanes ORDER BY lane").await;
        lanes.extend(rows.iter().map(|row| (shard.name.clone(), get(row, "lane"), get(row, "applied"))));
    }
    lanes
}

/// Changes a file by hand while no server has it open.
pub(crate) async fn execute(file: &Path, sql: &str) {
    let database = Database::connect(format!("sqlite://{}?mode=rw", file.display())).await.expect("the shard can be opened");
    database.execute_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    database.close().await.expect("closed");
}
