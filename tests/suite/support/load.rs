//! Many people at once, each doing a random mix of writes and reads, one call after the other, all of it recorded.
//!
//! What has no answer is kept as unknown; where it carried a key it is asked again with the same key, as a careful client
//! does, and counts as one operation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use super::Seeded;
use super::client::{Answer, Call, Person, nonce, within};
use super::facts::{id_of, nonce_of};
use super::history::{Action, Held, History, Id, Key, Observation, Outcome};

/// How long a client that got no connection waits before its next call.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// How often a keyed call without an answer is asked again.
const RETRIES_MAX: usize = 400;

/// How long a load may take for what its test waits for: two cores are shared with other tests.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(240);

/// How often each kind of call is made, in parts of their sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix {
    pub(crate) like: u64,
    pub(crate) unlike: u64,
    pub(crate) comment: u64,
    pub(crate) post: u64,
    pub(crate) edit: u64,
    pub(crate) follow: u64,
    pub(crate) unfollow: u64,
    pub(crate) reply: u64,
    pub(crate) like_comment: u64,
    pub(crate) unlike_comment: u64,
    pub(crate) delete_comment: u64,
    pub(crate) delete_post: u64,
    pub(crate) read: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            like: 20,
            unlike: 8,
            comment: 14,
            post: 10,
            edit: 10,
            follow: 6,
            unfollow: 3,
            reply: 5,
            like_comment: 8,
            unlike_comment: 4,
            delete_comment: 4,
            delete_post: 1,
            read: 12,
        }
    }
}

impl Mix {
    pub(crate) const fn nothing() -> Self {
        Self {
            like: 0,
            unlike: 0,
            comment: 0,
            post: 0,
            edit: 0,
            follow: 0,
            unfollow: 0,
            reply: 0,
            like_comment: 0,
            unlike_comment: 0,
            delete_comment: 0,
            delete_post: 0,
            read: 0,
        }
    }

    /// Only what moves counters.
    pub(crate) fn counting() -> Self {
        let of_comments = Self { comment: 13, reply: 3, like_comment: 10, unlike_comment: 7, delete_comment: 6, ..Self::nothing() };
        Self { like: 30, unlike: 20, post: 1, follow: 10, unfollow: 8, ..of_comments }
    }
}

/// What the clients know of each other's posts, or comments.
#[derive(Debug, Clone)]
struct Board<T>(Arc<Mutex<Vec<T>>>);

impl<T: Copy + PartialEq> Board<T> {
    fn empty() -> Self {
        Self(Arc::default())
    }

    fn pick(&self, random: &mut Seeded) -> Option<T> {
        random.pick(&self.0.lock().expect("not poisoned")).copied()
    }

    fn add(&self, thing: T) {
        self.0.lock().expect("not poisoned").push(thing);
    }

    fn remove(&self, thing: T) {
        self.0.lock().expect("not poisoned").retain(|other| *other != thing);
    }
}

/// A load that runs until it is told to end.
pub(crate) struct Load {
    pub(crate) history: History,
    pub(crate) people: Vec<Person>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Each person publishes `posts` posts, then all run. Each creation has to show what was made.
    pub(crate) async fn start(people: Vec<Person>, mix: Mix, posts: usize, seed: u64) -> Self {
        Self::begin(people, mix, posts, seed, false).await
    }

    /// The same while shards cannot be read now and then: a creation on one of them may be answered without what was made.
    pub(crate) async fn start_beside_outages(people: Vec<Person>, mix: Mix, posts: usize, seed: u64) -> Self {
        Self::begin(people, mix, posts, seed, true).await
    }

