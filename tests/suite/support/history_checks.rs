//! The checks of a run's record against the facts at its end: each a function to the violations that it found.

use super::*;

pub(super) fn violation(check: &'static str, what: impl Into<String>) -> Violation {
    Violation { check, what: what.into() }
}

/// C1: what was accepted is there, once, under the id that was answered, unless somebody asked to delete it.
pub(crate) fn accepted_is_there_once(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C1 accepted is there once";
    let deleted = record.maybe_deleted();
    let texts = facts.texts();
    let mut places: HashMap<&str, Vec<Id>> = HashMap::new();
    for (id, held) in texts.iter().flat_map(|(id, held)| held.iter().map(move |text| (*id, *text))) {
        if let Some(text) = held {
            places.entry(nonce_of(text)).or_default().push(id);
        }
    }
    let mut found = Vec::new();
    for operation in record.operations.iter().filter(|operation| operation.is_ok()) {
        let (Some(id), Some(nonce)) = (operation.created(), operation.action.nonce()) else { continue };
        let gone = deleted.contains(&id) || operation.below().iter().any(|above| deleted.contains(above));
        let copies = texts.get(&id).map_or(0, Vec::len);
        if copies > 1 || (copies == 0 && !gone) {
            found.push(violation(CHECK, format!("{} {id} ({nonce}) stands {copies} times", operation.action.name())));
        }
        let elsewhere: Vec<Id> = places.get(nonce).into_iter().flatten().copied().filter(|place| *place != id).collect();
        if !elsewhere.is_empty() {
            found.push(violation(CHECK, format!("{nonce} was answered as {id} and stands also in {elsewhere:?}")));
        }
    }
    found
}

/// C2: nothing that was definitely refused is anywhere.
pub(crate) fn refused_is_nowhere(record: &Record, facts: &Facts) -> Vec<Violation> {
    let standing: HashSet<&str> = facts.nonces().collect();
    record
        .operations
        .iter()
        .filter(|operation| operation.is_fail())
        .filter_map(|operation| operation.action.nonce())
        .filter(|nonce| standing.contains(nonce))
        .map(|nonce| violation("C2 refused is nowhere", format!("{nonce} was refused and stands")))
        .collect()
}

/// C3: what had no answer happened at most once.
pub(crate) fn unanswered_is_there_at_most_once(record: &Record, facts: &Facts) -> Vec<Violation> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for nonce in facts.nonces() {
        *counts.entry(nonce).or_default() += 1;
    }
    record
        .operations
        .iter()
        .filter(|operation| !operation.is_ok() && !operation.is_fail())
        .filter_map(|operation| operation.action.nonce())
        .filter(|nonce| counts.get(nonce).is_some_and(|count| *count > 1))
        .map(|nonce| violation("C3 unanswered at most once", format!("{nonce} stands {} times", counts[nonce])))
        .collect()
}

/// The values that may stand after all these: those of operations that no accepted one has followed.
fn last_values(operations: &[(&Operation, Held)], otherwise: Option<Held>) -> BTreeSet<Held> {
    if operations.iter().any(|(operation, value)| operation.is_ok() && *value == Held::Deleted) {
        return BTreeSet::from([Held::Deleted]);
    }
    let followed = |operation: &Operation| operations.iter().any(|(other, _)| other.is_ok() && operation.before(other.began));
    let mut values: BTreeSet<Held> =
        operations.iter().filter(|(operation, _)| !followed(operation)).map(|(_, value)| value.clone()).collect();
    if !operations.iter().any(|(operation, _)| operation.is_ok()) {
        values.extend(otherwise);
    }
    values
}

/// C4: of each thing stands what was accepted last.
pub(crate) fn the_last_accepted_stands(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C4 the last accepted stands";
    let texts = facts.texts();
    let (likes, comment_likes, follows) = (facts.likes_set(), facts.comment_likes_set(), facts.follows_set());
    let mut found = Vec::new();
    for (key, operations) in record.by_key() {
        let is_there = |above: &Id| texts.get(above).is_some_and(|held| held.iter().any(Option::is_some));
        if !operations.iter().all(|(operation, _)| operation.below().iter().all(is_there)) {
            continue; // What hung on something deleted is gone with it; C1 sees what is missing.
        }
        let (stands, otherwise) = match key {
            Key::Text(id) => match texts.get(&id).and_then(|held| held.first()) {
                Some(Some(text)) => (Held::Text(nonce_of(text).to_owned()), None),
                Some(None) | None => (Held::Deleted, None),
            },
            Key::Like(post, user) => (Held::Set(likes.contains(&(post, user))), Some(Held::Set(false))),
            Key::CommentLike(comment, user) => (Held::Set(comment_likes.contains(&(comment, user))), Some(Held::Set(false))),
            Key::Follow(follower, followee) => (Held::Set(follows.contains(&(follower, followee))), Some(Held::Set(false))),
        };
        let legal = last_values(&operations, otherwise);
        // Only unanswered creations: C3 and C11 look after those.
        if !legal.is_empty() && !legal.contains(&stands) {
            found.push(violation(CHECK, format!("{key:?} holds {stands:?}, legal: {legal:?}")));
        }
    }
    found
}

