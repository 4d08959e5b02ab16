//! Needs in, rows out: one statement for each table of which something is needed.

use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sosik_entities::sessions;

use crate::vocabulary::ids::UserId;

use super::accounts::{Accounts, Names, Sessions};
use super::bulk::Table;
use super::comments::{CommentCounts, CommentLikes, Comments};
use super::error::StoreError;
use super::inbox::PreferencesTable;
use super::link::Link;
use super::posts::{PostCounts, PostLikes, Posts, Subscriptions};
use super::relations::{AuthorPosts, Mutes, Relations, UserCounts};
use super::rows::{Counters, Needs, Rows};
use super::values::number;

/// The most users whose sessions one statement looks for.
const USERS_MAX: usize = 512;

pub(super) async fn load(link: &Link, needs: &Needs) -> Result<Rows, StoreError> {
    let counters = Counters {
        posts: link.load::<PostCounts>(needs.post_counters.clone()).await?.into_iter().collect(),
        comments: link.load::<CommentCounts>(needs.comment_counters.clone()).await?.into_iter().collect(),
        users: link.load::<UserCounts>(needs.user_counters.clone()).await?.into_iter().collect(),
    };
    let mut rows = Rows {
        posts: link.load::<Posts>(needs.posts.clone()).await?.into_iter().collect(),
        post_likes: link.load::<PostLikes>(needs.post_likes.clone()).await?.into_iter().collect(),
        subscriptions: link.load::<Subscriptions>(needs.subscriptions.clone()).await?.into_iter().collect(),
        comments: link.load::<Comments>(needs.comments.clone()).await?.into_iter().collect(),
        comment_likes: link.load::<CommentLikes>(needs.comment_likes.clone()).await?.into_iter().collect(),
        relations: link.load::<Relations>(needs.relations.clone()).await?.into_iter().collect(),
        mutes: link.load::<Mutes>(needs.mutes.clone()).await?.into_iter().collect(),
        author_posts: link.load::<AuthorPosts>(needs.author_posts.clone()).await?.into_iter().collect(),
        accounts: link.load::<Accounts>(needs.accounts.clone()).await?.into_iter().collect(),
        sessions: link.load::<Sessions>(needs.sessions.clone()).await?.into_iter().collect(),
        names: link.load::<Names>(needs.names.clone()).await?.into_iter().collect(),
        kept_writes: Vec::new(),
        preferences: link.load::<PreferencesTable>(needs.preferences.clone()).await?.into_iter().collect(),
        read_marks: Vec::new(),
        counters,
    };
    load_open_sessions(link, &needs.sessions_of, &mut rows).await?;
    Ok(rows)
}

async fn load_open_sessions(link: &Link, users: &[UserId], rows: &mut Rows) -> Result<(), StoreError> {
    let mut users = users.to_vec();
    users.sort_unstable();
    users.dedup();
    for chunk in users.chunks(USERS_MAX) {
        let Some(last) = chunk.last() else { continue };
        let padded = chunk.iter().chain(std::iter::repeat_n(last, chunk.len().next_power_of_two() - chunk.len()));
        let query = Query::select()
            .columns(Sessions::COLUMNS.iter().copied())
            .from(sessions::Entity)
            .and_where(Expr::col(sessions::Column::User).is_in(padded.map(|user| number(user.raw()))))
            .and_where(Expr::col(sessions::Column::EndedAt).is_null())
            .take();
        for row in link.rows(&query).await? {
            let (session, found) = Sessions::read(&row)?;
            rows.sessions.insert(session, found);
        }
    }
    Ok(())
}