    async fn begin(people: Vec<Person>, mix: Mix, posts: usize, seed: u64, shards_fail: bool) -> Self {
        let history = History::new();
        let (board, comments) = (Board::empty(), Board::empty());
        let ids: Vec<Id> = people.iter().map(|person| person.id.parse().expect("an id")).collect();
        let mut clients = Vec::new();
        for (number, person) in people.iter().enumerate() {
            let mut client = Client {
                person: person.clone(),
                user: ids[number],
                session: number as u32,
                random: Seeded::new(seed.wrapping_add(number as u64)),
                history: history.clone(),
                board: board.clone(),
                comments: comments.clone(),
                others: ids.iter().copied().filter(|id| *id != ids[number]).collect(),
                own_posts: Vec::new(),
                own_comments: Vec::new(),
                following: Vec::new(),
                shards_fail,
            };
            for _ in 0..posts {
                client.create_post(20).await;
            }
            clients.push(client);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for mut client in clients {
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.step(mix).await;
                }
            });
        }
        Self { history, people, stop, tasks }
    }

    /// Waits until so many more calls were accepted.
    pub(crate) async fn goes_on_for(&self, accepted: usize) {
        let enough = self.history.accepted() + accepted;
        within(PROGRESS_TIMEOUT, "the load to go on", async || (self.history.accepted() >= enough).then_some(())).await;
    }

    /// Ends the load after the calls in hand; a client that failed fails the test.
    pub(crate) async fn finish(mut self) -> (History, Vec<Person>) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        (self.history, self.people)
    }
}

struct Client {
    person: Person,
    user: Id,
    session: u32,
    random: Seeded,
    history: History,
    board: Board<Id>,
    /// Post, comment.
    comments: Board<(Id, Id)>,
    others: Vec<Id>,
    own_posts: Vec<Id>,
    /// Post, comment.
    own_comments: Vec<(Id, Id)>,
    following: Vec<Id>,
    shards_fail: bool,
}

impl Client {
    async fn step(&mut self, mix: Mix) {
        let weights = [
            mix.like,
            mix.unlike,
            mix.comment,
            mix.post,
            mix.edit,
            mix.follow,
            mix.unfollow,
            mix.reply,
            mix.like_comment,
            mix.unlike_comment,
            mix.delete_comment,
            mix.delete_post,
            mix.read,
        ];
        let mut dice = self.random.below(weights.iter().sum());
        let choice = weights.iter().position(|weight| {
            let hit = dice < *weight;
            dice = dice.saturating_sub(*weight);
            hit
        });
        match choice {
            Some(0) => self.set_like(true).await,
            Some(1) => self.set_like(false).await,
            Some(2) => self.create_comment().await,
            Some(3) => self.create_post(0).await,
            Some(4) => self.edit().await,
            Some(5) => self.set_follow(true).await,
            Some(6) => self.set_follow(false).await,
            Some(7) => self.reply().await,
            Some(8) => self.set_comment_like(true).await,
            Some(9) => self.set_comment_like(false).await,
            Some(10) => self.delete_comment().await,
            Some(11) => self.delete_post().await,
            _ => self.read().await,
        }
    }

    async fn set_like(&mut self, liked: bool) {
        let Some(post) = self.board.pick(&mut self.random) else { return };
        let person = self.person.clone();
        let text = post.to_string();
        self.perform(Action::SetLike { post, liked }, move || if liked { person.like(&text) } else { person.unlike(&text) }).await;
    }

    async fn create_post(&mut self, wait: u32) {
        let nonce = nonce();
        let (person, body) = (self.person.clone(), format!("{nonce} says {}", self.person.name));
        let make = move || if wait > 0 { person.write_post(&body).wait(wait) } else { person.write_post(&body) };
        if let Some(Outcome::Ok { object: Some(post), .. }) = self.perform(Action::CreatePost { nonce }, make).await {
            self.own_posts.push(post);
            self.board.add(post);
        }
    }

    async fn create_comment(&mut self) {
        let Some(post) = self.board.pick(&mut self.random) else { return };
        let nonce = nonce();
        let (person, body, text) = (self.person.clone(), format!("{nonce} adds {}", self.person.name), post.to_string());
        let action = Action::CreateComment { post, parent: None, nonce };
        let made = self.perform(action, move || person.write_comment(&text, &body)).await;
        self.note_comment(post, made);
    }

    async fn reply(&mut self) {
        let Some((post, comment)) = self.comments.pick(&mut self.random) else { return };
        let nonce = nonce();
        let (person, body) = (self.person.clone(), format!("{nonce} answers as {}", self.person.name));
        let (text, parent) = (post.to_string(), comment.to_string());
        let action = Action::CreateComment { post, parent: Some(comment), nonce };
        let made = self.perform(action, move || person.reply(&text, &parent, &body)).await;
        self.note_comment(post, made);
    }

