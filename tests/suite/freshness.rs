//! G4 where standbys are read (T4.1, T4.2): whoever sends back his `Consistency-Token` never sees an older state than before, whichever server
//! answers; and a token that is not good, or that nobody can satisfy, costs no wait.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::client::{Answer, Call, PASSWORD, Person, nonce, within};
use crate::support::faults;
use crate::support::followed::{FOLLOWED, Followed, UP_TO_DATE_WITHIN, held, nothing_is_held};
use crate::support::server::Settings;

/// Longer than any test: a standby that stands still is read.
const WAITED_FOR: &str = "10m";
/// Twice round both standbys for each of the three reads, and some.
const ROUNDS: usize = 20;
/// How long a read may wait for somebody who is fresh enough, and what a busy machine may take on top.
const FRESH_WITHIN: Duration = Duration::from_millis(500);
const BUSY_MARGIN: Duration = Duration::from_secs(5);

/// A session that sends back each token it gets, and what it saw that it should not have.
struct Session {
    person: Person,
    post: String,
    token: String,
    version: i64,
    listed: usize,
    own: Vec<String>,
    wrong: Vec<String>,
}

impl Session {
    fn with_token(&self, call: Call) -> Call {
        if self.token.is_empty() { call } else { call.header("Consistency-Token", &self.token) }
    }

    fn keep(&mut self, answer: &Answer) {
        self.token = answer.header("consistency-token").to_owned();
    }

    fn saw(&mut self, version: i64, what: &str) {
        if version < self.version {
            self.wrong.push(format!("{what} went back from {} to {version}", self.version));
        }
        self.version = self.version.max(version);
    }

    async fn read_post(&mut self) {
        let answer = self.with_token(self.person.get(&format!("/v1/posts/{}", self.post))).send().await.expect(200);
        self.keep(&answer);
        self.saw(answer.number_at("/version"), "the post");
        let counted = usize::try_from(answer.number_at("/comments")).expect("a number");
        if counted < self.listed {
            self.wrong.push(format!("{counted} comments counted, {} were listed", self.listed));
        }
    }

    async fn list_comments(&mut self) {
        let path = format!("/v1/posts/{}/comments?limit=100", self.post);
        let answer = self.with_token(self.person.get(&path)).send().await.expect(200);
        self.keep(&answer);
        self.saw(answer.number_at("/version"), "the list");
        let listed = answer.item_ids();
        if listed.len() < self.listed {
            self.wrong.push(format!("the list went back from {} to {}", self.listed, listed.len()));
        }
        self.listed = self.listed.max(listed.len());
        for own in self.own.iter().filter(|own| !listed.contains(own)) {
            self.wrong.push(format!("the own comment {own} is missing"));
        }
    }

    async fn comment(&mut self) {
        let answer = self.person.write_comment(&self.post, &nonce()).send().await.expect(202);
        self.keep(&answer);
        self.own.push(answer.text_at("/comment/id"));
    }
}