/// C5: nobody reads older than his own writes or his earlier reads, and nothing deleted comes back.
pub(crate) fn sessions_never_go_back(record: &Record) -> Vec<Violation> {
    const CHECK: &str = "C5 sessions never go back";
    let by_key = record.by_key();
    let mut found = Vec::new();
    let mut sessions: BTreeMap<(u32, Key), Vec<&Observation>> = BTreeMap::new();
    for seen in &record.observations {
        if seen.own && !own_read_is_legal(seen, by_key.get(&seen.key).map_or(&[][..], Vec::as_slice)) {
            found.push(violation(
                CHECK,
                format!("session {} read {:?} of {:?} after newer writes of its own", seen.session, seen.value, seen.key),
            ));
        }
        sessions.entry((seen.session, seen.key)).or_default().push(seen);
    }
    for ((session, key), mut reads) in sessions {
        reads.sort_by_key(|seen| seen.began);
        let operations = by_key.get(&key).map_or(&[][..], Vec::as_slice);
        for (earlier, later) in reads.iter().zip(reads.iter().skip(1)).filter(|(earlier, later)| earlier.ended < later.began) {
            let back = earlier.value == Held::Deleted && later.value != Held::Deleted
                || earlier.value != Held::Missing && later.value == Held::Missing
                || earlier.version.zip(later.version).is_some_and(|(before, after)| after < before)
                || text_went_back(&earlier.value, &later.value, operations);
            if back {
                let (before, after) = ((&earlier.value, earlier.version), (&later.value, later.version));
                found.push(violation(CHECK, format!("session {session} saw {key:?} go from {before:?} to {after:?}")));
            }
        }
    }
    found
}

fn own_read_is_legal(seen: &Observation, operations: &[(&Operation, Held)]) -> bool {
    let known = |operation: &Operation| operation.is_ok() && operation.before(seen.began);
    let stale = |operation: &Operation| operations.iter().any(|(other, _)| known(other) && operation.before(other.began));
    let legal = operations.iter().any(|(operation, value)| *value == seen.value && operation.began < seen.ended && !stale(operation));
    let untouched = !operations.iter().any(|(operation, _)| known(operation));
    legal || (untouched && matches!(seen.value, Held::Set(false) | Held::Text(_)))
}

fn text_went_back(earlier: &Held, later: &Held, operations: &[(&Operation, Held)]) -> bool {
    let of = |value: &Held| operations.iter().find(|(_, written)| written == value).map(|(operation, _)| *operation);
    match (earlier, later) {
        (Held::Text(_), Held::Text(_)) => of(later).zip(of(earlier)).is_some_and(|(older, newer)| older.before(newer.began)),
        _ => false,
    }
}

/// C6: each counter is the number of its rows. For the rows of one snapshot of one shard, or of all shards at the end.
pub(crate) fn counters_are_their_rows(facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C6 counters are their rows";
    let mut likes: HashMap<Id, i64> = HashMap::new();
    let mut comment_likes: HashMap<Id, i64> = HashMap::new();
    let mut comments: HashMap<Id, i64> = HashMap::new();
    let mut users: HashMap<Id, [i64; 3]> = HashMap::new();
    for like in &facts.likes {
        *likes.entry(like.0).or_default() += 1;
    }
    for (comment, _, _) in &facts.comment_likes {
        *comment_likes.entry(*comment).or_default() += 1;
    }
    for comment in facts.comments.iter().filter(|comment| comment.body.is_some()) {
        *comments.entry(comment.post).or_default() += 1;
    }
    for (author, _) in &facts.author_posts {
        users.entry(*author).or_default()[0] += 1;
    }
    for (followee, _) in &facts.followed {
        users.entry(*followee).or_default()[1] += 1;
    }
    for (follower, _) in &facts.follows {
        users.entry(*follower).or_default()[2] += 1;
    }
    let mut found = Vec::new();
    for post in facts.posts.iter().filter(|post| post.body.is_some()) {
        let counted = facts.post_counters.get(&post.id).copied().unwrap_or_default();
        let rows = (likes.get(&post.id).copied().unwrap_or(0), comments.get(&post.id).copied().unwrap_or(0));
        if counted != rows {
            found.push(violation(CHECK, format!("post {} counts (likes, comments) {counted:?}, rows {rows:?} ({})", post.id, post.place)));
        }
    }
    for comment in facts.comments.iter().filter(|comment| comment.body.is_some()) {
        let counted = facts.comment_counters.get(&comment.id).copied().unwrap_or_default();
        let rows = comment_likes.get(&comment.id).copied().unwrap_or(0);
        if counted != rows {
            found.push(violation(CHECK, format!("comment {} counts {counted} likes, rows {rows} ({})", comment.id, comment.place)));
        }
    }
    let known: BTreeSet<Id> = facts.user_counters.keys().chain(users.keys()).copied().collect();
    for user in known {
        let counted = facts.user_counters.get(&user).copied().unwrap_or_default();
        let rows = users.get(&user).copied().unwrap_or_default();
        if counted != rows {
            found.push(violation(CHECK, format!("user {user} counts [posts, followers, following] {counted:?}, rows {rows:?}")));
        }
    }
    found
}