    fn note_comment(&mut self, post: Id, made: Option<Outcome>) {
        if let Some(Outcome::Ok { object: Some(comment), .. }) = made {
            self.own_comments.push((post, comment));
            self.comments.add((post, comment));
        }
    }

    async fn set_comment_like(&mut self, liked: bool) {
        let Some((post, comment)) = self.comments.pick(&mut self.random) else { return };
        let (person, path) = (self.person.clone(), format!("/v1/posts/{post}/comments/{comment}/like"));
        let make = move || if liked { person.put(&path) } else { person.delete(&path) };
        self.perform(Action::SetCommentLike { post, comment, liked }, make).await;
    }

    async fn edit(&mut self) {
        let nonce = nonce();
        let (person, body) = (self.person.clone(), format!("{nonce} again"));
        let comment = self.random.pick(&self.own_comments).copied();
        let post = self.random.pick(&self.own_posts).copied();
        match (comment, post) {
            (Some((post, comment)), _) if self.random.below(2) == 0 => {
                let path = format!("/v1/posts/{post}/comments/{comment}");
                let json = serde_json::json!({"body": body});
                self.perform(Action::EditComment { post, comment, nonce }, move || person.patch(&path).json(&json)).await;
            }
            (_, Some(post)) => {
                let text = post.to_string();
                self.perform(Action::EditPost { post, nonce }, move || person.edit_post(&text, &body)).await;
            }
            _ => {}
        }
    }

    async fn set_follow(&mut self, following: bool) {
        let target = if following { self.random.pick(&self.others) } else { self.random.pick(&self.following) };
        let Some(followee) = target.copied() else { return };
        self.following.retain(|other| *other != followee);
        if following {
            self.following.push(followee);
        }
        let (person, text) = (self.person.clone(), followee.to_string());
        let make = move || if following { person.follow(&text) } else { person.unfollow(&text) };
        self.perform(Action::SetFollow { followee, following }, make).await;
    }

    async fn delete_comment(&mut self) {
        let Some((post, comment)) = self.random.pick(&self.own_comments).copied() else { return };
        self.own_comments.retain(|(_, other)| *other != comment);
        self.comments.remove((post, comment));
        let (person, path) = (self.person.clone(), format!("/v1/posts/{post}/comments/{comment}"));
        self.perform(Action::DeleteComment { post, comment }, move || person.delete(&path)).await;
    }

    async fn delete_post(&mut self) {
        // The last one stays, so that there is always something to write below.
        if self.own_posts.len() < 2 {
            return;
        }
        let Some(post) = self.random.pick(&self.own_posts).copied() else { return };
        self.own_posts.retain(|other| *other != post);
        self.board.remove(post);
        let (person, path) = (self.person.clone(), format!("/v1/posts/{post}"));
        self.perform(Action::DeletePost { post }, move || person.delete(&path)).await;
    }

    /// Reads a post, its own half of the time, and notes what it saw.
    async fn read(&mut self) {
        let own = self.random.below(2) == 0;
        let post = if own { self.random.pick(&self.own_posts).copied() } else { self.board.pick(&mut self.random) };
        let Some(post) = post else { return };
        let own = self.own_posts.contains(&post);
        let began = self.history.now();
        let answer = match self.person.get(&format!("/v1/posts/{post}")).attempt().await {
            Ok(answer) => answer,
            Err(error) => {
                self.history.unanswered(&error);
                tokio::time::sleep(RECONNECT_PAUSE).await;
                return;
            }
        };
        let ended = self.history.now();
        let (session, user) = (self.session, self.user);
        let (text, version) = match answer.status {
            200 => (Held::Text(nonce_of(&answer.text_at("/body")).to_owned()), answer.json["version"].as_u64()),
            410 => (Held::Deleted, None),
            // Somebody else's may be missing until it was seen first: the checks say whether that may be.
            404 => (Held::Missing, None),
            503 => return,
            _ => panic!("a read of post {post} (own: {own}) answered {} {}", answer.status, answer.text),
        };
        self.history.observe(Observation { session, own, key: Key::Text(post), value: text, version, began, ended });
        if let Some(liked) = answer.json.pointer("/viewer/liked").and_then(serde_json::Value::as_bool) {
            let key = Key::Like(post, user);
            self.history.observe(Observation { session, own: true, key, value: Held::Set(liked), version: None, began, ended });
        }
    }