/// What goes back for a session that reads from two standbys in turn, one of which stands still; and how many entries the journal holds then.
async fn read_beside_a_standby_that_stands_still(settings: Settings) -> Option<(Vec<String>, usize)> {
    let mut followed = Followed::start_read(settings, WAITED_FOR).await?;
    let second = followed.primary.standby();
    let url = followed.server.postgres().shard(FOLLOWED).url_in(&second);
    followed.shard().replicas.push(url);
    followed.server.terminate().await;
    followed.server.restart().await;
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let admin = followed.as_admin(&Person::join(&followed.server, "op").await).await;
    let post = followed.publish(&ben).await;
    nothing_is_held(&admin).await;
    let both = async || {
        let shards = admin.admin_call(Method::GET, "/admin/shards").send().await.expect(200);
        (shards.text.matches(r#""state":"read""#).count() == 2).then_some(())
    };
    within(UP_TO_DATE_WITHIN, "both standbys to be read", both).await;
    followed.standby.pause_replay().await;

    let mut session =
        Session { person: ann, post: post.clone(), token: String::new(), version: 0, listed: 0, own: Vec::new(), wrong: Vec::new() };
    for round in 0..ROUNDS {
        let written = ben.write_comment(&post, &nonce()).send().await.expect(202).write_id();
        let decided = async || Some(ben.write_state(&written).await).filter(|state| state != "accepted");
        assert_eq!(within(UP_TO_DATE_WITHIN, "the commit", decided).await, "committed", "nothing stands still");
        session.read_post().await;
        session.list_comments().await;
        if round % 4 == 0 {
            session.comment().await;
        }
        session.read_post().await;
        session.list_comments().await;
    }
    let held = usize::try_from(held(&admin).await).expect("a number");
    followed.standby.resume_replay().await;
    nothing_is_held(&admin).await;
    Some((session.wrong, held))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_sends_its_token_back_never_sees_less_than_before_whichever_standby_answers() {
    let Some((wrong, held)) = Box::pin(read_beside_a_standby_that_stands_still(Settings::default())).await else { return };

    assert_eq!(wrong, Vec::<String>::new());
    // The other standby could take over with them; the one that stands still is read, too, and waited for.
    assert!(held >= ROUNDS, "the journal has given back what a standby that is read does not have: {held} are held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_token_that_is_not_heeded_is_caught() {
    let settings = Settings::default().fault((faults::SKIP_TOKEN, "return"));
    let Some((wrong, _)) = Box::pin(read_beside_a_standby_that_stands_still(settings)).await else { return };

    assert!(!wrong.is_empty(), "the fault has no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_journal_that_waits_for_one_standby_of_two_that_are_read_is_caught() {
    let settings = Settings::default().fault((faults::ONE_IS_ENOUGH, "return"));
    let Some((_, held)) = Box::pin(read_beside_a_standby_that_stands_still(settings)).await else { return };

    assert!(held < ROUNDS, "the fault has no effect: {held} are held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_good_is_refused_in_the_header_and_nothing_in_the_cookie() {
    let Some(followed) = Followed::start_read(Settings::default(), WAITED_FOR).await else { return };
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let post = followed.publish(&ben).await;
    let path = format!("/v1/posts/{post}");
    followed.standby.pause_replay().await;
    let token = ann.like(&post).send().await.expect(202).header("consistency-token").to_owned();
    let bens = ben.read_post(&post).await.expect(200).header("consistency-token").to_owned();
    let mut forged = token.clone();
    let last = forged.pop().expect("a token");
    forged.push(if last == 'A' { 'B' } else { 'A' });

    for wrong in [forged.as_str(), &token[..token.len() / 2], bens.as_str(), "x"] {
        let began = Instant::now();
        ann.get(&path).header("Consistency-Token", wrong).send().await.expect_problem(400, "malformed");
        ann.get(&path).header("Cookie", &format!("sosik-consistency={wrong}")).send().await.expect(200);
        assert!(began.elapsed() < FRESH_WITHIN + BUSY_MARGIN, "{:?}", began.elapsed());
    }
    for good in [("Consistency-Token", token.clone()), ("Cookie", format!("sosik-consistency={token}"))] {
        let read = ann.get(&path).header(good.0, &good.1).send().await.expect(200);
        assert_eq!(read.json["viewer"]["liked"], true, "{}", read.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_nobody_has_is_refused_soon_and_whoever_asks_for_none_is_answered() {
    let settings = Settings::default().fault((faults::FROM_THE_FUTURE, "return"));
    let Some(followed) = Followed::start_read(settings, WAITED_FOR).await else { return };
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let post = followed.publish(&ben).await;
    let token = ann.read_post(&post).await.expect(200).header("consistency-token").to_owned();

    for path in [format!("/v1/posts/{post}"), format!("/v1/posts/{post}/comments"), format!("/v1/posts/{post}/likes")] {
        let began = Instant::now();
        let refused = ann.get(&path).header("Consistency-Token", &token).send().await.expect_problem(503, "unavailable");
        assert!(began.elapsed() >= FRESH_WITHIN, "nobody was waited for: {:?}", began.elapsed());
        assert!(began.elapsed() < FRESH_WITHIN + BUSY_MARGIN, "{:?}", began.elapsed());
        assert!(!refused.header("retry-after").is_empty());
        ann.get(&path).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_an_earlier_primary_is_good_when_the_new_one_has_the_journal_again() {
    let Some(mut followed) = Followed::start_read(Settings::default(), "1s").await else { return };
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let resident = followed.join(true).await;
    let admin = followed.as_admin(&Person::join(&followed.server, "op").await).await;
    let post = followed.publish(&ben).await;
    nothing_is_held(&admin).await;
    followed.standby.stop_receiving().await;
    // Far behind what the new primary will have.
    for _ in 0..5 {
        ann.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
    }
    let token = ann.write_comment(&post, &nonce()).send().await.expect(202).header("consistency-token").to_owned();

    followed.fail_over();
    followed.server.kill();
    followed.point_at_the_standby();
    followed.server.restart().await;
    followed.is_read(&resident).await;

    let read = ann.get(&format!("/v1/posts/{post}")).header("Consistency-Token", &token).send().await.expect(200);
    assert_eq!(read.json["comments"], 6, "{}", read.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browsers_cookie_holds_what_it_has_seen() {
    let Some(followed) = Followed::start_read(Settings::default(), WAITED_FOR).await else { return };
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let post = followed.publish(&ben).await;
    let signed = json!({"username": ann.name, "password": PASSWORD});
    let signed = ann.signed_out().post("/v1/auth/login?cookies=true").json(&signed).send().await.expect(200);
    let browser = ann.signed_out();
    let cookie = cookies_of(&signed).into_iter().find(|cookie| cookie.starts_with("sosik-access")).expect("a cookie");
    followed.standby.pause_replay().await;
    let written = ben.write_comment(&post, &nonce()).send().await.expect(202).write_id();
    let decided = async || (ben.write_state(&written).await == "committed").then_some(());
    within(UP_TO_DATE_WITHIN, "the commit", decided).await;

    // What is written below the post is judged by the primary, which is ahead.
    let path = format!("/v1/posts/{post}");
    let own = browser.patch(&path).json(&json!({"body": "no"})).header("Cookie", &cookie).header("Sec-Fetch-Site", "same-origin");
    own.send().await.expect_problem(403, "forbidden");
    let liked = browser.put(&format!("{path}/like")).header("Cookie", &cookie).header("Sec-Fetch-Site", "same-origin").send().await;
    let seen = cookies_of(&liked.expect(202)).into_iter().find(|cookie| cookie.starts_with("sosik-consistency")).expect("a cookie");
    let read = browser.get(&path).header("Cookie", &format!("{cookie}; {seen}")).send().await.expect(200);

    assert_eq!(read.json["comments"], 1, "{}", read.text);
    assert!(cookies_of(&read).iter().any(|cookie| cookie.starts_with("sosik-consistency")), "{:?}", read.headers);
    assert_eq!(ann.read_post(&post).await.expect(200).json["comments"], 0, "the standby does not stand still");
}

fn cookies_of(answer: &Answer) -> Vec<String> {
    let set = answer.headers.get_all("set-cookie").iter();
    set.map(|cookie| cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned()).collect()
}
