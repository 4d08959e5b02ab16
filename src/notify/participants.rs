//! Who commented a post lately: asked for with each comment, so it is kept, and moves forward with the comments.
//!
//! Each post's comments pass here in the order of their lane, so what is kept is never behind what is asked. Full: evicted, and read again.

use std::sync::{Arc, Mutex};

use moka::sync::Cache;

use crate::support::lock::lock;
use crate::vocabulary::ids::{PostId, UserId};

/// The most participants of a post who hear of a further comment.
pub const PARTICIPANTS_MAX: usize = 1000;
/// How many comments are looked through for them: somebody may have written most of them.
pub const COMMENTS_LOOKED_THROUGH: u64 = 5000;
const LIST_BYTES: u32 = 150;
const PARTICIPANT_BYTES: u32 = 8;

/// The participants of posts.
pub struct Participants(Cache<PostId, Arc<Mutex<Vec<UserId>>>>);

impl Participants {
    pub fn new(bytes: u64) -> Self {
        let weigh = |_: &PostId, list: &Arc<Mutex<Vec<UserId>>>| LIST_BYTES + PARTICIPANT_BYTES * lock(list).len() as u32;
        Self(Cache::builder().max_capacity(bytes).weigher(weigh).build())
    }

    /// Who commented the post so far, if that is known.
    pub fn of(&self, post: PostId) -> Option<Vec<UserId>> {
        let found = self.0.get(&post).map(|list| lock(&list).clone());
        let result = if found.is_some() { "hit" } else { "miss" };
        metrics::counter!("sosik_participants_total", "result" => result).increment(1);
        found
    }

    /// Keeps what was read: those who wrote comments, newest first, each as often as he did.
    pub fn keep(&self, post: PostId, authors: impl IntoIterator<Item = UserId>) -> Vec<UserId> {
        let mut list: Vec<UserId> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for author in authors {
            if list.len() < PARTICIPANTS_MAX && seen.insert(author) {
                list.push(author);
            }
        }
        self.0.insert(post, Arc::new(Mutex::new(list.clone())));
        list
    }

    /// Somebody commented the post.
    pub fn commented(&self, post: PostId, author: UserId) {
        if let Some(list) = self.0.get(&post) {
            let mut participants = lock(&list);
            participants.retain(|known| *known != author);
            participants.insert(0, author);
            participants.truncate(PARTICIPANTS_MAX);
            let moved = participants.clone();
            drop(participants);
            // Weighed again.
            self.0.insert(post, Arc::new(Mutex::new(moved)));
        }
    }

    /// What is kept may say more than was told.
    pub fn forget_all(&self) {
        self.0.invalidate_all();
    }

    /// Comments of the post went: who is left is to be read again.
    pub fn forget(&self, post: PostId) {
        self.0.invalidate(&post);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(raws: &[u64]) -> Vec<UserId> {
        raws.iter().copied().map(UserId::from_raw).collect()
    }

    #[test]
    fn the_latest_commenters_come_first_and_each_once() {
        let participants = Participants::new(1 << 20);
        let post = PostId::from_raw(1);

        assert_eq!(participants.of(post), None);
        assert_eq!(participants.keep(post, users(&[3, 2, 3, 1])), users(&[3, 2, 1]));
        participants.commented(post, UserId::from_raw(1));
        participants.commented(post, UserId::from_raw(4));

        assert_eq!(participants.of(post), Some(users(&[4, 1, 3, 2])));
        participants.forget(post);
        assert_eq!(participants.of(post), None);
    }

    #[test]
    fn there_is_an_end_to_them() {
        let participants = Participants::new(1 << 20);
        let post = PostId::from_raw(1);

        let kept = participants.keep(post, (1..=2000).map(UserId::from_raw));
        participants.commented(post, UserId::from_raw(9999));

        assert_eq!(kept.len(), PARTICIPANTS_MAX);
        assert_eq!(participants.of(post).map(|list| list.len()), Some(PARTICIPANTS_MAX));
    }
}
