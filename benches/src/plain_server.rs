//! What *plain* is compared with: the same like the way it is usually written. The token is checked, and one transaction inserts the row and bumps the
//! counter; the answer comes after COMMIT.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use actix_web::http::header;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use serde_json::Value;

use crate::Outcome;

/// Connections of its pool.
const POOL: u32 = 32;
const POSTS_A_STATEMENT: usize = 1000;

/// The server as a process of its own, so that its processor time is its own.
pub(crate) struct PlainServer {
    pub(crate) address: SocketAddr,
    child: Child,
    /// Kept open, so that the server can go on writing to it.
    _output: BufReader<ChildStdout>,
    _keys: tempfile::NamedTempFile,
}

impl PlainServer {
    /// Starts it on a database that [`prepare`] has made ready; `keys` is a JSON Web Key Set.
    pub(crate) fn start(database: &str, keys: &str) -> Outcome<Self> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), keys)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["plain-server", "--postgres", database, "--keys"]).arg(file.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_nothing| "the plain server did not start")?;
        Ok(Self { address, child, _output: output, _keys: file })
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        // Both fail only when it has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes the two tables, with a row for each post.
pub(crate) async fn prepare(url: &str, posts: &[String]) -> Outcome<()> {
    let database = Database::connect(url).await?;
    database.execute_unprepared("CREATE TABLE plain_posts (id BIGINT PRIMARY KEY, likes BIGINT NOT NULL DEFAULT 0)").await?;
    database
        .execute_unprepared("CREATE TABLE plain_likes (post BIGINT NOT NULL, liker BIGINT NOT NULL, PRIMARY KEY (post, liker))")
        .await?;
    for posts in posts.chunks(POSTS_A_STATEMENT) {
        let rows: Vec<String> = posts.iter().map(|post| format!("({post})")).collect();
        database.execute_unprepared(&format!("INSERT INTO plain_posts (id) VALUES {}", rows.join(", "))).await?;
    }
    Ok(())
}

struct Parts {
    database: DatabaseConnection,
    key: DecodingKey,
    rules: Validation,
}

/// Serves until it is killed; its first line says where.
pub(crate) fn serve(database: &str, keys: &Path) -> Outcome<()> {
    let keys: JwkSet = serde_json::from_str(&std::fs::read_to_string(keys)?)?;
    let key = DecodingKey::from_jwk(keys.keys.first().ok_or("no key")?)?;
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.validate_aud = false;
    let mut options = ConnectOptions::new(database);
    options.max_connections(POOL).min_connections(POOL).sqlx_logging(false);
    actix_web::rt::System::new().block_on(async move {
        let parts = web::Data::new(Parts { database: Database::connect(options).await?, key, rules });
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        let app = move || App::new().app_data(parts.clone()).route("/v1/posts/{post}/like", web::put().to(like));
        Ok(HttpServer::new(app).listen(listener)?.run().await?)
    })
}

async fn like(parts: web::Data<Parts>, post: web::Path<i64>, request: HttpRequest) -> HttpResponse {
    let Some(liker) = who(&parts, &request) else { return HttpResponse::Unauthorized().finish() };
    match write(&parts.database, *post, liker).await {
        Ok(likes) => HttpResponse::Ok().json(serde_json::json!({"post": {"id": post.to_string(), "likes": likes}})),
        Err(error) => {
            eprintln!("{error}");
            HttpResponse::InternalServerError().finish()
        }
    }
}

fn who(parts: &Parts, request: &HttpRequest) -> Option<i64> {
    let token = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let checked = jsonwebtoken::decode::<Value>(token, &parts.key, &parts.rules).ok()?;
    checked.claims["sub"].as_str()?.parse().ok()
}

async fn write(database: &DatabaseConnection, post: i64, liker: i64) -> Outcome<i64> {
    let statement = |sql: &str, values: Vec<sea_orm::Value>| Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let transaction = database.begin().await?;
    let insert = "INSERT INTO plain_likes (post, liker) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let inserted = transaction.execute_raw(statement(insert, vec![post.into(), liker.into()])).await?.rows_affected();
    let bump = "UPDATE plain_posts SET likes = likes + $2 WHERE id = $1 RETURNING likes";
    let row = transaction.query_one_raw(statement(bump, vec![post.into(), (inserted as i64).into()])).await?.ok_or("no such post")?;
    let likes = row.try_get_by_index(0)?;
    transaction.commit().await?;
    Ok(likes)
}
