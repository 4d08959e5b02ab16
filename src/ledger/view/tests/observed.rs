//! All that one reader can see, as text.

use std::collections::BTreeMap;

use super::*;

/// Pages so short that every list has several, and so long that none has.
const SHORT: usize = 2;
const LONG: usize = 100;

/// Marks a list whose short pages show something else than its long one.
const SPLIT: &str = "in short pages: ";

/// All pages of a list after another.
macro_rules! walk {
    (|$after:ident| $page:expr) => {{
        let mut shown: Vec<String> = Vec::new();
        let mut $after = None;
        loop {
            let page = match $page.await {
                Ok(page) => page,
                Err(error) => break vec![format!("{error:?}")],
            };
            shown.extend(page.items.iter().map(|item| format!("{item:?}")));
            if page.next.is_none() {
                break shown;
            }
            assert!(shown.len() < 1_000 && page.next != $after, "a list without end");
            $after = page.next;
        }
    }};
}

/// What a reader sees of some users and posts, by what it is.
pub(super) async fn observe(town: &Town, viewer: UserId, users: u64, posts: &[PostId]) -> BTreeMap<String, Vec<String>> {
    let (view, reader) = (&town.view, Some(viewer));
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = |what: String, short: Vec<String>, long: Vec<String>| {
        if short != long {
            seen.insert(format!("{SPLIT}{what}"), short);
        }
        seen.insert(what, long);
    };
    for post in posts.iter().copied() {
        let one = |shown: Result<PostView, ViewError>| vec![format!("{shown:?}")];
        let alone = one(view.post(reader, post).await);
        list(format!("post {post}"), alone.clone(), alone);
        for order in [Order::Ascending, Order::Descending] {
            let page = async |after, limit| view.comments(reader, post, order, after, limit).await.map(|(page, _)| page);
            let short = walk!(|after| page(after, SHORT));
            list(format!("comments of {post}, {order:?}"), short, walk!(|after| page(after, LONG)));
        }
        let short = walk!(|after| view.post_likes(reader, post, after, SHORT));
        list(format!("likes of {post}"), short, walk!(|after| view.post_likes(reader, post, after, LONG)));
    }
    for user in (1..=users).map(user) {
        let alone = vec![format!("{:?}", view.user(reader, &UserRef::Id(user)).await)];
        list(format!("user {user}"), alone.clone(), alone);
        let short = walk!(|after| view.user_posts(reader, user, after, SHORT));
        list(format!("posts by {user}"), short, walk!(|after| view.user_posts(reader, user, after, LONG)));
        let short = walk!(|after| view.followers(reader, user, after, SHORT));
        list(format!("followers of {user}"), short, walk!(|after| view.followers(reader, user, after, LONG)));
        let short = walk!(|after| view.following(reader, user, after, SHORT));
        list(format!("followed by {user}"), short, walk!(|after| view.following(reader, user, after, LONG)));
    }
    let short = walk!(|after| view.feed(viewer, after, SHORT));
    list("feed".to_owned(), short, walk!(|after| view.feed(viewer, after, LONG)));
    seen
}

/// What two looks show differently.
pub(super) fn differences(expected: &BTreeMap<String, Vec<String>>, found: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let differ = expected.iter().filter(|(what, shown)| found.get(*what) != Some(*shown));
    let told = differ.map(|(what, shown)| format!("{what}\n  expected {shown:#?}\n  found {:#?}", found.get(what)));
    let split = found.iter().filter(|(what, _)| what.starts_with(SPLIT)).map(|(what, shown)| format!("{what}: {shown:#?}"));
    told.chain(split).collect()
}