/// C9: no id was given twice, and each has one owner.
pub(crate) fn ids_are_unique(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C9 ids are unique";
    let mut owners: HashMap<Id, String> = HashMap::new();
    let mut found = Vec::new();
    let mut claim = |id: Id, owner: String| {
        if let Some(other) = owners.insert(id, owner.clone())
            && other != owner
        {
            found.push(violation(CHECK, format!("{id} is {other} and {owner}")));
        }
    };
    for (place, operation) in record.operations.iter().enumerate() {
        if let Some(Outcome::Ok { write, object, replayed: false }) = operation.outcome {
            claim(write, format!("the write of operation {place}"));
            if let Some(object) = object {
                claim(object, format!("the {} {}", operation.action.name(), operation.action.nonce().unwrap_or_default()));
            }
        }
    }
    let mut kinds: HashMap<Id, (&str, Id, Id)> = HashMap::new();
    let posts = facts.posts.iter().map(|post| (post.id, ("post", post.author, post.id)));
    let comments = facts.comments.iter().map(|comment| (comment.id, ("comment", comment.author, comment.post)));
    for (id, kind) in posts.chain(comments) {
        if let Some(other) = kinds.insert(id, kind)
            && other != kind
        {
            found.push(violation(CHECK, format!("{id} is {other:?} and {kind:?}")));
        }
    }
    found
}

/// C10: each row is on the shard that the map names, and on no other. `map` is what the server says of each post's id.
pub(crate) fn rows_are_where_the_map_says(facts: &Facts, map: &HashMap<Id, String>) -> Vec<Violation> {
    const CHECK: &str = "C10 rows are where the map says";
    let mut found = Vec::new();
    let mut homes: HashMap<Id, &str> = HashMap::new();
    let mut pairs: BTreeSet<(&str, &str)> = BTreeSet::new();
    for post in &facts.posts {
        if homes.insert(post.id, &post.place).is_some_and(|other| other != post.place) {
            found.push(violation(CHECK, format!("post {} is on two shards", post.id)));
        }
        match map.get(&post.id) {
            Some(shard) => drop(pairs.insert((&post.place, shard))),
            None => found.push(violation(CHECK, format!("the map knows no shard for post {}", post.id))),
        }
    }
    let places: BTreeSet<&str> = pairs.iter().map(|pair| pair.0).collect();
    let shards: BTreeSet<&str> = pairs.iter().map(|pair| pair.1).collect();
    if pairs.len() != places.len() || pairs.len() != shards.len() {
        found.push(violation(CHECK, format!("files and shards do not match one to one: {pairs:?}")));
    }
    for comment in facts.comments.iter().filter(|comment| homes.get(&comment.post).is_none_or(|home| *home != comment.place)) {
        found.push(violation(CHECK, format!("comment {} is in {}, its post is not", comment.id, comment.place)));
    }
    for (post, user, place) in facts.likes.iter().filter(|like| homes.get(&like.0).is_none_or(|home| *home != like.2)) {
        found.push(violation(CHECK, format!("the like of {post} by {user} is in {place}, its post is not")));
    }
    let comments: HashMap<Id, &str> = facts.comments.iter().map(|comment| (comment.id, comment.place.as_str())).collect();
    for (comment, user, place) in facts.comment_likes.iter().filter(|like| comments.get(&like.0).is_none_or(|home| *home != like.2)) {
        found.push(violation(CHECK, format!("the like of the comment {comment} by {user} is in {place}, its comment is not")));
    }
    found
}

/// C11: nothing stands that nobody asked for, and the two sides of a follow agree.
pub(crate) fn nothing_is_there_unasked(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C11 nothing is there unasked";
    let possible = record.possible_nonces();
    let mut found = Vec::new();
    for nonce in facts.nonces() {
        if !possible.contains_key(nonce) {
            found.push(violation(CHECK, format!("nobody asked for {nonce}")));
        }
    }
    let set: HashSet<Key> = record
        .operations
        .iter()
        .filter(|operation| !operation.is_fail())
        .filter_map(Operation::effect)
        .filter(|(_, value)| *value == Held::Set(true))
        .map(|(key, _)| key)
        .collect();
    for like in facts.likes_set() {
        if !set.contains(&Key::Like(like.0, like.1)) {
            found.push(violation(CHECK, format!("nobody asked for the like {like:?}")));
        }
    }
    for like in facts.comment_likes_set() {
        if !set.contains(&Key::CommentLike(like.0, like.1)) {
            found.push(violation(CHECK, format!("nobody asked for the like of a comment {like:?}")));
        }
    }
    let (follows, followed) = (facts.follows_set(), facts.followed.iter().map(|(followee, follower)| (*follower, *followee)).collect());
    for follow in &follows {
        if !set.contains(&Key::Follow(follow.0, follow.1)) {
            found.push(violation(CHECK, format!("nobody asked for the follow {follow:?}")));
        }
    }
    for follow in follows.symmetric_difference(&followed) {
        found.push(violation(CHECK, format!("only one side knows of the follow {follow:?}")));
    }
    found
}
