//! Which rows a decision reads.

use crate::substrate::store::rows::Needs;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::Relay;
use crate::vocabulary::owner::NameKey;

/// Adds the rows that [`super::Transition::apply`] reads for this entry.
pub fn needs_of(entry: &Entry, needs: &mut Needs) {
    let author = entry.author;
    match &entry.command {
        Command::CreatePost { post, .. } | Command::EditPost { post, .. } | Command::DeletePost { post, .. } => needs.posts.push(*post),
        Command::SetPostLike { post, .. } => {
            needs.posts.push(*post);
            needs.post_likes.push((*post, author));
        }
        Command::SetSubscription { post, .. } => {
            needs.posts.push(*post);
            needs.subscriptions.push((*post, author));
        }
        Command::CreateComment { post, comment, parent, .. } => {
            needs.posts.push(*post);
            needs.comments.push(*comment);
            needs.comments.extend(parent);
        }
        Command::EditComment { post, comment, .. } | Command::DeleteComment { post, comment, .. } => {
            needs.posts.push(*post);
            needs.comments.push(*comment);
        }
        Command::SetCommentLike { post, comment, .. } => {
            needs.posts.push(*post);
            needs.comments.push(*comment);
            needs.comment_likes.push((*comment, author));
        }
        Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => {
            needs.relations.push((author.min(*other), author.max(*other)));
        }
        Command::SetMute { other, .. } => needs.mutes.push((author, *other)),
        Command::Register { username, .. } => needs.names.push(NameKey::of_username(username)),
        Command::AdoptSubject { issuer, subject, .. } => needs.names.push(NameKey::of_subject(issuer, subject)),
        Command::EditProfile { .. } | Command::EditProfileIf { .. } | Command::RehashPassword { .. } | Command::BackOffLogin { .. } => {
            needs.accounts.push(author)
        }
        // Neither reads anything: the last word counts.
        Command::MarkRead { .. } | Command::SetPreferences { .. } => {}
        Command::OpenSession { session } => {
            needs.accounts.push(author);
            needs.sessions.push(session.session);
        }
        Command::RotateSession { session, .. } | Command::EndSession { session } => needs.sessions.push(*session),
        Command::ChangePassword { .. } => {
            needs.accounts.push(author);
            needs.sessions_of.push(author);
        }
    }
}

/// Adds the rows that [`super::Transition::relay`] reads for this relay.
pub fn relay_needs_of(relay: &Relay, needs: &mut Needs) {
    match relay {
        Relay::AuthorPost { author, post, .. } => needs.author_posts.push((*author, *post)),
        Relay::Pair { owner, other, .. } => needs.relations.push((*owner, *other)),
        Relay::Account(account) => needs.accounts.push(account.user),
        Relay::Name { name, .. } => needs.names.push(name.clone()),
        Relay::KeptWrite { .. } => {}
    }
}
