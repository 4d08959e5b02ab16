//! What stands at the end of a run, as the server tells it or as the shards hold it: the same shape, so that the same checks
//! run on both.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::client::Person;
use super::history::{Action, Id, Outcome, Record};

/// A post; the body is absent once it is deleted. `place` is where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PostFact {
    pub(crate) id: Id,
    pub(crate) author: Id,
    pub(crate) body: Option<String>,
    pub(crate) place: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommentFact {
    pub(crate) id: Id,
    pub(crate) post: Id,
    pub(crate) author: Id,
    pub(crate) body: Option<String>,
    pub(crate) place: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) posts: Vec<PostFact>,
    pub(crate) comments: Vec<CommentFact>,
    /// Post, user, place; only those that are set.
    pub(crate) likes: Vec<(Id, Id, String)>,
    /// Comment, user, place; only those that are set.
    pub(crate) comment_likes: Vec<(Id, Id, String)>,
    /// Follower, followee: as the follower's side has it.
    pub(crate) follows: Vec<(Id, Id)>,
    /// Followee, follower: as the followee's side has it.
    pub(crate) followed: Vec<(Id, Id)>,
    /// Author, post: the index of a user's posts, without deleted ones.
    pub(crate) author_posts: Vec<(Id, Id)>,
    /// Likes, comments.
    pub(crate) post_counters: HashMap<Id, (i64, i64)>,
    /// Likes.
    pub(crate) comment_counters: HashMap<Id, i64>,
    /// Posts, followers, following.
    pub(crate) user_counters: HashMap<Id, [i64; 3]>,
}

/// The word that makes a payload unlike any other.
pub(crate) fn nonce_of(body: &str) -> &str {
    body.split_whitespace().next().unwrap_or_default()
}

impl Facts {
    /// Each text by its id, as often as it was found; absent text is a tombstone.
    pub(crate) fn texts(&self) -> HashMap<Id, Vec<Option<&str>>> {
        let mut texts: HashMap<Id, Vec<Option<&str>>> = HashMap::new();
        for post in &self.posts {
            texts.entry(post.id).or_default().push(post.body.as_deref());
        }
        for comment in &self.comments {
            texts.entry(comment.id).or_default().push(comment.body.as_deref());
        }
        texts
    }

    pub(crate) fn nonces(&self) -> impl Iterator<Item = &str> {
        let posts = self.posts.iter().filter_map(|post| post.body.as_deref());
        posts.chain(self.comments.iter().filter_map(|comment| comment.body.as_deref())).map(nonce_of)
    }

    pub(crate) fn likes_set(&self) -> HashSet<(Id, Id)> {
        self.likes.iter().map(|(post, user, _)| (*post, *user)).collect()
    }

    pub(crate) fn comment_likes_set(&self) -> HashSet<(Id, Id)> {
        self.comment_likes.iter().map(|(comment, user, _)| (*comment, *user)).collect()
    }

    pub(crate) fn follows_set(&self) -> HashSet<(Id, Id)> {
        self.follows.iter().copied().collect()
    }

    /// Joins what another place holds.
    pub(crate) fn extend(&mut self, other: Self) {
        self.posts.extend(other.posts);
        self.comments.extend(other.comments);
        self.likes.extend(other.likes);
        self.comment_likes.extend(other.comment_likes);
        self.follows.extend(other.follows);
        self.followed.extend(other.followed);
        self.author_posts.extend(other.author_posts);
        self.post_counters.extend(other.post_counters);
        self.comment_counters.extend(other.comment_counters);
        self.user_counters.extend(other.user_counters);
    }

    /// Asks the server for everything that the record names, and for all lists of these people.
    pub(crate) async fn over_http(reader: &Person, people: &[Person], record: &Record) -> Self {
        let mut facts = Self::default();
        let mut posts: HashSet<Id> = HashSet::new();
        for operation in &record.operations {
            if let (Action::CreatePost { .. }, Some(Outcome::Ok { object: Some(post), .. })) = (&operation.action, &operation.outcome) {
                posts.insert(*post);
            }
        }
        for person in people {
            facts.read_person(reader, person).await;
        }
        posts.extend(facts.author_posts.iter().map(|(_, post)| *post));
        for post in posts {
            facts.read_post(reader, post).await;
        }
        facts
    }

    async fn read_person(&mut self, reader: &Person, person: &Person) {
        let user: Id = person.id.parse().expect("an id");
        let answer = reader.read_user(&person.id).await.expect(200);
        let counters = ["/posts", "/followers", "/following"].map(|pointer| answer.number_at(pointer));
        self.user_counters.insert(user, counters);
        for post in reader.all_items(&format!("/v1/users/{user}/posts")).await {
            self.author_posts.push((user, id_of(&post["id"])));
        }
        for follower in reader.all_items(&format!("/v1/users/{user}/followers")).await {
            self.followed.push((user, id_of(&follower["id"])));
        }
        for followee in reader.all_items(&format!("/v1/users/{user}/following")).await {
            self.follows.push((user, id_of(&followee["id"])));
        }
    }

    async fn read_post(&mut self, reader: &Person, post: Id) {
        let place = "http".to_owned();
        let answer = reader.read_post(&post.to_string()).await;
        if answer.status == 404 {
            return; // The checks say whether that may be.
        }
        if answer.status == 410 {
            self.posts.push(PostFact { id: post, author: 0, body: None, place });
            return;
        }
        let answer = answer.expect(200);
        let author = id_of(&answer.json["author"]["id"]);
        self.posts.push(PostFact { id: post, author, body: Some(answer.text_at("/body")), place: place.clone() });
        self.post_counters.insert(post, (answer.number_at("/likes"), answer.number_at("/comments")));
        for user in reader.all_items(&format!("/v1/posts/{post}/likes")).await {
            self.likes.push((post, id_of(&user["id"]), place.clone()));
        }
        for comment in reader.all_items(&format!("/v1/posts/{post}/comments")).await {
            let body = comment["body"].as_str().map(str::to_owned);
            let (id, author) = (id_of(&comment["id"]), id_of(&comment["author"]["id"]));
            self.comment_counters.insert(id, comment["likes"].as_i64().expect("a number"));
            self.comments.push(CommentFact { id, post, author, body, place: place.clone() });
        }
    }
}

/// The id in a JSON text.
#[track_caller]
pub(crate) fn id_of(value: &Value) -> Id {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no id: {value}"))
}