    /// Makes the call, with a key half of the time, and records how it ended; nothing if it never will be known.
    async fn perform(&mut self, action: Action, make: impl Fn() -> Call) -> Option<Outcome> {
        let key = (self.random.below(2) == 0).then(nonce);
        let object = created_at(&action);
        let place = self.history.begin(self.session, self.user, action);
        let mut outcome = classify(self.attempt(&make, key.as_deref()).await, object, self.shards_fail);
        let mut retries = 0;
        while key.is_some() && matches!(outcome, Outcome::Info { .. }) && retries < RETRIES_MAX {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            retries += 1;
            self.history.send_again(place);
            match classify(self.attempt(&make, key.as_deref()).await, object, self.shards_fail) {
                // Refused now says nothing of the first attempt, but where the server looked at the key and did not know it.
                Outcome::Fail { status: 0 | 409 | 429 | 503 } => {}
                other => outcome = other,
            }
        }
        if matches!(outcome, Outcome::Info { .. } | Outcome::Fail { status: 0 | 503 }) {
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        self.history.end(place, outcome.clone());
        Some(outcome)
    }

    async fn attempt(&self, make: &impl Fn() -> Call, key: Option<&str>) -> Result<Answer, reqwest::Error> {
        let call = match key {
            Some(key) => make().key(key),
            None => make(),
        };
        call.attempt().await.inspect_err(|error| self.history.unanswered(error))
    }
}

impl History {
    /// Makes one call and records how it ended.
    pub(crate) async fn recorded(&self, person: &Person, action: Action, call: Call) -> Outcome {
        let object = created_at(&action);
        let place = self.begin(0, person.id.parse().expect("an id"), action);
        let outcome = classify(call.attempt().await, object, false);
        self.end(place, outcome.clone());
        outcome
    }
}

/// Where an answer holds the id of what was created.
fn created_at(action: &Action) -> Option<&'static str> {
    match action {
        Action::CreatePost { .. } => Some("/post/id"),
        Action::CreateComment { .. } => Some("/comment/id"),
        _ => None,
    }
}

/// The id of what was created, as the write's resource has it. Unless its shard may have failed, it is shown as well.
fn created(answer: &Answer, pointer: &str, shards_fail: bool) -> Id {
    let resource = answer.text_at("/write/resource");
    let id = resource.rsplit('/').next().and_then(|id| id.parse().ok());
    let id = id.unwrap_or_else(|| panic!("nothing was created: {}", answer.text));
    match answer.json.pointer(pointer) {
        Some(shown) => assert_eq!(id_of(shown), id, "another one is shown: {}", answer.text),
        None => assert!(shards_fail, "what was created is not shown: {}", answer.text),
    }
    id
}

/// What a caller may conclude from an answer; `object` points to the id of what was created. A status of 0: no connection.
fn classify(answer: Result<Answer, reqwest::Error>, object: Option<&str>, shards_fail: bool) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Outcome::Fail { status: 0 },
        Err(error) => return Outcome::Info { why: error.to_string() },
    };
    match answer.status {
        200..=202 => Outcome::Ok {
            write: id_of(&answer.json["write"]["id"]),
            object: object.map(|pointer| created(&answer, pointer, shards_fail)),
            replayed: answer.header("idempotency-replayed") == "true",
        },
        504 => {
            assert!(answer.json["accepted"].is_null(), "an indefinite answer claims to know: {}", answer.text);
            Outcome::Info { why: answer.text }
        }
        400..=499 | 503 => {
            assert_eq!(answer.json["accepted"], false, "a refused write must say so: {} {}", answer.status, answer.text);
            Outcome::Fail { status: answer.status }
        }
        status => panic!("a write answered {status}: {}", answer.text),
    }
}
